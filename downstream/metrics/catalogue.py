"""Every metric by name, and which of them stand in a score row."""

from __future__ import annotations

import math
from collections.abc import Sequence

from byol_a.config import nearest
from byol_a.errors import UsageError
from downstream.metrics.calibration import binary_brier, binary_ece, brier, ece
from downstream.metrics.classification import accuracy, balanced_accuracy, chroma_accuracy
from downstream.metrics.ranking import auc_roc, d_prime, lwlrap, macro_map
from downstream.metrics.weighing import Metric

METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    # The share of MIDI notes that are right to the semitone is the accuracy; papers call it so.
    "pitch_accuracy": accuracy,
    "chroma_accuracy": chroma_accuracy,
    "macro_map": macro_map,
    "d_prime": d_prime,
    "lwlrap": lwlrap,
    "auc_roc": auc_roc,
    "ece": ece,
    "brier": brier,
    "binary_ece": binary_ece,
    "binary_brier": binary_brier,
}
METRIC_TITLES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "pitch_accuracy": "pitch accuracy",
    "chroma_accuracy": "chroma accuracy",
    "macro_map": "mAP",
    "d_prime": "d'",
    "lwlrap": "lwlrap",
    "auc_roc": "ROC AUC",
    "ece": "ECE",
    "brier": "Brier score",
    "binary_ece": "ECE of labels",
    "binary_brier": "Brier score of labels",
}
# The others lie within 0 and 1.
UNBOUNDED_METRICS = frozenset({"d_prime", "brier"})
_BOUNDS: dict[Metric, tuple[float, float]] = {d_prime: (-math.inf, math.inf), brier: (0.0, 2.0)}
LOWER_IS_BETTER = frozenset({"ece", "brier", "binary_ece", "binary_brier"})

_BESIDE = ("accuracy", "balanced_accuracy", "ece", "brier")
_BESIDE_MULTI_LABEL = ("d_prime", "lwlrap", "binary_ece", "binary_brier")


def bounds(metric: Metric) -> tuple[float, float]:
    """The lowest and the highest value that a metric can have."""
    return _BOUNDS.get(metric, (0.0, 1.0))


def metrics_beside(names: Sequence[str], multi_label: bool) -> tuple[str, ...]:
    """The metrics of a score row: the task's own `names` first, then those that always stand beside them.

    Raises:
        UsageError: for a name that is no metric's, with the nearest one; if lower is better in the first.
    """
    for name in names:
        if name not in METRICS:
            raise UsageError(f"there is no metric {name!r}{nearest(name, METRICS)}")
    if names and names[0] in LOWER_IS_BETTER:
        raise UsageError(f"{names[0]} cannot be a task's own metric, in which higher is better; name another one first")
    return tuple(dict.fromkeys((*names, *(_BESIDE_MULTI_LABEL if multi_label else _BESIDE))))
