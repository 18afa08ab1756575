"""Features: what turns a task's clips into a matrix, and the cache that keeps what was made."""

from __future__ import annotations

from byol_a.pooling import POOLINGS, Pooling
from downstream.features.base import Features, Piece
from downstream.features.cache import EmbeddingCache, default_cache_folder
from downstream.features.custom import CustomFeatures, is_custom
from downstream.features.logmel import LogMelStatistics
from downstream.features.model import Layer, ModelFeatures
from downstream.features.request import EmbeddingRequest
from downstream.features.source import EmbeddingSource

__all__ = [
    "POOLINGS",
    "CustomFeatures",
    "EmbeddingCache",
    "EmbeddingRequest",
    "EmbeddingSource",
    "Features",
    "Layer",
    "LogMelStatistics",
    "ModelFeatures",
    "Piece",
    "Pooling",
    "default_cache_folder",
    "is_custom",
]
