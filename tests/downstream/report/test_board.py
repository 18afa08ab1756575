"""Leaderboards: who is a row, what is a mean, and what is marked best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from downstream.published import PublishedScore
from downstream.report.board import boards
from downstream.report.comparisons import compare_all
from downstream.report.leaderboard import leaderboard
from downstream.report.markdown import markdown
from downstream.report.study import arrange
from downstream.results import Cell
from tests.downstream.report.cells import LOGMEL, MODEL, OTHER, RANDOM, fake_task, write_fake_cell


def published(task: str, value: float, protocol: str = "evar", model: str = "BYOL-A v2") -> PublishedScore:
    return PublishedScore(
        model=model, task=task, protocol=protocol, metric="accuracy", value=value, dim=3072, source="arXiv 2204.07402"
    )


@pytest.fixture
def cells(tmp_path: Path) -> list[Cell]:
    found = []
    for name, domain in (("esc10", "environment"), ("fsdd", "speech")):
        task = fake_task(name, domain=domain)
        found += [write_fake_cell(tmp_path, task, MODEL, 3.0), write_fake_cell(tmp_path, task, OTHER, 1.0)]
        found += [write_fake_cell(tmp_path, task, RANDOM | {"weight_seed": seed}, 0.5) for seed in (0, 1, 2)]
        found.append(write_fake_cell(tmp_path, task, LOGMEL, 0.0))
    return found


def test_draws_of_random_weights_are_one_row_and_controls_stand_below(cells: list[Cell]) -> None:
    (first, second) = boards(arrange(cells), [], {})
    assert (first.protocol, first.probe, second.probe) == ("default", "logistic", "knn10")
    assert [row.entry.kind for row in first.rows] == ["model", "model", "random", "logmel"]
    random = first.rows[2].standings["esc10"]
    values = [
        cell.about["results"][0]["metrics"]["accuracy"]["value"]
        for cell in cells
        if cell.about["entrant"]["control"] == "random" and cell.about["task"]["name"] == "esc10"
    ]
    assert random.draws == 3 and random.value == pytest.approx(sum(values) / 3) and random.low is None


def test_the_mean_needs_every_task(cells: list[Cell]) -> None:
    study = arrange(
        [
            cell
            for cell in cells
            if (cell.about["task"]["name"], cell.about["entrant"]["title"]) != ("fsdd", "byola-2020")
        ]
    )
    board = boards(study, [], {})[0]
    by_label = {row.entry.label: row for row in board.rows}
    both = by_label["byola-2022"]
    assert both.mean(board.tasks) == pytest.approx(sum(s.value or 0 for s in both.standings.values()) / 2)
    assert by_label["byola-2020"].mean(board.tasks) is None
    assert board.rows[0].entry.label == "byola-2022"


def test_published_scores_count_only_under_their_own_protocol(cells: list[Cell], tmp_path: Path) -> None:
    study = arrange(cells)
    board = boards(study, [published("esc10", 0.999), published("nowhere", 0.5)], compare_all(study, False))[0]
    assert board.published == [] and list(board.elsewhere) == ["evar"]
    assert board.rows[0].standings["esc10"].best and not board.rows[0].standings["esc10"].highest
    evar = [
        write_fake_cell(tmp_path, fake_task("esc10"), one, skill, protocol="evar")
        for one, skill in ((MODEL, 3.0), (OTHER, 1))
    ]
    study = arrange(evar)
    board = boards(study, [published("esc10", 0.999)], compare_all(study, False))[0]
    theirs, ours = (rows[0].standings["esc10"] for rows in (board.published, board.rows))
    assert theirs.highest and not theirs.best  # no test can reach it
    assert ours.best and not ours.highest
    study = arrange(evar[:1])
    (board,) = boards(study, [published("esc10", 0.001)], compare_all(study, False))[:1]
    assert board.rows[0].standings["esc10"].highest and not board.rows[0].standings["esc10"].best


def test_published_scores_are_never_best_on_part_of_a_set(tmp_path: Path) -> None:
    task = fake_task("esc10", warnings=["400 clips are listed, of the 2,000"])
    evar = [write_fake_cell(tmp_path, task, one, skill, protocol="evar") for one, skill in ((MODEL, 3.0), (OTHER, 1))]
    study = arrange(evar)
    board = boards(study, [published("esc10", 0.999)], compare_all(study, False))[0]
    for text in (leaderboard([board]), markdown(study, [board], [], {}, "Encoders")):
        assert "† not comparable" in text or "not comparable on †" in text
    assert not board.published[0].standings["esc10"].highest and board.rows[0].standings["esc10"].best


def test_a_control_that_wins_is_marked(tmp_path: Path) -> None:
    found = [write_fake_cell(tmp_path, fake_task(), MODEL, 0.0), write_fake_cell(tmp_path, fake_task(), LOGMEL, 3.0)]
    study = arrange(found)
    board = boards(study, [], compare_all(study, False))[0]
    assert {row.entry.kind: row.standings["esc10"].best for row in board.rows} == {"model": False, "logmel": True}


def test_nothing_is_called_best_that_was_not_tested(tmp_path: Path) -> None:
    ours = [write_fake_cell(tmp_path, fake_task(), one, skill) for one, skill in ((MODEL, 3.0), (OTHER, 1.0))]
    study = arrange(ours)
    main, beside = boards(study, [], compare_all(study, False))
    assert main.tested and not beside.tested
    assert [row.standings["esc10"].best for row in main.rows] == [True, False]
    assert [(row.standings["esc10"].best, row.standings["esc10"].highest) for row in beside.rows] == [
        (False, True),
        (False, False),
    ]
    compared = compare_all(study, False)
    study = arrange([*ours, write_fake_cell(tmp_path, fake_task(), LOGMEL, 0.0)])  # whom those did not meet
    standing = boards(study, [], compared)[0].rows[0].standings["esc10"]
    assert standing.highest and not standing.best


def test_other_clips_are_another_task(tmp_path: Path) -> None:
    whole = fake_task(clips_digest="a" * 32)
    part = fake_task(clips_digest="b" * 32, clips=300, tested=300)
    moved = fake_task(clips_digest="c" * 32, clips=300, tested=300)
    found = [write_fake_cell(tmp_path, whole, MODEL, 1.0), write_fake_cell(tmp_path, part, OTHER, 3.0)]
    paths = [f"/elsewhere/{index}/x.wav" for index in range(300)]
    found.append(write_fake_cell(tmp_path, moved, OTHER, 3.0, paths=paths))
    study = arrange(found)
    assert [len(task.cells) for task in study.tasks] == [1, 1, 1]
    assert sorted(task.title for task in study.tasks) == [
        "ESC10 (300 clips, /elsewhere)",
        "ESC10 (300 clips, esc10/audio)",
        "ESC10 (400 clips)",
    ]
    assert compare_all(study, False) == {}
    board = boards(study, [published("esc10", 0.5, "default")], {})[0]
    assert not any(standing.best for row in board.rows for standing in row.standings.values())
    assert set(board.published[0].standings) == {task.slug for task in study.tasks}
    assert not board.averaged(board.tasks)  # one task, three times


def test_changed_settings_are_another_protocol(tmp_path: Path) -> None:
    def cell(one: dict[str, Any], skill: float, changed: dict[str, Any] | None = None) -> Cell:
        return write_fake_cell(tmp_path, fake_task(), one, skill, protocol="evar", changed=changed)

    third = {**OTHER, "title": "third", "model": "models/third"}
    study = arrange([cell(MODEL, 1.0), cell(OTHER, 1.5), cell(third, 4.0, {"lr": 0.01})])
    compared = compare_all(study, False)
    usual, _, changed, _ = boards(study, [published("esc10", 0.3)], compared)
    assert (usual.protocol, usual.changes) == ("evar", "")
    assert changed.changes == "lr 0.01" and "‡ lr 0.01" in changed.title
    assert [row.entry.label for row in changed.rows] == ["third"] and len(usual.rows) == 2
    assert changed.published == [] and list(changed.elsewhere) == ["evar"]  # to look at, not to compare
    standing = changed.rows[0].standings["esc10"]
    assert not standing.best and not standing.highest
    assert len(compared) == 1


def test_what_a_paired_test_does_not_tell_from_the_best_is_tied(tmp_path: Path) -> None:
    alike = {**MODEL, "title": "another", "model": "models/another"}
    found = [
        write_fake_cell(tmp_path, fake_task(), one, skill) for one, skill in ((MODEL, 2.0), (alike, 2.0), (OTHER, 0.0))
    ]
    study = arrange(found)
    compared = compare_all(study, progress=False)
    board = boards(study, [], compared)[0]
    marks = {row.entry.label: (row.standings["esc10"].best, row.standings["esc10"].tied) for row in board.rows}
    assert sorted(marks[name] for name in ("byola-2022", "another")) == [(False, True), (True, False)]
    assert marks["byola-2020"] == (False, False)
    assert list(compared) == [("esc10", "default", "logistic")]
    assert len(compared["esc10", "default", "logistic"]) == 3


def test_controls_are_not_compared_with_one_another_and_curves_with_nobody(tmp_path: Path) -> None:
    found = [write_fake_cell(tmp_path, fake_task(), one, 1.0) for one in (MODEL, RANDOM, LOGMEL)]
    points = [("logistic", {"shots": k}, 0.0) for k in (5, 1)]
    found += [
        write_fake_cell(tmp_path, fake_task(), one, 1.0, protocol="few-shot", results=points) for one in (MODEL, OTHER)
    ]
    compared = compare_all(arrange(found), progress=False)
    assert list(compared) == [("esc10", "default", "logistic")]
    kinds = [{pair.first.kind, pair.second.kind} for pair in compared["esc10", "default", "logistic"]]
    assert len(kinds) == 2 and all("model" in pair for pair in kinds)


def test_evaluations_of_different_clips_are_not_compared(tmp_path: Path) -> None:
    found = [
        write_fake_cell(tmp_path, fake_task(), MODEL, 1.0),
        write_fake_cell(tmp_path, fake_task(), OTHER, 1.0, paths=[f"/elsewhere/{i}.wav" for i in range(400)]),
    ]
    assert compare_all(arrange(found), progress=False) == {("esc10", "default", "logistic"): []}


def test_labels_tell_rows_apart() -> None:
    def cell(**entrant: object) -> Cell:
        about = {"title": "model", "model": "a/model", "fingerprint": "f" * 32, "dim": 8, "control": None} | entrant
        about = {"weight_seed": None, "pooling": "model", "layer": None} | about
        return Cell(Path("x"), {"entrant": about, "task": fake_task(), "protocol": {"name": "default"}, "results": []})

    study = arrange([cell(), cell(pooling="mean"), cell(layer=2), cell(model="b/model", fingerprint="e" * 32)])
    labels = [entry.label for entry in study.entries]
    assert len(set(labels)) == 4
    assert {"model · mean pooling", "model · layer 2", "model (a/model)", "model (b/model)"} == set(labels)
    assert [entry.colour for entry in study.entries] == [0, 1, 2, 3]
    fingerprints = ("a" * 32, "b" * 32)  # log-mels of two front-ends are no draws of one network
    controls = [cell(title="log-mel statistics", model="logmel", control="logmel", fingerprint=f) for f in fingerprints]
    labels = [entry.label for entry in arrange(controls).entries]
    assert labels == ["log-mel statistics (aaaaaaaa)", "log-mel statistics (bbbbbbbb)"]


def test_tasks_stand_by_domain_and_slugs_differ(tmp_path: Path) -> None:
    names = [("Nsynth", "music"), ("esc 10", "environment"), ("esc-10", "environment"), ("ÄÖ", "other")]
    found = [
        write_fake_cell(tmp_path / str(i), fake_task(name, domain=domain), MODEL, 1)
        for i, (name, domain) in enumerate(names)
    ]
    pages = arrange(found).tasks
    assert [page.about["name"] for page in pages] == ["esc 10", "esc-10", "Nsynth", "ÄÖ"]
    assert [page.slug for page in pages] == ["esc-10", "esc-10-2", "nsynth", "task"]
