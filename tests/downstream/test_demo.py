"""`byol-a demo`: the whole road in small, and nothing of the user's is ever replaced."""

from __future__ import annotations

import json
from pathlib import Path

from tests.training.small import byol_a


def test_the_whole_road(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    done = byol_a("demo", "--out", out, "--steps", 2, "--per-class", 10, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    for words in ("[1/4]", "[4/4]", "random weights", "log-mel statistics", "Pre-training "):
        assert words in done.stdout
    assert (out / "run" / "training.png").exists()
    assert len(list((out / "scores").rglob("*.png"))) >= 3
    rows = [json.loads(line) for line in (out / "scores" / "scores.jsonl").read_text().splitlines()]
    assert {row["control"] for row in rows} == {None, "random", "logmel"}
    assert all(0 <= row["score"] <= 1 for row in rows if "score" in row)
    for picture in [*out.glob("run/*.png"), *out.glob("scores/**/*.png")]:
        assert str(picture) in done.stdout

    (out / "mine.txt").write_text("a user's")
    refused = byol_a("demo", "--out", out, "--steps", 2, "--per-class", 10)
    assert refused.returncode == 2
    assert "exists already" in refused.stderr
    again = byol_a("demo", "--out", out, "--steps", 2, "--per-class", 10, "--overwrite", "--device", "cpu")
    assert again.returncode == 0, again.stderr
    assert (out / "mine.txt").read_text() == "a user's"


def test_a_folder_of_the_users_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    (tmp_path / "sounds" / "mine.wav").write_text("precious")
    refused = byol_a("demo", "--out", tmp_path, "--overwrite")
    assert refused.returncode == 2
    assert "was not written by byol-a demo" in refused.stderr
    assert (tmp_path / "sounds" / "mine.wav").read_text() == "precious"
