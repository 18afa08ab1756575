"""The start-up program: what it runs, and how it reads Python's account of imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import programs

import startup  # isort: skip

TRACE = """\
import time: self [us] | cumulative | imported package
import time:       100 |        100 |   encodings.aliases
import time:       200 |        300 | codecs
something else that was said
import time:      1000 |       1000 |       numpy.linalg
import time:      2000 |       3000 |     numpy
import time:       500 |        500 |     inspect
import time:      7000 |      10500 |   torch
import time:        50 |         50 |   json
import time:        30 |      10580 | byol_a.model
import time:        20 |         20 | csv
"""


def test_each_package_is_charged_for_its_own_imports() -> None:
    seconds: dict[str, float] = {}
    for owner, taken in startup._owners(TRACE):
        seconds[owner] = seconds.get(owner, 0.0) + taken
    # What torch takes from Python's library is torch's; numpy is numpy's, whoever asks for it.
    assert seconds == pytest.approx({"Python": 0.00032, "numpy": 0.003, "torch": 0.0075, "byol-a": 0.00008})


def test_it_measures_beside_the_targets(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    program = [sys.executable, programs.FOLDER / "startup.py"]
    given = ["--rounds", "1", "--commands", "embed", "--profile", "--json", str(figures)]
    done = subprocess.run([*program, *given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "below 0.3" in done.stdout and "below 3" in done.stdout and "imports of byol-a embed" in done.stdout
    found = json.loads(figures.read_text())
    assert all(taken["seconds"] > 0 for taken in found["commands"].values())
    assert {"byol-a --help", "byol-a embed --help", "byol-a embed"} <= found["commands"].keys()
    assert {"torch", "numpy", "pyarrow", "byol-a"} <= found["embed_imports"].keys()
    assert not {"pandas", "huggingface_hub", "scipy"} & found["embed_imports"].keys()
