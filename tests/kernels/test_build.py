"""Kernels are compiled once; where they cannot be, one clause says why, and the plain path is taken."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from byol_a.errors import UsageError
from byol_a.kernels import Unavailable, decide, switch
from byol_a.kernels.build import COMPILERS, cache_folder, compiler, first_use, library_path, load_library
from byol_a.kernels.switch import kernels_for, why_none

CPU = torch.device("cpu")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BYOL_A_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def has_compiler() -> None:
    try:
        compiler()
    except Unavailable as reason:
        pytest.skip(str(reason))


def fake_compiler(folder: Path, script: str) -> Path:
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_it_is_compiled_once(cache: Path, has_compiler: None, monkeypatch: pytest.MonkeyPatch) -> None:
    load_library()
    assert [path.name for path in cache.iterdir()] == [library_path().name]
    made = library_path().stat().st_mtime_ns
    load_library()
    assert library_path().stat().st_mtime_ns == made


def test_another_compiler_is_another_library(
    cache: Path, tmp_path: Path, has_compiler: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = library_path()
    monkeypatch.setenv("CXX", str(fake_compiler(tmp_path, "exit 1")))
    assert library_path() != before


def test_without_a_compiler_it_says_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(Unavailable, match=rf"no C\+\+ compiler was found \({COMPILERS[0].replace('+', '.')}"):
        load_library()
    monkeypatch.setenv("CXX", "gone++")
    with pytest.raises(Unavailable, match=r"\(gone\+\+\)"):
        load_library()


def test_a_compiler_that_fails_is_quoted_and_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(fake_compiler(tmp_path, "echo 'the tape is torn' >&2; exit 1")))
    with pytest.raises(Unavailable, match=r"fails .the tape is torn"):
        load_library()
    assert list(cache.iterdir()) == []


def test_a_library_that_is_none_is_made_anew(cache: Path, has_compiler: None) -> None:
    """One that was cut, or was compiled for another system."""
    library_path().parent.mkdir(mode=0o700)
    library_path().write_text("no")
    load_library()
    assert library_path().stat().st_size > 2


def test_a_compiler_that_makes_no_library(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", str(fake_compiler(tmp_path, 'while [ "$1" != -o ]; do shift; done; echo no > "$2"')))
    with pytest.raises(Unavailable, match=r"cannot be loaded .*BYOL_A_CACHE"):
        load_library()


def test_a_compiler_may_have_arguments(cache: Path, has_compiler: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", f"{compiler()[0]} -O2")
    assert compiler()[1:] == ["-O2"]
    load_library()


def test_a_library_that_anybody_could_have_written_is_not_run(cache: Path, has_compiler: None) -> None:
    load_library()
    cache.chmod(0o777)
    with pytest.raises(Unavailable, match="is not yours alone to write"):
        load_library()


def test_without_a_home_there_is_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("BYOL_A_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(Unavailable, match="no home folder"):
        library_path()
    assert first_use("cpu") is None


def test_a_folder_that_may_not_be_looked_into(cache: Path, has_compiler: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, **_: object) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refused)
    with pytest.raises(Unavailable, match="Permission denied"):
        load_library()
    assert first_use("cpu") is None


def test_a_relative_cache_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BYOL_A_CACHE", ".")
    assert cache_folder() == tmp_path


def test_threads_that_ask_at_once_get_the_same_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch, "_found", {})
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: kernels_for(CPU), range(8)))
    assert all(each is found[0] for each in found)


def test_a_cache_that_cannot_be_made_is_no_end(
    tmp_path: Path, has_compiler: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BYOL_A_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(Unavailable, match=r"no place to compile .*BYOL_A_CACHE"):
        load_library()


def test_processes_that_compile_at_the_same_time_do_not_meet(cache: Path, has_compiler: None) -> None:
    program = "from byol_a.kernels.build import load_library; load_library()"
    processes = [subprocess.Popen([sys.executable, "-c", program], env=os.environ.copy()) for _ in range(3)]
    assert [process.wait(300) for process in processes] == [0, 0, 0]
    assert [path.name for path in cache.iterdir()] == [library_path().name]


def test_a_device_without_kernels() -> None:
    meta = torch.device("meta")
    assert kernels_for(meta) is None and why_none(meta) == "there are no kernels for meta devices"


def test_the_switch() -> None:
    assert decide("off", None) == decide("off", "the moon is full") == (False, None)
    assert decide("auto", None) == decide("on", None) == (True, None)
    assert decide("auto", "the moon is full") == (
        False,
        "the plain path is taken instead of the fast one, because the moon is full",
    )
    with pytest.raises(UsageError, match="fast=on is not possible here, because the moon is full; use fast=auto"):
        decide("on", "the moon is full")
