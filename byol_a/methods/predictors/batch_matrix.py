"""What the closed-form predictors share: a matrix computed from each step's projections, averaged over steps."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from byol_a.errors import UsageError
from byol_a.frontend.precision import full_precision
from byol_a.methods.collective import sum_over_processes
from byol_a.methods.predictors.base import Predictor, PredictorConfig
from byol_a.methods.predictors.matrix_roots import spectral_norm


@dataclass
class BatchMatrixConfig(PredictorConfig):
    """What every closed-form predictor can be told.

    Attributes:
        ridge: alpha of `P + alpha I`. The paper's best, where it gives one.
        ema: what a step keeps of the average of P over the steps before, in [0, 1); 0 takes each step's own. The paper
            uses an average and does not give its rate: our choice.
        normalize: whether rows are L2-normalised before P is computed. Left open in the paper: our choice.
        spectral_scaling: whether P is divided by its largest singular value, so that the ridge means the same at any
            scale of S. Left open in the paper: our choice.
    """

    ridge: float = 0.0
    ema: float = 0.99
    normalize: bool = True
    spectral_scaling: bool = True

    def __post_init__(self) -> None:
        if not 0.0 <= self.ridge < math.inf:
            raise UsageError(f"method.predictor.ridge must be a number of at least 0, not {self.ridge}")
        if not 0.0 <= self.ema < 1.0:
            raise UsageError(f"method.predictor.ema must lie in [0, 1), not {self.ema}")


@dataclass
class IteratedConfig(BatchMatrixConfig):
    """The same for a predictor that a matrix iteration of `iterations` steps finds."""

    iterations: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations < 1:
            raise UsageError(f"method.predictor.iterations must be at least 1, not {self.iterations}")


class _Step(NamedTuple):
    """An optimiser step under way: the average before it, what it keeps of that, and its sums over rows so far."""

    before: Tensor
    kept: Tensor
    sums: tuple[Tensor, ...]


ConfigT = TypeVar("ConfigT", bound=BatchMatrixConfig)


class BatchMatrixPredictor(Predictor, Generic[ConfigT]):
    """Prediction `Z (P + alpha I)` with a matrix P computed from the step, not trained (Richemond et al. 2023).

    P is a function of the moments `S = Z_o^T Z_o / N` and `C = Z_o^T Z_t / N` of the N rows that a step compares (of
    all its views and processes), then scaled, averaged over steps, and given a ridge, in this order. No gradient flows
    through it (our choice), it is computed in float32 outside autocast (float64 for such projections), and before the
    first step it is the identity. In eval mode it stays as it is.

    What is fitted between two calls of `begin_step` is one step: where it is taken in parts, each part is predicted
    with the rows so far, and in the end the average has moved once, by P of all the step's rows.

    Args:
        size: P, of the projections.
        config: how P is found.
    """

    uses_target: ClassVar[bool] = False
    """Whether P depends on C."""

    average: Tensor  # (P, P): P averaged over steps, without the ridge
    started: Tensor  # whether there was a step

    def __init__(self, size: int, config: ConfigT) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("average", torch.eye(size))
        self.register_buffer("started", torch.tensor(False))
        self._step: _Step | None = None

    @abstractmethod
    def solve(self, covariance: Tensor, cross: Tensor, rows: Tensor) -> Tensor:
        """P (P, P) of a step, unscaled.

        Args:
            covariance: S (P, P), symmetric, of any rank.
            cross: C (P, P); S where `uses_target` is false.
            rows: N, a scalar.
        """

    def begin_step(self) -> None:
        """See `Predictor.begin_step`."""
        self._step = None

    @torch.compiler.disable  # collectives and precision switches, once a step
    @torch.no_grad()
    def fit(self, online: Tensor, target: Tensor) -> None:
        """Compute P from the step's rows (N, P) and move the average; every process does so with rows of its own."""
        if not self.training:
            return
        with full_precision(), torch.autocast(online.device.type, enabled=False):
            sums = self._sums(online, target)
            if self._step is None:
                # The first step's P is taken whole.
                self._step = _Step(self.average.clone(), self.config.ema * self.started.to(self.average.dtype), sums)
            else:
                sums = tuple(before + part for before, part in zip(self._step.sums, sums, strict=True))
                self._step = self._step._replace(sums=sums)
            *products, rows = sums
            matrix = self.solve(products[0] / rows, products[-1] / rows, rows)
            if self.config.spectral_scaling:
                matrix = matrix / spectral_norm(matrix).clamp_min(torch.finfo(matrix.dtype).tiny)
            before, kept, _ = self._step
            self.average.copy_(torch.lerp(before, matrix.to(before.dtype), 1.0 - kept))
            self.started.fill_(True)

    def forward(self, projection: Tensor) -> Tensor:
        """(B, P) -> (B, P), in float32 at least."""
        dtype = _working_dtype(projection)
        with torch.autocast(projection.device.type, enabled=False):
            # A new matrix each time: the average may move before the gradient is computed.
            eye = torch.eye(len(self.average), dtype=dtype, device=self.average.device)
            return projection.to(dtype) @ (self.average.to(dtype) + self.config.ridge * eye)

    def _sums(self, online: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """`Z_o^T Z_o`, `Z_o^T Z_t` where it is used, and N, over the rows of all processes, in one exchange."""
        online = self._rows(online)
        sums = [online.T @ online]
        if self.uses_target:
            sums.append(online.T @ self._rows(target))
        return sum_over_processes(*sums, online.new_full((), float(len(online))))

    def _rows(self, projections: Tensor) -> Tensor:
        projections = projections.to(_working_dtype(projections))
        return F.normalize(projections, dim=-1) if self.config.normalize else projections


def _working_dtype(projections: Tensor) -> torch.dtype:
    return torch.promote_types(projections.dtype, torch.float32)
