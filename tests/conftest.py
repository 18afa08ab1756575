"""What every test may ask for: golden numbers, the real data sets, and audio files made on the spot."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from byol_a.kernels import Unavailable
from byol_a.kernels.build import cache_folder

ROOT = Path(__file__).resolve().parent.parent
with contextlib.suppress(Unavailable):
    os.environ["BYOL_A_CACHE"] = str(cache_folder())  # tests that move the home need not compile the kernels anew


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and there is none here"))


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Mapping[str, np.ndarray]]:
    """`golden("frontend")` gives the arrays of tests/golden/frontend.npz by name."""
    return lambda name: np.load(ROOT / "tests" / "golden" / f"{name}.npz")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that holds esc10, fsdd and nsynth-mini; the test is skipped where there is none."""
    folder = Path(os.environ.get("BYOL_A_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real data sets are not at {folder}; set BYOL_A_DATA to the folder that holds them")
    return folder


@pytest.fixture
def write_wav() -> Callable[..., Path]:
    """`write_wav(path, seconds=1.0, sample_rate=16000, seed=0)` writes a noisy tone and returns the path."""

    def write(path: Path, seconds: float = 1.0, sample_rate: int = 16000, seed: int = 0) -> Path:
        import soundfile

        rng = np.random.default_rng(seed)
        time = np.arange(round(seconds * sample_rate)) / sample_rate
        pitch = rng.uniform(100, 2000)
        wave = 0.3 * np.sin(2 * np.pi * pitch * time) + 0.05 * rng.standard_normal(time.size)
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave.astype(np.float32), sample_rate)
        return path

    return write


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB; needs the right to mount one."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", path],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", path], check=True, timeout=60)
