"""Small classifiers on fixed embeddings: standardised logistic regression, and nearest neighbours."""

from downstream.probes.knn import KNNProbe
from downstream.probes.logistic import LogisticProbe, logistic_path

__all__ = ["KNNProbe", "LogisticProbe", "logistic_path"]
