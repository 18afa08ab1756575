"""Devices and precisions by name."""

from __future__ import annotations

import pytest
import torch

from byol_a.device import pick_device, resolve_precision
from byol_a.errors import UsageError


def test_names_of_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(UsageError, match="unknown device 'toaster'"):
        pick_device("toaster")
    with pytest.raises(UsageError, match="there is no cuda:99 here"):
        pick_device("cuda:99")


def test_precision_is_resolved_only_where_it_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert resolve_precision("float32", cpu) == "float32"
    assert resolve_precision("bf16", cpu) == "bf16"
    for has_tiles, expected in ((True, "bf16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda found=has_tiles: found)
        assert resolve_precision("auto", cpu) == expected
