"""Costs of steps relative to each other."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

import pytest

from byol_a.config import build
from byol_a.errors import ByolaError, UsageError
from byol_a.training import cost
from byol_a.training.config import PretrainConfig

from .small import values


@pytest.fixture
def config() -> PretrainConfig:
    return build(PretrainConfig, values(), "small")


def test_ratios_are_of_steps_taken_in_turns(config: PretrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    class Timed:
        """The machine gets slower with each step; a step of `slow` takes twice as long."""

        def __init__(self, name: str, *_: Any) -> None:
            self.name = name

        def step(self) -> float:
            taken.append(self.name)
            return (2.0 if self.name == "slow" else 1.0) * 1.001 ** len(taken)

    monkeypatch.setattr(cost, "_Stepper", Timed)
    configs = dict.fromkeys(["plain", "slow", "same"], config)
    found = cost.step_costs(configs, "plain", rounds=4, side_by_side=1)
    assert list(found) == ["plain", "slow", "same"]
    assert found["plain"].relative == 1.0
    assert found["slow"].relative == pytest.approx(2.0, rel=0.01)
    assert found["same"].relative == pytest.approx(1.0, rel=0.01)
    assert found["slow"].seconds / found["plain"].seconds == pytest.approx(found["slow"].relative)
    assert taken[:4] == ["slow", "plain", "plain", "slow"]
    assert taken.count("plain") == 2 * taken.count("same") == 2 * (cost.WARM_UP + 4)
    assert cost.step_costs({"plain": config}, "plain", rounds=1)["plain"].relative == 1.0


def test_a_single_lucky_step_does_not_decide(config: PretrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    class Timed:
        def __init__(self, name: str, *_: Any) -> None:
            self.name, self.steps = name, 0

        def step(self) -> float:
            self.steps += 1
            return 0.5 if self.name == "slow" and self.steps == 4 else 2.0 if self.name == "slow" else 1.0

    monkeypatch.setattr(cost, "_Stepper", Timed)
    found = cost.step_costs(dict.fromkeys(["plain", "slow"], config), "plain", rounds=5)
    assert found["slow"] == (2.0, 2.0)


def test_one_group_of_trainers_is_in_memory_at_a_time(config: PretrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    living: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    class Counted:
        def __init__(self, *_: Any) -> None:
            nonlocal most
            living.add(self)
            most = max(most, len(living))

        def step(self) -> float:
            return 1.0

    monkeypatch.setattr(cost, "_Stepper", Counted)
    cost.step_costs(dict.fromkeys("abcde", config), "a", rounds=1, side_by_side=2)
    assert most == 3


def test_real_steps_of_methods_with_other_views_and_parts(config: PretrainConfig) -> None:
    triple = build(PretrainConfig, values() | {"method": {"name": "tribyol"}}, "triple")
    parts = replace(triple, training=replace(triple.training, accumulate=2))
    found = cost.step_costs({"byol": config, "tribyol": parts}, "byol", rounds=1, device="cpu")
    assert found["tribyol"].seconds > 0 and found["tribyol"].relative > 0


def test_what_fails_is_named(config: PretrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    short = replace(config, data=replace(config.data, crop_seconds=0.05))
    with pytest.raises(UsageError, match=r"^short: data\.crop_seconds 0\.05"):
        cost.step_costs({"byol": config, "short": short}, "byol", device="cpu")

    def fail(*_: Any) -> None:
        raise ArithmeticError("no root\nhere")

    monkeypatch.setattr("byol_a.training.trainer.Trainer.update", fail)
    with pytest.raises(ByolaError, match=r"^byol fails in a step: ArithmeticError: no root here$"):
        cost.step_costs({"byol": config}, "byol", device="cpu")
