"""What is written about outcomes: whole or not at all, read back as it was, under names that never collide."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from byol_a.errors import ByolaError
from downstream import tables
from downstream.cells import write_cell
from downstream.evaluate import clips_digest
from downstream.metrics import UNBOUNDED_METRICS
from downstream.outputs import score_rows, write_scores
from downstream.protocols.default import DefaultProtocol
from downstream.results import finite, read_cell, read_cells
from tests.downstream.made import FAST, MadeFeatures, made_task, outcomes_of


def test_a_cell_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    task = made_task()
    sections = tuple(replace(clip, section=(1.0, 2.5)) if i % 3 == 0 else clip for i, clip in enumerate(task.clips))
    task = replace(task, clips=sections)
    (outcome,) = outcomes_of(task, MadeFeatures("m", noise=0.5, bad=29), draw_map=True)
    cell = read_cell(write_cell(tmp_path, outcome))
    assert cell.about["task"] | {"clips": 29, "unusable": 1, "tested": 9} == cell.about["task"]
    assert [result["probe"] for result in cell.about["results"]] == ["logistic", "knn10"]
    predictions, tested = cell.predictions, [task.clips[i] for i in range(20, 29)]
    assert predictions.paths.tolist() == [str(clip.path) for clip in tested]
    assert [tuple(row) for row in predictions.sections[[1]]] == [(1.0, 2.5)] and np.isnan(predictions.sections[0]).all()
    assert predictions.rounds.tolist() == [0] * 9
    assert [task.classes[row.argmax()] for row in predictions.targets] == [clip.labels[0] for clip in tested]
    for kept, result in zip(predictions.scores, outcome.results, strict=True):
        np.testing.assert_array_equal(kept, np.stack([rounds[0] for rounds in result.scores]).astype(np.float32))
    assert cell.map is not None and cell.map.points.shape == (29, 2) and len(set(cell.map.labels)) == 2
    written = {path.name for path in cell.folder.iterdir()}
    assert written >= {"logistic-classes.csv", "knn10-confusion.png", "unusable-files.csv", "cell.json"}


def test_one_map_serves_every_protocol(tmp_path: Path) -> None:
    from downstream.protocols.few_shot import FewShotProtocol

    quick = FewShotProtocol(shots=(1, 2), repeats=2, resamples=10)
    outcomes = outcomes_of(made_task(), MadeFeatures("m"), protocols=[FAST, quick], draw_map=True)
    cells = [read_cell(write_cell(tmp_path, outcome)) for outcome in outcomes]
    assert len(list(tmp_path.rglob("map.npz"))) == 1
    assert cells[1].map is not None
    np.testing.assert_array_equal(cells[1].map.points, cells[0].map.points)  # type: ignore[union-attr]
    assert not list(cells[1].folder.glob("*.png"))  # a curve's points are drawn together, in the report


def test_any_names_of_classes_clips_and_models_can_be_written(tmp_path: Path) -> None:
    task = made_task()
    odd = replace(task.clips[25], path=Path("/nowhere") / b"25_\xe9".decode("utf-8", "surrogateescape"))
    task = replace(task, clips=(*task.clips[:25], odd, *task.clips[26:]))

    name = f"/somewhere/{'deep/' * 30}run/{'m' * 250}"
    outcomes = outcomes_of(task, MadeFeatures(name), MadeFeatures("/a/run/model", "f" * 16))
    folders = [write_cell(tmp_path, outcome) for outcome in outcomes]
    assert folders[1].relative_to(tmp_path).match("cells/made-????????/default/run-model-ffffffff")
    assert not any("deep" in folder.name for folder in folders)
    assert "udce9" in str(read_cell(folders[0]).predictions.paths)


def test_models_of_one_name_do_not_replace_each_other_and_the_same_one_does(tmp_path: Path) -> None:
    outcomes = outcomes_of(made_task(), MadeFeatures("a/run/model", "1" * 16), MadeFeatures("b/run/model", "2" * 16))
    first = [write_cell(tmp_path, outcome) for outcome in outcomes]
    assert len(set(first)) == 2
    assert [write_cell(tmp_path, outcome) for outcome in outcomes] == first
    assert len(list(read_cells(tmp_path))) == 2


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (outcome,) = outcomes_of(made_task(), MadeFeatures("m"))
    folder = write_cell(tmp_path, outcome)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tables, "write_confusion", full)
    with pytest.raises(ByolaError, match="No space left"):
        write_cell(tmp_path, outcome)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "x"}', '{"format": "byol-a-cell", "format_version": 9}'])
def test_a_damaged_cell_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "cell.json").write_text(text)
    with pytest.raises(ByolaError, match=r"delete it and evaluate again|newer byol-a"):
        read_cell(tmp_path)


def test_other_data_make_another_cell_of_the_same_task(tmp_path: Path) -> None:
    tasks = [made_task(), made_task(clips=33)]
    folders = [write_cell(tmp_path, outcomes_of(task, MadeFeatures("m"))[0]) for task in tasks]
    assert len(set(folders)) == 2 and len(list(read_cells(tmp_path))) == 2


def test_the_place_of_a_set_does_not_matter_its_clips_do(tmp_path: Path) -> None:
    task = replace(made_task(), root=Path("/nowhere"))
    moved = replace(task, root=tmp_path, clips=tuple(replace(c, path=tmp_path / c.path.name) for c in task.clips))
    assert clips_digest(moved) == clips_digest(task)
    for change in ({"part": "valid"}, {"labels": ("b",)}, {"section": (0.0, 1.0)}, {"path": Path("/nowhere/x.wav")}):
        other = replace(task, clips=(replace(task.clips[0], **change), *task.clips[1:]))  # type: ignore[arg-type]
        assert clips_digest(other) != clips_digest(task)


def test_what_is_being_written_or_damaged_is_no_cell(tmp_path: Path) -> None:
    folder = write_cell(tmp_path, outcomes_of(made_task(), MadeFeatures("m"))[0])
    shutil.copytree(folder, folder.with_name(f".{folder.name}.123.partial"))
    bad = write_cell(tmp_path, outcomes_of(made_task(), MadeFeatures("bad", "f" * 16))[0])
    (bad / "cell.json").write_text("{")
    said: list[str] = []
    assert [cell.folder for cell in read_cells(tmp_path, said.append)] == [folder]
    assert len(said) == 1 and str(bad) in said[0]
    with pytest.raises(ByolaError, match="no finished evaluation"):
        list(read_cells(tmp_path))
    for name in ("predictions.npz", "map.npz"):
        path = folder / name
        path.write_bytes(path.read_bytes()[:100] if path.exists() else b"PK")
        with pytest.raises(ByolaError, match=f"{name} is damaged"):
            _ = read_cell(folder).predictions if name == "predictions.npz" else read_cell(folder).map


def test_settings_that_are_not_the_tasks_own_are_said() -> None:
    task = replace(made_task(), protocols={"default": {"k": 3}})
    for k, changed in ((3, {}), (7, {"k": 7})):
        (outcome,) = outcomes_of(task, MadeFeatures("m"), protocols=[DefaultProtocol(k=k)])
        assert outcome.about["protocol"]["changed"] == changed


def test_scores_can_be_computed_again_from_the_predictions(tmp_path: Path) -> None:
    """Ties between neighbours included: nothing is lost on the way to the disk."""
    for outcome in outcomes_of(made_task(clips=90), MadeFeatures("m", noise=1.5)):
        cell = read_cell(write_cell(tmp_path, outcome))
        for scores, result in zip(cell.predictions.scores, cell.about["results"], strict=True):
            right = np.take_along_axis(cell.predictions.targets[None], scores.argmax(axis=2)[..., None], axis=2)
            assert right.mean() == pytest.approx(result["metrics"]["accuracy"]["value"], abs=1e-12)


def test_only_what_lies_within_0_and_1_is_called_score(tmp_path: Path) -> None:
    task = replace(made_task((("x", "y"), ("y",))), metrics=("macro_map", "d_prime"), multi_label=True)
    for outcome in outcomes_of(task, MadeFeatures("m")):
        write_cell(tmp_path, outcome)
        rows = [json.loads(line) for line in write_scores(tmp_path, read_cells(tmp_path)).read_text().splitlines()]
        assert len(rows) == len(score_rows(outcome.about)) and rows[0]["metric"] == "macro_map"
    for row in rows:
        assert ("value" in row) == (row["metric"] in UNBOUNDED_METRICS) != ("score" in row)


def test_what_is_not_finite_is_null_in_json() -> None:
    row = {"value": float("nan"), "fold_scores": (0.5, float("inf")), "counts": {"clips": 3}}
    assert finite(row) == {"value": None, "fold_scores": [0.5, None], "counts": {"clips": 3}}
