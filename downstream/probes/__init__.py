"""Small classifiers on fixed embeddings: logistic regression, heads trained by gradient, nearest neighbours."""

from downstream.probes.gradient import FittedHeads, HeadSpec, fit_heads
from downstream.probes.knn import KNNProbe
from downstream.probes.logistic import LinearProbe, logistic_fits, logistic_path

__all__ = ["FittedHeads", "HeadSpec", "KNNProbe", "LinearProbe", "fit_heads", "logistic_fits", "logistic_path"]
