"""The run's folder: any file name survives, and what a killed start left is no run."""

from __future__ import annotations

from pathlib import Path

import pytest

from byol_a.config import build
from byol_a.errors import UsageError
from byol_a.training.config import PretrainConfig
from byol_a.training.interrupt import StopSignals
from byol_a.training.run_folder import RunFolder

from .small import values


def test_any_file_name_survives(tmp_path: Path) -> None:
    files = [Path(f"/a/{name}.wav") for name in ("plain", "line\nend", "sep\u2028arator", "\udcff not utf-8", "ä\x85")]
    folder = RunFolder(tmp_path / "run")
    config = build(PretrainConfig, values(), "test")
    folder.create(config, files, {"seed": 1})
    assert folder.files() == files
    assert folder.config() == config
    assert folder.description() == {"seed": 1}


def test_only_a_run_is_in_the_way(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.refuse_existing()
    folder.create(build(PretrainConfig, values(), "test"), [], {})
    with pytest.raises(UsageError, match="--resume"):
        folder.refuse_existing()
    folder.config_file.unlink()  # killed while it was created
    folder.refuse_existing()
    (folder.path / "precious.txt").write_text("a user's")
    with pytest.raises(UsageError, match="exists already"):
        folder.refuse_existing()


def test_one_wish_passed_on_twice_is_one_wish() -> None:
    import signal

    with StopSignals() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.number == signal.SIGTERM
