"""docs/own-encoder.md is run as it stands: its module is written down, and its command scores it on real recordings."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = (ROOT / "docs" / "own-encoder.md").read_text(encoding="utf-8")
MODULE = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)[0]
COMMAND = re.findall(r"^byol-a evaluate (my_encoder:\S+ .*)$", DOCUMENT, re.MULTILINE)[0]


@pytest.fixture
def folder(tmp_path: Path, real_data: Path) -> Path:
    """Where a reader would work: with the module, and a small part of FSDD."""
    (tmp_path / "my_encoder.py").write_text(MODULE)
    recordings = tmp_path / "fsdd" / "recordings"
    recordings.mkdir(parents=True)
    for path in (real_data / "fsdd" / "recordings").iterdir():
        if re.fullmatch(r"[0-3]_(jackson|theo)_\d+\.wav", path.name):
            (recordings / path.name).symlink_to(path)
    return tmp_path


def test_the_command_scores_the_module(folder: Path) -> None:
    arguments = shlex.split(COMMAND.replace("/data/fsdd", "fsdd"))
    run = subprocess.run(
        [sys.executable, "-m", "byol_a", "evaluate", *arguments, "--cache", "cache"],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    rows = [line for line in run.stdout.splitlines() if re.search(r"\bMFCC\b", line)]
    assert any("logistic" in row and "accuracy" in row for row in rows), run.stdout
    assert "has no fingerprint" not in run.stderr and "Traceback" not in run.stderr


def test_what_the_document_says_of_pooling(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from downstream.features import CustomFeatures, EmbeddingCache, EmbeddingSource
    from downstream.tasks.base import Clip

    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    clips = [Clip(path, ("a",), "train") for path in sorted((folder / "fsdd" / "recordings").iterdir())[:4]]
    for pooling, dim in (("model", 52), ("mean", 26), ("mean+max", 26)):
        features = CustomFeatures("my_encoder:mfcc", pooling=pooling)  # type: ignore[arg-type]
        matrix = EmbeddingSource(features, clips, EmbeddingCache(None), progress=False).matrix()
        assert matrix.shape == (4, dim) and np.isfinite(matrix).all() and features.name == "MFCC"
