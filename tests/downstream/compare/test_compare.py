"""`byol-a compare`, from end to end: what is finished stays, what is stopped goes on, what fails is a row."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from byol_a.cli import cli
from byol_a.errors import ByolaError, UsageError
from byol_a.interrupt import Interrupted
from byol_a.training.trainer import Trainer
from downstream.compare import compare as compare_module
from downstream.compare import scoring
from downstream.compare.contestants import Contestant
from downstream.protocols.default import DefaultProtocol
from tests.training.small import losses


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A default protocol that is soon done, no pictures of runs, and one thread."""
    import torch

    monkeypatch.setattr(
        scoring, "make_protocol", lambda *_: DefaultProtocol(C_grid=(0.1, 1.0), seeds=(0,), resamples=20)
    )
    monkeypatch.setattr("byol_a.allocator.keep_freed_memory", lambda: True)  # it would last for all tests
    monkeypatch.setattr("byol_a.training.pretrain.plot_training", lambda *_: None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def compare(*arguments: object) -> Result:
    given = ["compare", *map(str, arguments), "--device", "cpu"]
    return CliRunner().invoke(cli, given, catch_exceptions=False)


def changed(out: Path) -> dict[Path, int]:
    """When models and scores were written."""
    return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name in ("model.safetensors", "cell.json")}


def test_recipes_are_trained_scored_and_gone_on_with(
    recipe: Path, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    arguments = (recipe, f"{recipe}:optimizer.lr=1e30", "--data", digits, "--out", out, "--clips", 48)

    # Stopped in the middle of the first run, everything is saved.
    step, steps = Trainer.train_step, []

    def stop_at_third(self: Trainer, parts: Any) -> Any:
        steps.append(self.step)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, parts)

    monkeypatch.setattr(Trainer, "train_step", stop_at_third)
    with pytest.raises(Interrupted, match="stopped in small, seed 0, everything is saved; the same command goes on"):
        compare(*arguments, "--seeds", 1, "--tasks", "fsdd", "fsdd_speaker")
    untouched = changed(out)
    assert len(untouched) == 3  # the control and its two scores

    # The same command goes on there.
    done = compare(*arguments, "--seeds", 1, "--tasks", "fsdd", "fsdd_speaker")
    assert done.exit_code == 0
    assert steps == [0, 1, 2, 3, 4, 5, 0, 1] and sorted(losses(out / "runs/small/seed-0")) == [1, 2, 3, 4, 5, 6]
    assert "[1/3] random weights" in done.stderr and "[3/3] small:optimizer.lr=1e30" in done.stderr
    assert "diverged (the loss became nan at step 2)" in done.stdout and "took" in done.stderr
    rows = {row["label"]: row for row in json.loads((out / "compare.json").read_text())["rows"]}
    assert list(rows) == ["small", "small:optimizer.lr=1e30", "random weights"]
    small, random = rows["small"], rows["random weights"]
    assert 0 <= small["columns"]["fsdd"]["mean"] <= 1 and "fsdd_ece" in small["columns"]
    assert small["runs"]["0"]["collapse"] > 0 and random["runs"]["0"]["collapse"] is None
    assert small["cost"]["relative"] == 1.0 and random["cost"] is None and small["clips"] == 48
    assert (out / "compare.md").is_file() and (out / "compare.png").is_file() and (out / "compare.csv").is_file()
    assert not (out / "runs/small/seed-0/checkpoints").exists()
    now = changed(out)
    assert len(now) == 6 and untouched.items() <= now.items()
    assert not list(out.glob("cells/**/*.png"))

    # A second seed and no more: nothing that is finished is done again, and reports hold it from the beginning.
    first: list[dict[str, Any]] = []
    original = compare_module.write_reports

    def write(*given: Any) -> None:
        original(*given)
        first.append(json.loads((out / "compare.json").read_text()))

    monkeypatch.setattr(compare_module, "write_reports", write)
    checkpoints = out / "runs/small/seed-0/checkpoints"
    checkpoints.mkdir()  # as a kill after the record leaves them
    more = compare(*arguments, "--seeds", 2, "--tasks", "fsdd,fsdd_speaker")
    assert more.exit_code == 0 and "±" in more.stdout
    assert steps[8:] == [0, 1, 2, 3, 4, 5, 0, 1] and not checkpoints.exists()
    assert first[0]["rows"][0]["runs"] == {"0": small["runs"]["0"]} and first[0]["runs_done"] == 3
    assert "are done" not in (out / "compare.md").read_text()
    assert now.items() <= changed(out).items()

    with pytest.raises(UsageError, match=r"holds small with method\.tau = 0\.99, and 0\.5 is asked for"):
        compare(*arguments, "method.tau=0.5")
    with pytest.raises(UsageError, match=r"holds small with training\.steps = 6, and 2 is asked for"):
        compare(recipe, "--data", digits, "--out", out, "--clips", 16)


def test_a_recipe_that_fails_is_a_row_and_only_that_ends_with_1_where_none_worked(
    recipe: Path, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--data", digits, "--seeds", 1, "--clips", 16, "--tasks", "fsdd_speaker")
    original = scoring.Scorer.score

    def fail(self: scoring.Scorer, contestant: Contestant, *given: Any) -> Any:
        if "tau" in contestant.label:
            raise ArithmeticError("no such\nroot")
        return original(self, contestant, *given)

    monkeypatch.setattr(scoring.Scorer, "score", fail)
    one = compare(recipe, f"{recipe}:method.tau=0.5", *arguments, "--out", tmp_path / "out", "--keep-checkpoints")
    assert one.exit_code == 0 and "failed (ArithmeticError: no such root)" in one.stdout
    assert (tmp_path / "out/runs/small/seed-0/checkpoints/last.pt").is_file()
    with pytest.raises(ByolaError, match=r"no recipe gave a model; of small:method\.tau=0\.5: .*failed"):
        compare(f"{recipe}:method.tau=0.5", *arguments, "--out", tmp_path / "out")


def test_one_task_that_fails_leaves_the_others_and_a_damaged_record_is_not_deleted(
    recipe: Path, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    arguments = (recipe, "--data", digits, "--seeds", 1, "--clips", 16, "--out", out)
    original, full = scoring.Scorer._score, []

    def fail(self: scoring.Scorer, scored: scoring.ScoredTask, entrant: Any) -> Any:
        if full:
            raise ByolaError("it cannot be written") from OSError(errno.ENOSPC, "No space left on device")
        if scored.task.name == "fsdd":
            raise ArithmeticError("boom")
        return original(self, scored, entrant)

    monkeypatch.setattr(scoring.Scorer, "_score", fail)
    one = compare(*arguments, "--tasks", "fsdd", "fsdd_speaker")
    assert one.exit_code == 0 and "failed (fsdd: ArithmeticError: boom)" in one.stdout
    row = json.loads((out / "compare.json").read_text())["rows"][0]
    assert row["columns"]["fsdd_speaker"]["mean"] is not None and row["runs"]["0"]["outcome"] == "failed"

    # A full disk ends everything.
    full.append(True)
    with pytest.raises(ByolaError, match="nothing can be written any more: No space left on device"):
        compare(*arguments, "--tasks", "fsdd")

    run = out / "runs/small/seed-0"
    (run / "compared.json").write_text("{")
    with pytest.raises(
        ByolaError, match=r"no recipe gave a model; of small: .*failed \(.*compared\.json cannot be read"
    ):
        compare(*arguments, "--tasks", "fsdd_speaker")
    (run / "compared.json").unlink()
    with pytest.raises(ByolaError, match="holds a model, but neither"):
        compare(*arguments, "--tasks", "fsdd_speaker")
    assert (run / "model/model.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["byola_v3"], "did you mean 'byola_v2'"),
        (["method.tau=0.5"], "no recipe is named"),
        (["demo", "--tasks", "gtzan"], "the set of the task gtzan is not there"),
        (["demo", "--task-data", "."], "no labelled set is found in ."),
        (["demo", "--baseline", "byol"], "--baseline byol is none of the recipes"),
        (["demo", "--tasks", "fsd"], "there is no suite or task 'fsd'"),
        (
            ["demo", "--tasks", "fsdd", "fsd_speaker"],
            "fsd_speaker is neither a recipe nor a task; the nearest are the recipe .* and the task fsdd_speaker",
        ),
        (["byola_v3", "--data", "no such"], "--data no such does not exist"),
    ],
)
def test_wrong_use_is_said_before_any_work(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(ByolaError, match=words):
        compare(*arguments, "--data", digits, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
