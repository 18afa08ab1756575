"""Tables, files and the picture of made-up rows."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from downstream.compare.clock import Clock
from downstream.compare.picture import draw_comparison
from downstream.compare.report import markdown, printed, write_reports
from downstream.compare.summary import mean_and_deviation

from .made import BUDGET, rows, run


def test_mean_and_deviation_by_hand() -> None:
    assert mean_and_deviation([]) == (None, None)
    assert mean_and_deviation([0.5]) == (0.5, None)
    mean, deviation = mean_and_deviation([1.0, 2.0, 4.5])
    assert mean == pytest.approx(2.5) and deviation == pytest.approx((6.5 / 2) ** 0.5)


def test_every_row_says_what_became_of_it() -> None:
    text = printed(rows(), BUDGET)
    header, _, good, gone, flat, random, *notes, _ = text.splitlines()
    assert header.split() == ["recipe", "fsdd", "esc10", "mean", "collapse", "rank", "alignment", "uniformity", "cost"]
    assert "65.0 ± 7.1" in good and "85.0 ± 7.1" in good and "75.0 ± 7.1" in good and good.endswith("1.00")
    assert gone.split()[1:] == ["–"] * 7 + ["1.25*"]
    assert "20.0" in flat and "±" not in flat and random.endswith("–")
    assert notes == [
        "gone: diverged (the loss became nan at step 3)",
        "flat: 1 of 2 runs collapsed, 1 of 2 runs failed (boom)",
    ]
    page = markdown(rows(), BUDGET, has_picture=True)
    assert "| a\\_b | 65.0 ± 7.1 |" in page and "with 2 seeds (0, 1)" in page and "640 clips" in page
    assert "for as many clips" in page and "![](compare.png)" in page and "![](" not in markdown(rows(), BUDGET)
    assert "fsdd: 100 clips, ± 9.8; esc10: 1 clip" in page and "n - 1" in page


def test_what_is_not_done_yet_is_said() -> None:
    text = printed(rows(), BUDGET)
    assert text.splitlines()[-1] == "7 of 8 runs are done."
    assert "random weights (n = 1)" in text and "flat (n = 1)" in text and "a_b (" not in text and "gone (" not in text
    assert "7 of 8 runs are done." in markdown(rows(), BUDGET)
    complete = rows()[:3]
    assert "are done" not in printed(complete, BUDGET)
    complete[0].runs[1].scores.pop("esc10")
    assert "5 of 6 runs are done." in printed(complete, BUDGET)


def test_files_hold_what_the_table_leaves_out(tmp_path: Path) -> None:
    write_reports(tmp_path, rows(), BUDGET)
    with (tmp_path / "compare.csv").open(encoding="utf-8") as stream:
        good, gone, *_ = csv.DictReader(stream)
    assert float(good["fsdd_mean"]) == pytest.approx(0.65) and float(good["fsdd_ece_mean"]) == 0.25
    assert good["fsdd_brier_mean"] == "" and float(good["esc10_neighbours_mean"]) == pytest.approx(0.425)
    assert good["clips"] == "640" and gone["fsdd_mean"] == "" and "nan at step 3" in gone["note"]
    content = json.loads((tmp_path / "compare.json").read_text())
    first = content["rows"][0]
    assert first["runs"]["1"]["esc10"] == 0.9 and first["columns"]["fsdd_ece"] == {"mean": 0.25, "std": 0.0}
    assert first["config"]["training"]["batch_size"] == 8 and content["budget"]["baseline"] == "a_b"
    assert content["rows"][2]["runs"]["1"]["words"] == "boom"
    assert content["rows"][2]["runs"]["0"]["outcome"] == "trained" and content["runs_done"] == 7

    # Scores that failed after the training, and a number that is none.
    bad = rows()[:1]
    bad[0].runs[0] = replace(bad[0].runs[0], failure="esc10: boom")
    bad[0].runs[1] = run(0.7, math.nan)
    write_reports(tmp_path, bad, BUDGET)
    content = json.loads((tmp_path / "compare.json").read_text(), parse_constant=pytest.fail)
    runs = content["rows"][0]["runs"]
    assert (runs["0"]["outcome"], runs["0"]["words"], runs["0"]["fsdd"]) == ("failed", "esc10: boom", 0.6)
    assert runs["1"]["esc10"] is None

    draw_comparison(tmp_path / "compare.png", rows(), BUDGET)
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_time_left_is_what_training_should_take_corrected(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    clock = Clock(5)

    def pass_by(expected: float, took: float) -> None:
        nonlocal now
        clock.begin(expected)
        now += took
        clock.end()

    assert clock.left([10.0]) is None
    pass_by(10.0, 0.1)  # was finished before
    assert clock.left([10.0]) is None
    pass_by(0.0, 20.0)  # a control: scoring takes 20 seconds
    pass_by(10.0, 40.0)  # so training took twice as long as it should
    assert clock.left([5.0, 0.0]) == pytest.approx(2 * 5 + 20 + 20)
    assert clock.describe([5.0, 0.0]) == "took 40s, about 50s left" and clock.describe([]) == "took 40s"
