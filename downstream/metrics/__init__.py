"""Metrics of predictions, bootstrap intervals, and the comparison of two models on the same clips."""

from downstream.metrics.bootstrap import Score, score_folds
from downstream.metrics.calibration import BINS, binary_brier, binary_ece, bins_of, brier, ece, sigmoid, softmax
from downstream.metrics.catalogue import LOWER_IS_BETTER, METRIC_TITLES, METRICS, UNBOUNDED_METRICS, metrics_beside
from downstream.metrics.classification import (
    accuracy,
    balanced_accuracy,
    chroma_accuracy,
    confusion,
    precision_recall_f1,
)
from downstream.metrics.paired import Paired, compare, compare_cells
from downstream.metrics.ranking import auc_roc, average_precisions, d_prime, lwlrap, macro_map, roc_areas
from downstream.metrics.significance import holm
from downstream.metrics.weighing import Metric

__all__ = [
    "BINS",
    "LOWER_IS_BETTER",
    "METRICS",
    "METRIC_TITLES",
    "UNBOUNDED_METRICS",
    "Metric",
    "Paired",
    "Score",
    "accuracy",
    "auc_roc",
    "average_precisions",
    "balanced_accuracy",
    "binary_brier",
    "binary_ece",
    "bins_of",
    "brier",
    "chroma_accuracy",
    "compare",
    "compare_cells",
    "confusion",
    "d_prime",
    "ece",
    "holm",
    "lwlrap",
    "macro_map",
    "metrics_beside",
    "precision_recall_f1",
    "roc_areas",
    "score_folds",
    "sigmoid",
    "softmax",
]
