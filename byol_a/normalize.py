"""Log-mel normalisation: training-set statistics before augmentation, batch statistics after it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from byol_a.errors import ByolaError, UsageError


@dataclass(frozen=True)
class NormStats:
    """Scalar mean and standard deviation of a training set's log-mel values.

    Raises:
        UsageError: if either is not a finite number, or `std` is not above 0.
    """

    mean: float
    std: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.std) and self.std > 0):
            raise UsageError(
                f"normalisation statistics need a finite mean and a standard deviation above 0, "
                f"not mean = {self.mean!r} and std = {self.std!r}"
            )


@dataclass
class StatsAccumulator:
    """Mean and population standard deviation of all values shown to it, in one pass and in float64.

    Batches are combined by the pairwise update of Chan, Golub and LeVeque (1979), which stays accurate where
    sums of squares would cancel. It is plain numbers: pickle it, gather it from other processes, merge it.
    """

    count: int = 0
    mean: float = 0.0
    sum_of_squares: float = 0.0  # of the deviations from the mean

    def update(self, logmel: Tensor) -> None:
        """Take in every value of `logmel`, a floating-point tensor of any shape."""
        if logmel.numel() > 0:
            count, mean, sum_of_squares = _moments(logmel.detach()).tolist()
            self.merge(StatsAccumulator(int(count), mean, sum_of_squares))

    def merge(self, other: StatsAccumulator) -> None:
        """Take in everything `other` has seen."""
        pair = torch.tensor([_row(self), _row(other)], dtype=torch.float64)
        count, self.mean, self.sum_of_squares = _combine(pair).tolist()
        self.count = int(count)

    def result(self) -> NormStats:
        """The statistics so far.

        Raises:
            ByolaError: if nothing was seen, a value was not finite, or all values were equal.
        """
        if self.count == 0:
            raise ByolaError("no log-mel values were given to compute normalisation statistics from")
        if not math.isfinite(self.sum_of_squares):
            raise ByolaError("a log-mel value was not finite, so there are no normalisation statistics")
        if self.sum_of_squares <= 0:
            raise ByolaError(
                f"all log-mel values equal {self.mean:g}, so they cannot be normalised; is all audio silent?"
            )
        return NormStats(self.mean, math.sqrt(self.sum_of_squares / self.count))


class PreNorm(nn.Module):
    """`(x - mean) / std` with fixed scalar statistics (arXiv 2103.06695, pre-normalisation).

    The statistics are buffers, so that they travel with the weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, stats: NormStats) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(stats.mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(stats.std, dtype=torch.float32))

    def forward(self, logmel: Tensor) -> Tensor:
        """Log-mel of any shape -> the same shape, mean 0 and std 1 over the training set."""
        return (logmel - self.mean).div_(self.std)

    def stats(self) -> NormStats:
        """The statistics in use."""
        return NormStats(self.mean.item(), self.std.item())


class RunningNorm(nn.Module):
    """Normalisation by statistics gathered while training: the running variant of BYOL-A v1.

    In training mode each of the first `max_updates` batches is taken into the statistics before it is
    normalised by them; afterwards, and in evaluation mode, they stay as they are. The papers leave the
    estimator open: ours is the exact mean and population std of all values seen so far, over all processes
    of a distributed run, which neither order nor size of the batches changes. The state is in buffers, and so
    in every checkpoint.

    Args:
        max_updates: number of training batches to gather from, at least 1.

    Raises:
        UsageError: if `max_updates` is below 1.
    """

    updates: Tensor  # () int64, batches gathered so far
    moments: Tensor  # (3,) float64: count, mean, sum of squared deviations

    def __init__(self, max_updates: int) -> None:
        super().__init__()
        if max_updates < 1:
            raise UsageError(f"running normalisation needs max_updates of at least 1, not {max_updates}")
        self.max_updates = max_updates
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("moments", torch.zeros(3, dtype=torch.float64))
        self._counted = 0  # `updates` again, as a number: a step must not wait for the device to tell it
        self.register_load_state_dict_post_hook(RunningNorm._loaded)

    @staticmethod
    def _loaded(module: RunningNorm, _incompatible: object) -> None:
        module._counted = int(module.updates)

    def forward(self, logmel: Tensor) -> Tensor:
        """Log-mel of any shape -> the same shape.

        Raises:
            ByolaError: in evaluation mode, if no training batch was ever seen.
        """
        if self.training and self._counted < self.max_updates:
            self._update(logmel.detach())
        elif self._counted == 0:
            raise ByolaError("running normalisation has seen no training batch yet, so it has no statistics")
        count, mean, sum_of_squares = self.moments.unbind()
        std = (sum_of_squares / count).sqrt().clamp_min(torch.finfo(torch.float32).eps)
        return (logmel - mean.to(logmel.dtype)).div_(std.to(logmel.dtype))

    def stats(self) -> NormStats:
        """The statistics so far.

        Raises:
            ByolaError: if no batch was seen, or all values were equal.
        """
        count, mean, sum_of_squares = self.moments.tolist()
        return StatsAccumulator(int(count), mean, sum_of_squares).result()

    def _update(self, logmel: Tensor) -> None:
        rows = _everyones(_moments(logmel))
        self.moments.copy_(_combine(torch.cat([self.moments[None], rows.to(self.moments)])))
        self.updates += 1
        self._counted += 1


def post_norm(views: Tensor, synchronized: bool = False) -> Tensor:
    """Normalise augmented views by the batch's mean and std (arXiv 2103.06695, post-normalisation).

    Args:
        views: (2B, F, T), both views of every clip, concatenated.
        synchronized: whether the batch is that of all processes of a distributed run, or this process's own part.

    Returns:
        The same shape; mean 0, std 1 (the unbiased estimate) over all values. A constant batch gives zeros.
    """
    mean = views.mean()
    centred = views - mean
    # The norm of a centred vector is its std times sqrt(n - 1); one vectorised pass, unlike torch.std on CPU.
    norm = torch.linalg.vector_norm(centred)
    if synchronized and _is_distributed():
        count = torch.full_like(mean, views.numel(), dtype=torch.float64)
        own = torch.stack([count, mean.to(torch.float64), norm.to(torch.float64).square()])
        count, common_mean, sum_of_squares = _combine(_everyones(own)).unbind()
        centred += (mean - common_mean).to(views.dtype)
        std = (sum_of_squares / (count - 1).clamp_min(1)).sqrt().to(views.dtype)
    else:
        std = norm / math.sqrt(max(1, views.numel() - 1))
    return centred / std.clamp_min(torch.finfo(views.dtype).eps)


def mean_and_std(moments: Tensor, synchronized: bool = False) -> tuple[Tensor, Tensor]:
    """Mean and std (the unbiased estimate) of a batch, float64 (), from the moments of its parts.

    Args:
        moments: (n, 3) float64: count, mean, sum of squared deviations.
        synchronized: whether the batch is that of all processes of a distributed run, or this process's own part.
    """
    count, mean, sum_of_squares = _combine(_everyones(_combine(moments)) if synchronized else moments).unbind()
    return mean, (sum_of_squares / (count - 1).clamp_min(1)).sqrt()


def _row(stats: StatsAccumulator) -> list[float]:
    return [stats.count, stats.mean, stats.sum_of_squares]


def _moments(values: Tensor) -> Tensor:
    """Count, mean and sum of squared deviations of all values, (3,) float64."""
    variance, mean = torch.var_mean(values.to(torch.float64), correction=0)
    count = torch.full_like(mean, values.numel())
    return torch.stack([count, mean, variance * count])


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def _everyones(moments: Tensor) -> Tensor:
    """Moments (3,) of this process -> those of all processes of a distributed run (n, 3)."""
    if not _is_distributed():
        return moments[None]
    rows = [torch.empty_like(moments) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, moments)
    return torch.stack(rows)


def _combine(moments: Tensor) -> Tensor:
    """Moments (n, 3) of n disjoint sets -> those of their union (3,); empty sets count for nothing."""
    counts, means, sums = moments.unbind(1)
    total = counts.sum()
    mean = (counts * means).sum() / total.clamp_min(1)
    return torch.stack([total, mean, (sums + counts * (means - mean).square()).sum()])
