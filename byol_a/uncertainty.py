"""How sure a model is of an embedding: mean and standard deviation over samples of its variational weights.

(The read-out of BYOV, arXiv 2312.03213, rebuilt from partial evidence.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from byol_a.encoders.variational import is_variational, weight_sample
from byol_a.errors import UsageError

if TYPE_CHECKING:
    from byol_a.model import BYOLA


def check_samples(model: BYOLA, samples: int | None) -> None:
    """See that `samples` weight samples can be drawn of a model; None asks for none.

    Raises:
        UsageError: for fewer than 2, or a model whose weights have no deviation.
    """
    if samples is None:
        return
    if samples < 2:
        raise UsageError(f"a standard deviation needs at least 2 weight samples, not {samples}")
    if not is_variational(model.encoder):
        raise UsageError(
            f"the weights of this {model.encoder_name} have no deviation to draw samples from; leave out samples, or "
            "take a model that was trained with the method byov"
        )


def over_samples(
    model: BYOLA, samples: int | None, rows: Callable[[], list[list[np.ndarray]]]
) -> list[list[np.ndarray]]:
    """What `rows` gives with each of the weight samples 0 to `samples` - 1: mean and deviation of every array in it.

    Args:
        samples: None calls it once, with the weights' means, and changes nothing.
        rows: lists of arrays, of the same shapes each time.

    Returns:
        Each array (...) as (2, ...): the mean over the samples, and the standard deviation (over K - 1).
    """
    if samples is None:
        return rows()
    means: list[list[np.ndarray]] = []
    squares: list[list[np.ndarray]] = []
    for seed in range(samples):
        with weight_sample(model.encoder, seed):
            drawn = rows()
        if not means:
            means = [[array.astype(np.float64) for array in row] for row in drawn]
            squares = [[np.zeros_like(array) for array in row] for row in means]
            continue
        for row, mean_row, square_row in zip(drawn, means, squares, strict=True):
            for array, mean, square in zip(row, mean_row, square_row, strict=True):  # Welford's recurrence
                delta = array - mean
                mean += delta / (seed + 1)
                square += delta * (array - mean)
    types = [[array.dtype for array in row] for row in drawn]
    return [
        [
            np.stack([mean, np.sqrt(square / (samples - 1))]).astype(dtype)
            for mean, square, dtype in zip(mean_row, square_row, type_row, strict=True)
        ]
        for mean_row, square_row, type_row in zip(means, squares, types, strict=True)
    ]
