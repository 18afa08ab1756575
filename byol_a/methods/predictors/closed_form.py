"""Predictors computed from the batch (Richemond et al. 2023, arXiv 2302.04817) and the prior art they compare with.

`S = Z_o^T Z_o / N` and `C = Z_o^T Z_t / N` are the moments of a step's online and target projections. What the paper
leaves open, and all of them share, is in `batch_matrix`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from byol_a.errors import UsageError
from byol_a.methods.predictors.batch_matrix import BatchMatrixConfig, BatchMatrixPredictor, IteratedConfig
from byol_a.methods.predictors.matrix_roots import (
    neumann_series,
    newton_schulz_fourth_root,
    newton_schulz_root,
    stiefel_factor,
    visser_root,
)


@dataclass
class NeumannConfig(BatchMatrixConfig):
    """`terms` of the series, the paper's two by default.

    `mean` divides the products of rows by their number, so that the series converges. Left open in the paper: our
    choice; without, sums are taken as its formula has them.
    """

    name: str = "neumann"
    ridge: float = 0.15
    terms: int = 2
    mean: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.terms < 1:
            raise UsageError(f"method.predictor.terms must be at least 1, not {self.terms}")


class NeumannPredictor(BatchMatrixPredictor[NeumannConfig]):
    """`P = 2 C - S C`: the least-squares predictor `S^-1 C` by two terms of its Neumann series."""

    uses_target = True

    def solve(self, covariance: Tensor, cross: Tensor, rows: Tensor) -> Tensor:
        """The series' sum."""
        if not self.config.mean:
            covariance, cross = covariance * rows, cross * rows
        return neumann_series(covariance, cross, self.config.terms)


@dataclass
class VisserConfig(IteratedConfig):
    """`iterations` of step size `eta` on S divided by its Frobenius norm; both are our choice (see `visser_root`)."""

    name: str = "visser"
    iterations: int = 50
    eta: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.eta < 1.0:
            raise UsageError(f"method.predictor.eta must lie in (0, 1), where the iteration converges, not {self.eta}")


class VisserPredictor(BatchMatrixPredictor[VisserConfig]):
    """`P = S^(1/2)` by Visser's iteration, which leaves a ridge of its own where S is small."""

    def solve(self, covariance: Tensor, cross: Tensor, rows: Tensor) -> Tensor:
        """The square root of S."""
        return visser_root(covariance, self.config.iterations, self.config.eta)


@dataclass
class NewtonSchulzConfig(IteratedConfig):
    """The paper's nine iterations and its ridge."""

    name: str = "newton_schulz"
    ridge: float = 0.3
    iterations: int = 9


class NewtonSchulzPredictor(BatchMatrixPredictor[NewtonSchulzConfig]):
    """`P = S^(1/2)` by the Newton-Schulz iteration."""

    def solve(self, covariance: Tensor, cross: Tensor, rows: Tensor) -> Tensor:
        """The square root of S."""
        return newton_schulz_root(covariance, self.config.iterations)


@dataclass
class NewtonSchulz2Config(IteratedConfig):
    """The paper's seven iterations for each of the two roots, and its ridge."""

    name: str = "newton_schulz2"
    ridge: float = 0.6
    iterations: int = 7


class NewtonSchulz2Predictor(BatchMatrixPredictor[NewtonSchulz2Config]):
    """`P = S^(1/4)` by the Newton-Schulz iteration, twice in a row."""

    def solve(self, covariance: Tensor, cross: Tensor, rows: Tensor) -> Tensor:
        """The fourth root of S."""
        return newton_schulz_fourth_root(covariance, self.config.iterations)


@dataclass
class StiefelConfig(IteratedConfig):
    """The paper's nine iterations and its ridge."""

    name: str = "stiefel"
    ridge: float = 0.3
    iterations: int = 9


class StiefelPredictor(BatchMatrixPredictor[StiefelConfig]):
    """`P = B_n S^T / ||B_n||_F`, S brought towards the nearest orthogonal matrix.

    As S is symmetric and not negative, that flattens its spectrum: a soft projection onto where S is not small.
    """

    def solve(self, covariance: Tensor, cross: Tensor, rows: Tensor) -> Tensor:
        """The scaled polar factor of S."""
        return stiefel_factor(covariance, self.config.iterations)


@dataclass
class DirectCopyConfig(BatchMatrixConfig):
    """The ridge is Newton-Schulz's; our choice."""

    name: str = "direct_copy"
    ridge: float = 0.3


class DirectCopyPredictor(BatchMatrixPredictor[DirectCopyConfig]):
    """`P = S`, the prior art called DirectCopy."""

    def solve(self, covariance: Tensor, cross: Tensor, rows: Tensor) -> Tensor:
        """S itself."""
        return covariance


@dataclass
class LeastSquaresConfig(BatchMatrixConfig):
    """Without a ridge, as it stands; our choice."""

    name: str = "least_squares"


class LeastSquaresPredictor(BatchMatrixPredictor[LeastSquaresConfig]):
    """`P = S^-1 C`, the best linear predictor of the step's target projections; known to be unstable.

    Of several best ones, as with fewer rows than dimensions, the smallest: eigenvalues of S below P units of the last
    place of the largest count as zero.
    """

    uses_target = True

    def solve(self, covariance: Tensor, cross: Tensor, rows: Tensor) -> Tensor:
        """The pseudo-inverse of S times C."""
        # A decomposition fails on values that are not finite; a run that diverges has better words for it (C says so).
        return torch.linalg.pinv(covariance.nan_to_num(), hermitian=True) @ cross
