"""Sounds made by rule: a data source that needs no files."""

from __future__ import annotations

from byol_a.data.synth.source import SynthSource

__all__ = ["SynthSource"]
