"""The run's folder: any file name survives, and what a killed start left is no run."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from byol_a.config import build
from byol_a.errors import ByolaError, UsageError
from byol_a.interrupt import StopSignals
from byol_a.training.clip_list import ClipList
from byol_a.training.config import PretrainConfig
from byol_a.training.run_folder import RunFolder

from .small import values


def test_any_file_name_survives(tmp_path: Path) -> None:
    files = [Path(f"/a/{name}.wav") for name in ("plain", "line\nend", "sep\u2028arator", "\udcff not utf-8", "ä\x85")]
    folder = RunFolder(tmp_path / "run")
    config = build(PretrainConfig, values(), "test")
    clips = ClipList.of_files(files)
    folder.create(config, clips, {"seed": 1, "data_fingerprint": clips.fingerprint})
    again = folder.clips()
    assert again is not None and again.index.names() == [str(file) for file in files]
    assert folder.config() == config
    assert folder.description()["seed"] == 1


def test_a_run_of_an_earlier_version_has_its_settings_under_their_present_names(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(build(PretrainConfig, values(), "test"), None, {})
    old = values() | {"method": {"projector": {"hidden": 16, "out": 8}, "predictor_hidden": 48, "tau": 0.9}}
    folder.config_file.write_text(yaml.safe_dump(old))
    expected = {"projector": {"hidden": 16, "out": 8}, "predictor": {"name": "mlp", "hidden": 48}, "tau": 0.9}
    assert folder.config() == build(PretrainConfig, values() | {"method": expected}, "test")


def test_another_list_of_clips_is_not_taken(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    clips = ClipList.of_files(["/a/1.wav", "/a/2.wav"])
    folder.create(build(PretrainConfig, values(), "test"), clips, {"data_fingerprint": clips.fingerprint})
    ClipList.of_files(["/a/1.wav", "/a/3.wav"]).index.write(folder.clips_index)
    with pytest.raises(ByolaError, match="not the list of clips"):
        folder.clips()
    folder.clips_index.unlink()
    with pytest.raises(ByolaError, match="gone or damaged"):
        folder.clips()


def test_only_a_run_is_in_the_way(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.refuse_existing()
    folder.create(build(PretrainConfig, values(), "test"), None, {})
    with pytest.raises(UsageError, match="--resume"):
        folder.refuse_existing()
    folder.config_file.unlink()  # killed while it was created
    (folder.path / ".config.yaml.123.partial").write_text("encoder:")
    folder.refuse_existing()
    (folder.path / "precious.txt").write_text("a user's")
    with pytest.raises(UsageError, match="exists already"):
        folder.refuse_existing()


def test_what_a_killed_process_had_begun_to_write_is_cleared_away(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(build(PretrainConfig, values(), "test"), None, {})
    kept = sorted(folder.path.rglob("*"))
    for name in (".metrics.jsonl.7.partial", "checkpoints/.last.pt.7.partial"):
        (folder.path / name).touch()
    for name in (".model.7.partial", ".model.7.retired"):
        (folder.path / name).mkdir()
        (folder.path / name / "model.safetensors").touch()
    folder.remove_partial_files()
    assert sorted(folder.path.rglob("*")) == kept


def test_one_wish_passed_on_twice_is_one_wish() -> None:
    import signal

    with StopSignals() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.number == signal.SIGTERM
