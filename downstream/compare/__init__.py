"""Recipes against each other: trained under one budget, measured on held-out clips, scored on labelled sets."""

from downstream.compare.compare import Comparison, run_comparison
from downstream.compare.contestants import Contestant, read_contestants
from downstream.compare.scoring import load_tasks

__all__ = ["Comparison", "Contestant", "load_tasks", "read_contestants", "run_comparison"]
