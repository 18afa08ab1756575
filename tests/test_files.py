"""Atomic writing: the old file or the new one, never half of either."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from byol_a.errors import UsageError
from byol_a.files import atomic_file, atomic_folder, checksum, refuse_existing, write_json


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "file.txt"
    with atomic_file(path) as temporary:
        temporary.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    with pytest.raises(RuntimeError), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "one"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with pytest.raises(RuntimeError), atomic_folder(path) as temporary:
        (temporary / "a").write_text("1")
        raise RuntimeError
    assert not path.exists()
    with atomic_folder(path) as temporary:
        (temporary / "a").write_text("1")
    with pytest.raises(UsageError, match="exists already"), atomic_folder(path):
        pass
    with atomic_folder(path, overwrite=True) as temporary:
        (temporary / "b").write_text("2")
    assert [entry.name for entry in path.iterdir()] == ["b"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refuse_existing(tmp_path / "empty")
    with atomic_folder(tmp_path / "empty") as temporary:
        (temporary / "a").write_text("1")
    assert (tmp_path / "empty" / "a").exists()


def test_json_is_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"ä": [1, 2]})
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert "ä" in text
    assert json.loads(text) == {"ä": [1, 2]}


def test_json_holds_names_that_are_not_utf8(tmp_path: Path) -> None:
    value = {"data": ["caf\udce9.wav", "naïve \U0001f3b5"]}
    write_json(tmp_path / "x.json", value)
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == value


def test_a_checksum_covers_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "data"
    data = bytearray(3_000_000)
    path.write_bytes(data)
    first = checksum(path)
    assert first == hashlib.blake2b(data, digest_size=16).hexdigest()
    data[-1] = 1
    path.write_bytes(data)
    assert checksum(path) != first
