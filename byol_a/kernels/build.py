"""The CPU's kernels, compiled for the very machine they run on: once, at first use, then from a cache."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from byol_a.kernels.switch import Unavailable

HERE = Path(__file__).parent
SOURCES = tuple(HERE / f"{name}.cpp" for name in ("cpu", "amx", "tiles", "logmel", "views"))
HEADERS = (HERE / "vectors.h",)
COMPILERS = ("g++", "c++", "clang++")
FLAGS = (
    *("-O3", "-march=native", "-std=c++17", "-fopenmp", "-shared", "-fPIC"),
    # Fused multiply-adds, as in any matrix product; nothing that would reorder a sum or assume away NaN.
    *("-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-w"),
)
PATIENCE_SECONDS = 120
SAID = 200  # characters of what a compiler says


def load_library() -> ctypes.CDLL:
    """The compiled kernels, from the cache (`BYOL_A_CACHE`, else the user's cache folder) where they are there.

    Raises:
        Unavailable: if there is no compiler, or it fails.
    """
    try:
        path = library_path()
        fresh = not path.exists()
        if fresh:
            _compile(path)
        _require_own(path)
        try:
            return ctypes.CDLL(str(path))
        except OSError:
            if fresh:
                raise
            _compile(path)  # it may have been cut, or be another system's
            return ctypes.CDLL(str(path))
    except OSError as error:
        raise Unavailable(f"the compiled kernels cannot be loaded ({error}); set BYOL_A_CACHE to a folder") from error


def first_use(device: str) -> str | None:
    """What to say before the kernels of a device are asked for, where this is going to take a while."""
    try:
        wait = device == "cpu" and not library_path().exists()
    except (Unavailable, OSError):
        return None
    return f"compiling kernels for this processor, once: a few seconds (kept in {cache_folder()})" if wait else None


def library_path() -> Path:
    """Where the compiled kernels of this source, compiler and machine are, or will be.

    Raises:
        Unavailable: if there is no compiler, and so no name.
    """
    # A home that several machines share has a library for each kind of processor.
    sources = "".join(source.read_text(encoding="utf-8") for source in (*SOURCES, *HEADERS))
    command = compiler()
    program = Path(command[0])
    version = f"{program.stat().st_size} {program.stat().st_mtime_ns}"
    told_apart = (sources, *command, version, *FLAGS, _processor(), *platform.libc_ver())
    digest = hashlib.sha256("\0".join(told_apart).encode()).hexdigest()[:16]
    return cache_folder() / f"kernels-{digest}.so"


def compiler() -> list[str]:
    """The C++ compiler's path and what it is always given: `CXX`, else the first there is of `COMPILERS`.

    Raises:
        Unavailable: if there is none.
    """
    wanted = os.environ.get("CXX")
    for name, *arguments in [shlex.split(wanted)] if wanted else [[name] for name in COMPILERS]:
        if found := shutil.which(name):
            return [found, *arguments]
    raise Unavailable(f"no C++ compiler was found ({wanted or ', '.join(COMPILERS)})")


def cache_folder() -> Path:
    """Where compiled kernels are kept.

    Raises:
        Unavailable: if the user has no home and names no folder.
    """
    if own := os.environ.get("BYOL_A_CACHE"):
        return Path(own).expanduser().absolute()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "byol-a"
    except RuntimeError as error:
        raise Unavailable("there is no home folder to keep them in; set BYOL_A_CACHE to a folder") from error


def tiles_wanted() -> bool:
    """Whether oneDNN, torch's library, is told to do without them: then so do we."""
    limits = (os.environ.get(name, "").upper() for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"))
    return all("AMX" in limit or limit in ("", "ALL", "DEFAULT") for limit in limits)


def _require_own(path: Path) -> None:
    """Refuse to run a library that somebody else could have put there.

    Raises:
        Unavailable: if it, or its folder, is another user's or may be written by anybody.
    """
    if not hasattr(os, "getuid"):
        return
    for place in (path, path.parent):
        found = place.stat()
        if found.st_uid not in (os.getuid(), 0) or found.st_mode & stat.S_IWOTH:
            raise Unavailable(f"{place} is not yours alone to write; set BYOL_A_CACHE to a folder that is")


def _processor() -> str:
    """What `-march=native` makes of this machine: its instruction sets."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    kinds = sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    return "\n".join([platform.machine(), platform.processor(), *kinds])


def _compile(path: Path) -> None:
    """Compile beside `path` and rename: processes that do so at the same time do not meet."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = tempfile.mkdtemp(dir=path.parent)
    except OSError as error:
        raise Unavailable(f"there is no place to compile them ({error}); set BYOL_A_CACHE to a folder") from error
    try:
        made = Path(folder) / path.name
        parts = [made.with_suffix(f".{source.stem}.o") for source in SOURCES]
        with ThreadPoolExecutor(len(SOURCES)) as pool:
            list(pool.map(lambda source, part: _run("-c", str(source), "-o", str(part)), SOURCES, parts))
        _run("-o", str(made), *map(str, parts))
        made.replace(path)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"the kernels could not be compiled ({error})") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(*arguments: str) -> None:
    """Run the compiler.

    Raises:
        Unavailable: if it fails, with what it says.
    """
    done = subprocess.run(
        [*compiler(), *FLAGS, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    if done.returncode:
        said = " ".join(done.stderr.split())[:SAID]
        raise Unavailable(f"the C++ compiler {shlex.join(compiler())} fails ({said})")
