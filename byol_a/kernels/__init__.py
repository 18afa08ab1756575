"""Kernels: the passes over feature maps that training and embedding spend their time on, written for one device each.

Every one has a plain path beside it, torch's own layers, which is what it is tested against.
"""

from byol_a.kernels.base import Kernels
from byol_a.kernels.switch import Fast, Unavailable, decide, kernels_for, why_none

__all__ = ["Fast", "Kernels", "Unavailable", "decide", "kernels_for", "why_none"]
