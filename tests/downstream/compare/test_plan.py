"""What a comparison's folder says of itself, and costs that are kept there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from byol_a.errors import ByolaError, UsageError
from byol_a.training.cost import StepCost
from downstream.compare import plan
from downstream.compare.contestants import controls_for

from .made import contestant

CPU = torch.device("cpu")


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    plan.refuse_strangers(tmp_path / "not there")
    (tmp_path / ".lock").touch()
    plan.begin_plan(tmp_path)
    (tmp_path / "sounds").mkdir()
    plan.begin_plan(tmp_path)

    path = tmp_path / plan.PLAN
    good = path.read_text()
    path.write_text(good[:-9])
    with pytest.raises(ByolaError, match=r"plan\.json, which says what is compared there, cannot be read") as caught:
        plan.begin_plan(tmp_path)
    assert not isinstance(caught.value, UsageError) and path.read_text() == good[:-9]
    path.write_text("{}")
    with pytest.raises(UsageError, match="no comparison of this version"):
        plan.begin_plan(tmp_path)
    path.unlink()
    with pytest.raises(UsageError, match=r"holds something else than a comparison \(sounds\)"):
        plan.begin_plan(tmp_path)


def test_recipes_and_untrained_networks_are_claimed(tmp_path: Path) -> None:
    first = contestant("a+b")
    plan.claim(tmp_path, [first, *controls_for([first])], {"16000": "x"})
    noted = json.loads((tmp_path / plan.PLAN).read_text())
    assert list(noted["recipes"]) == ["a+b"] and list(noted["controls"]) == [controls_for([first])[0].folder]
    with pytest.raises(UsageError, match=r"holds a\+b, whose folder a/b would share"):
        plan.claim(tmp_path, [contestant("a/b")], {})


def test_costs_are_measured_once_a_machine_and_one_that_fails_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[list[str], int]] = []

    def costs(configs: dict, reference: str, device: str, side_by_side: int) -> dict[str, StepCost]:
        asked.append((list(configs), side_by_side))
        if "large" in configs:
            raise RuntimeError("no memory")
        return {label: StepCost(1.0, 1.0) for label in configs}

    monkeypatch.setattr(plan, "step_costs", costs)
    said: list[str] = []
    everybody = [contestant(label) for label in ("plain", "large", "small")]

    def measured() -> list[str]:
        asked.clear()
        return list(plan.measured_costs(tmp_path, everybody, everybody[0], CPU, True, said.append))

    assert measured() == ["plain", "small"]
    assert asked == [
        (["plain", "large", "small"], 4), (["plain"], 1), (["plain", "large"], 1), (["plain", "small"], 1),
    ]  # fmt: skip
    assert said == ["note: what a step of large costs is not known: no memory"]
    everybody.pop(1)
    assert measured() == ["plain", "small"] and not asked
    monkeypatch.setattr(plan, "machine_of", lambda _: "another")
    assert measured() == ["plain", "small"] and asked == [(["plain", "small"], 4)]
