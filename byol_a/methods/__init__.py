"""Self-supervised methods: what turns views into a loss, and what is updated beside the optimiser."""

from byol_a.methods.byol import BYOL, BYOLConfig, HeadConfig

__all__ = ["BYOL", "BYOLConfig", "HeadConfig"]
