"""Losses over pairs of clips are those of the whole batch, however many processes share it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.launched import Launched

from . import two_processes


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What each of two processes found."""
    out: Path = tmp_path_factory.mktemp("two-processes")
    with Launched("-m", "tests.methods.losses.two_processes", out) as job:
        assert job.wait() == 0, job.output
    return [torch.load(out / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("name", two_processes.objectives())
def test_two_processes_learn_what_one_does(name: str, found: list[Any]) -> None:
    expected = two_processes.learned(two_processes.objectives()[name], two_processes.WHOLE, parallel=False)
    assert len(expected) >= 3
    for process in found:
        assert process[name].keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(process[name][key], value, rtol=1e-10, atol=1e-12, msg=f"{name}, {key}")
    if name == "ccsl":
        assert expected["share_positive"] > 0.1
        assert expected["share_negative"] > 0.1
