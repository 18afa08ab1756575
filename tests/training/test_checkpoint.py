"""Checkpoint files: every flipped bit and every cut is seen, nothing in them is run, and the one before stays."""

from __future__ import annotations

import copy
import hashlib
import io
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from byol_a.errors import ByolaError
from byol_a.training import checkpoint
from byol_a.training.checkpoint import DamagedCheckpoint, load_checkpoint, previous_of, save_checkpoint
from byol_a.training.recovery import mend_checkpoint


def snapshot(step: int = 3) -> dict[str, Any]:
    return {
        "step": step,
        "method": {"weight": torch.arange(6.0).view(2, 3) + step, "count": torch.tensor(step)},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]},
        "processes": [{"random": torch.get_rng_state(), "random_cuda": None}],
        "stats": {"mean": -7.0, "std": 4.0},
    }


@pytest.fixture
def last(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoints" / "last.pt"
    save_checkpoint(snapshot(), path)
    return path


def flip(path: Path, byte: int, bit: int = 0) -> None:
    """Change one bit in place, as a disk does: every name of the file is hit."""
    with path.open("rb+") as file:
        file.seek(byte)
        value = file.read(1)[0]
        file.seek(byte)
        file.write(bytes([value ^ 1 << bit]))


def sealed(content: bytes) -> bytes:
    """What someone would write who wants a file to pass for a checkpoint."""
    return content + b"byol-a checkpoint, BLAKE2b " + hashlib.blake2b(content, digest_size=32).hexdigest().encode()


def saved(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def test_what_was_saved_comes_back(last: Path) -> None:
    found, expected = load_checkpoint(last), snapshot()
    assert torch.equal(found["method"]["weight"], expected["method"]["weight"])
    assert (found["step"], found["stats"], found["format_version"]) == (3, expected["stats"], 2)
    assert torch.load(last, weights_only=True).keys() == found.keys()  # the digest does not disturb other programs


def test_a_flipped_bit_is_seen_in_every_byte(last: Path) -> None:
    # torch.load notices none in the numbers, and zipfile some not that give other numbers.
    for place in range(last.stat().st_size):
        bit = random.randrange(8)
        flip(last, place, bit)
        with pytest.raises(DamagedCheckpoint):
            load_checkpoint(last)
        flip(last, place, bit)
    assert load_checkpoint(last)["step"] == 3


def test_every_cut_is_seen(last: Path, tmp_path: Path) -> None:
    content = last.read_bytes()
    cut = tmp_path / "cut.pt"
    for length in {0, 1, len(content) - 1, *random.sample(range(len(content)), 200)}:
        cut.write_bytes(content[:length])
        with pytest.raises(DamagedCheckpoint, match="is empty" if length == 0 else "cut off"):
            load_checkpoint(cut)
    cut.write_bytes(content + b"\0")
    with pytest.raises(DamagedCheckpoint):
        load_checkpoint(cut)


class Hostile:
    """Unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.folder),)


FOREIGN: dict[str, Callable[[Path], bytes]] = {
    "a model": lambda _: saved(torch.nn.Linear(2, 2).state_dict()),
    "a whole module": lambda _: saved(torch.nn.Linear(2, 2)),
    "another program's": lambda _: saved({"epoch": 3, "state_dict": {}, "format_version": 2}),
    "an old torch file": lambda _: saved(snapshot(), _use_new_zipfile_serialization=False),
    "text": lambda _: b"# not a checkpoint\n" * 50,
    "noise": lambda _: random.randbytes(5000),
    "a pickle that runs code": lambda trap: pickle.dumps(Hostile(trap)),
    "a torch file that runs code": lambda trap: saved({**snapshot(), "format_version": 2, "more": Hostile(trap)}),
}


@pytest.mark.parametrize("disguised", [False, True])
@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files_are_refused_and_never_run(kind: str, disguised: bool, tmp_path: Path) -> None:
    trap, path = tmp_path / "trap", tmp_path / "last.pt"
    content = FOREIGN[kind](trap)
    path.write_bytes(sealed(content) if disguised else content)
    with pytest.raises(DamagedCheckpoint) as caught:
        load_checkpoint(path)
    assert not trap.exists()
    assert len(str(caught.value).splitlines()) == 1 and str(path) in str(caught.value)


def test_a_zip_that_unpacks_to_more_than_it_is(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    path = tmp_path / "last.pt"
    path.write_bytes(sealed(file.getvalue()))
    with pytest.raises(DamagedCheckpoint):
        load_checkpoint(path)


def test_a_missing_or_forbidden_file_is_not_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(ByolaError, match="there is no checkpoint"):
        load_checkpoint(tmp_path / "last.pt")
    (tmp_path / "last.pt").mkdir()
    with pytest.raises(ByolaError, match="cannot be read") as caught:
        load_checkpoint(tmp_path / "last.pt")
    assert not isinstance(caught.value, DamagedCheckpoint)


def test_the_one_before_is_kept_and_shares_nothing_with_the_last(last: Path) -> None:
    previous = previous_of(last)
    assert not previous.exists()
    for step in (4, 5, 6):
        save_checkpoint(snapshot(step), last, keep_as=last.with_name(f"step-{step}.pt"))
        assert load_checkpoint(previous)["step"] == step - 1
        assert not previous.samefile(last)
    assert sorted(path.name for path in last.parent.iterdir()) == [
        "last.pt",
        "previous.pt",
        "step-4.pt",
        "step-5.pt",
        "step-6.pt",
    ]


def test_there_is_a_good_file_at_every_moment(last: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two steps of the writing, what a resumed run would find is a whole checkpoint."""
    save_checkpoint(snapshot(4), last)
    found: list[int] = []

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            found.append(load_checkpoint(last)["step"])
            found.append(load_checkpoint(previous_of(last))["step"])
            result = function(*arguments, **options)
            found.append(load_checkpoint(last)["step"])
            found.append(load_checkpoint(previous_of(last))["step"])
            return result

        return call

    for owner, name in ((os, "link"), (os, "fsync"), (Path, "replace"), (Path, "unlink"), (checkpoint.torch, "save")):
        monkeypatch.setattr(owner, name, watched(getattr(owner, name)))
    save_checkpoint(snapshot(5), last)
    assert set(found) == {3, 4, 5}
    assert len(found) >= 24


def test_without_hard_links_a_copy_is_kept(last: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    save_checkpoint(snapshot(4), last)
    assert load_checkpoint(previous_of(last))["step"] == 3


def test_a_good_checkpoint_needs_no_mending(last: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mend_checkpoint(last)
    assert capsys.readouterr().out == ""


def test_no_checkpoint_is_no_damage(tmp_path: Path) -> None:
    assert not mend_checkpoint(tmp_path / "last.pt")


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "foreign", "gone"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    damage: str, last: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_checkpoint(snapshot(4), last)
    if damage == "flip":
        flip(last, last.stat().st_size // 2)
    elif damage == "cut":
        os.truncate(last, 1000)
    elif damage == "empty":
        os.truncate(last, 0)
    elif damage == "foreign":
        last.write_bytes(FOREIGN["a model"](last))
    else:
        last.unlink()
    bad = last.read_bytes() if last.exists() else None
    assert mend_checkpoint(last)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1
    assert str(last) in said[0] and said[0].endswith("the run goes on from previous.pt, at step 3")
    assert load_checkpoint(last)["step"] == load_checkpoint(previous_of(last))["step"] == 3
    if bad is not None:
        assert last.with_name("last.pt.damaged").read_bytes() == bad
        assert "it is kept as last.pt.damaged" in said[0]
    save_checkpoint(snapshot(5), last)
    assert (load_checkpoint(last)["step"], load_checkpoint(previous_of(last))["step"]) == (5, 3)


def test_a_second_damaged_file_does_not_replace_the_first(last: Path) -> None:
    for step in (4, 5, 6):
        save_checkpoint(snapshot(step), last)
        last.write_bytes(b"damage %d" % step)
        assert mend_checkpoint(last)
    names = ["last.pt.damaged", "last.pt.damaged.2", "last.pt.damaged.3"]
    assert [last.with_name(name).read_bytes() for name in names] == [b"damage 4", b"damage 5", b"damage 6"]


@pytest.mark.parametrize("copies", [0, 1, 2])
def test_without_a_good_one_the_sentence_says_what_is_left(copies: int, last: Path) -> None:
    for step in (9, 10, 11):
        save_checkpoint(snapshot(step), last, keep_as=last.with_name(f"step-{step}.pt") if copies else None)
    contents = {path.name: path.read_bytes() for path in last.parent.iterdir()}
    for path in last.parent.iterdir():  # the names share their bytes: copies of them do not
        path.unlink()
        path.write_bytes(contents[path.name])
    for name in ("last.pt", "previous.pt", "step-11.pt", *(("step-9.pt", "step-10.pt") if copies == 1 else ())):
        if last.with_name(name).exists():
            flip(last.with_name(name), 500)
    with pytest.raises(ByolaError) as caught:
        mend_checkpoint(last)
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    assert said.count("has changed since it was written") == 2
    expected = {
        0: "there is no step-N.pt beside it; put one back from a backup, or start a new run with another --out",
        1: "none of the 3 step-N.pt beside it is whole",
        2: "copy step-10.pt, which is whole and of step 10, over",
    }
    assert expected[copies] in said
    assert last.exists()  # nothing was renamed: there is nothing to put in its place


def test_copies_alone_are_not_taken_for_a_run_without_a_checkpoint(last: Path) -> None:
    save_checkpoint(snapshot(4), last, keep_as=last.with_name("step-4.pt"))
    last.unlink()
    previous_of(last).unlink()
    with pytest.raises(ByolaError, match=r"last\.pt is missing; copy step-4\.pt"):
        mend_checkpoint(last)


def test_errors_travel_between_processes() -> None:
    error = pickle.loads(pickle.dumps(DamagedCheckpoint(Path("a.pt"), "is empty")))
    assert str(error) == "the checkpoint a.pt cannot be used: it is empty"


def test_writing_does_not_change_the_snapshot(tmp_path: Path) -> None:
    given = snapshot()
    before = copy.deepcopy(given)
    save_checkpoint(given, tmp_path / "last.pt")
    assert given.keys() == before.keys()
