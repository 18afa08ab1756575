"""How long the probes take on cached embeddings, beside scikit-learn, on this machine in one run.

    python benchmarks/probes.py [--json FILE] [--clips N] [--beside N] [--device DEVICE] [--only PART ...]

`esc10`: 5 folds of 320 clips x 3072: C of 6 chosen in 3 draws, refitting. `default`: 80,000 clips to train on,
10,000 to choose C on, 10,000 to test, x 2048, 50 classes: the path over 6 C, the refit, the neighbours; beside it
scikit-learn on a share of the clips, where both are timed. `labels`: 200 labels, any number a clip. `heads`: the
linear layer of the evar protocol and a hidden layer of the hear protocol, in steps (batches) per second.
The embeddings are made: correlated dimensions with a long spectrum, rectified, and classes that overlap, a tenth of
the labels being wrong.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from downstream.probes import HeadSpec, KNNProbe, fit_heads, logistic_fits, logistic_path
from downstream.protocols.regularised import ROUGH_TOLERANCE

GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Made:
    """Embeddings (N, D) float32, standardised, with targets (N, C) bool."""

    inputs: np.ndarray
    targets: np.ndarray

    def __getitem__(self, rows: Any) -> Made:
        return Made(self.inputs[rows], self.targets[rows])


def main() -> None:
    """Measure and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=100_000, help="of the default protocol's set")
    parser.add_argument("--beside", type=int, default=4_000, help="how many of them scikit-learn is timed on")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    print(f"{options.device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    figures: dict[str, Any] = {"device": options.device, "threads": torch.get_num_threads()}
    for part in options.only:
        figures[part] = PARTS[part](options)
        print(part, *(f"  {name:<44} {value:>10.3g}" for name, value in figures[part].items()), sep="\n", flush=True)
    figures["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {figures['peak_memory_mb']:.0f} MB")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def make(clips: int, dim: int, n_classes: int, seed: int = 0, labels: int = 1) -> Made:
    """Clips of a frequent and many rarer classes; `labels` of them add up in a clip."""
    rng = np.random.default_rng(seed)
    rarity = 1 / np.sqrt(np.arange(1, n_classes + 1))
    drawn = rng.choice(n_classes, (clips, labels), p=rarity / rarity.sum())
    centres = rng.standard_normal((n_classes, dim)).astype(np.float32)
    centres[:, 64:] *= 0.3  # classes differ mostly where clips vary most
    spectrum = np.arange(1, dim + 1, dtype=np.float32) ** -0.6
    mixing = (spectrum[:, None] * rng.standard_normal((dim, dim)) / np.sqrt(dim)).astype(np.float32)
    offset = 0.3 + 0.3 * rng.standard_normal(dim).astype(np.float32)
    inputs = np.empty((clips, dim), dtype=np.float32)
    for first in range(0, clips, 10_000):
        block = slice(first, first + 10_000)
        hidden = rng.standard_normal((len(inputs[block]), dim), dtype=np.float32)
        inputs[block] = (hidden + 0.35 * centres[drawn[block]].sum(axis=1)) @ mixing
    inputs /= inputs[:1000].std()
    inputs += offset
    np.maximum(inputs, 0.05 * inputs, out=inputs)
    inputs -= inputs.mean(axis=0)
    inputs /= inputs.std(axis=0)
    wrong = rng.random(clips) < 0.1
    drawn[wrong] = rng.choice(n_classes, (int(wrong.sum()), labels))
    targets = np.zeros((clips, n_classes), dtype=bool)
    targets[np.arange(clips)[:, None], drawn] = True
    return Made(inputs, targets)


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds, and what came of it."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def accuracy(scores: np.ndarray, targets: np.ndarray) -> float:
    """Share of clips whose highest score is at their label."""
    return float((scores.argmax(axis=1) == targets.argmax(axis=1)).mean())


def sklearn_path(train: Made, column: int | None = None) -> list[Any]:
    """scikit-learn's own way along the grid, each fit starting where the last one ended."""
    from sklearn.linear_model import LogisticRegression

    labels = train.targets.argmax(axis=1) if column is None else train.targets[:, column]
    regression, found = LogisticRegression(warm_start=True, max_iter=1000), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for C in GRID:
            regression.C = C
            regression.fit(train.inputs, labels)
            found.append((regression.coef_.copy(), regression.intercept_.copy()))
    return found


def esc10(options: argparse.Namespace) -> dict[str, float]:
    """Choosing and refitting in 5 folds of 400 clips."""
    made, rng = make(400, 3072, 10), np.random.default_rng(0)
    folds: np.ndarray = np.arange(400) % 5
    draws = [[rng.permutation(320)[:288] for _ in range(3)] for _ in range(5)]

    def ours() -> None:
        for fold, of_fold in enumerate(draws):
            train = made[folds != fold]
            logistic_fits(train.inputs, train.targets, [(draw, GRID) for draw in of_fold], device=options.device)
            logistic_path(train.inputs, train.targets, GRID[3:], device=options.device)

    def theirs() -> None:
        train = made[folds != 0]
        for draw in draws[0]:
            sklearn_path(train[draw])

    seconds, _ = timed(ours)
    beside, _ = timed(theirs)
    return {"5 folds, s": seconds, "scikit-learn, choosing, 5 x one fold, s": 5 * beside}


def default(options: argparse.Namespace) -> dict[str, float]:
    """The default protocol's fits on one large set."""
    made = make(options.clips, 2048, 50)
    ends = [options.clips * 8 // 10, options.clips * 9 // 10]
    train, valid, both, test = made[: ends[0]], made[ends[0] : ends[1]], made[: ends[1]], made[ends[1] :]
    choosing, path = timed(
        lambda: logistic_path(train.inputs, train.targets, GRID, False, options.device, ROUGH_TOLERANCE)
    )
    best = max(path, key=lambda probe: accuracy(probe.scores(valid.inputs), valid.targets))
    refitting, (probe,) = timed(lambda: logistic_path(both.inputs, both.targets, [best.C], device=options.device))
    voting, votes = timed(lambda: KNNProbe(both.inputs, both.targets, device=options.device).scores(test.inputs))
    few = made[: options.beside]
    ours, small = timed(lambda: logistic_path(few.inputs, few.targets, GRID, device=options.device))
    theirs, beside = timed(lambda: sklearn_path(few))
    differences = [
        accuracy(one.scores(test.inputs), test.targets) - accuracy(test.inputs @ weights.T + bias, test.targets)
        for one, (weights, bias) in zip(small, beside, strict=True)
    ]
    return {
        f"path of 6 C on {len(train.inputs):,} clips, s": choosing,
        f"refit on {len(both.inputs):,} clips, s": refitting,
        f"neighbours of {len(test.inputs):,} clips, s": voting,
        "in all, s": choosing + refitting + voting,
        "C chosen": best.C,
        "accuracy of the refit": accuracy(probe.scores(test.inputs), test.targets),
        "accuracy of the neighbours": accuracy(votes, test.targets),
        f"path on {options.beside:,} clips, s": ours,
        f"scikit-learn's path on {options.beside:,} clips, s": theirs,
        "largest difference in accuracy of the two": max(map(abs, differences)),
    }


def labels(options: argparse.Namespace) -> dict[str, float]:
    """One binary regression for each of 200 labels."""
    made = make(options.clips // 5, 2048, 200, labels=3)
    few = made[: options.beside]
    seconds, _ = timed(lambda: logistic_path(made.inputs, made.targets, GRID, True, options.device))
    ours, _ = timed(lambda: logistic_path(few.inputs, few.targets, GRID, True, options.device))
    theirs, _ = timed(lambda: sklearn_path(few, column=20))
    return {
        f"path of 6 C on {len(made.inputs):,} clips, 200 labels, s": seconds,
        f"path on {options.beside:,} clips, s": ours,
        f"scikit-learn on {options.beside:,} clips, 200 x one label, s": 200 * theirs,
    }


def heads(options: argparse.Namespace) -> dict[str, float]:
    """Batches per second, validation included."""
    made = make(10_000, 2048, 50)
    train, valid = made[:9000], made[9000:]
    lrs = (3.2e-3, 1e-3, 3.2e-4, 1e-4)
    cases = {
        "linear, batch 200": (200, [HeadSpec(3e-4)]),
        "linear, 3 seeds, batch 200": (200, [HeadSpec(3e-4, seed=seed) for seed in range(3)]),
        "hidden layer, 4 rates, batch 1024": (1024, [HeadSpec(lr, 1, dropout=0.1) for lr in lrs]),
    }
    rates = {}
    for name, (batch_size, specs) in cases.items():
        how: dict[str, Any] = {"batch_size": batch_size, "max_epochs": 1, "patience": 1, "progress": False}
        began = time.perf_counter()
        fit_heads(train.inputs, train.targets, valid.inputs, valid.targets, specs, device=options.device, **how)
        seconds = time.perf_counter() - began
        rates[f"{name}, steps/s"] = -(-len(train.inputs) // batch_size) / seconds
    return rates


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    "esc10": esc10,
    "default": default,
    "labels": labels,
    "heads": heads,
}

if __name__ == "__main__":
    main()
