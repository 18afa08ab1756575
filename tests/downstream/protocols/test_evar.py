"""EVAR's and HEAR's protocols: which crops, statistics and clips they ask for, and known answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from byol_a.errors import ByolaError
from downstream.protocols.evar import EvarProtocol
from downstream.protocols.hear import HearProtocol
from tests.downstream.protocols.made import MadeSource, folds_task, noisy, parts_task, tagged_task

EVAR = EvarProtocol(lr=1e-2, seeds=(42, 43), max_epochs=15, resamples=20)
HEAR = HearProtocol(hidden_dim=32, lrs=(1e-2, 1e-3), max_epochs=12, batch_size=64, resamples=20)


@pytest.mark.parametrize("make", [parts_task, folds_task])
def test_evar_crops_at_random_to_train_and_takes_the_first_unit_to_test(make: object) -> None:
    task = make(240)  # type: ignore[operator]
    object.__setattr__(task, "unit_seconds", 4.0)
    source = MadeSource(noisy(task, 0.05))
    (result,) = EVAR.run(task, source, "cpu", False)  # type: ignore[arg-type]
    assert result.probe == "linear" and result.seeds == (42, 43)
    assert result.metrics["accuracy"].value > 0.95
    rounds = task.rounds()
    # Once a round: the statistics of its training clips, and its test clips' embeddings.
    assert source.measured == [part.train for part in rounds] and len(source.asked) == 3 * len(rounds)
    for number, (request, indices) in enumerate(source.asked):
        part, tested = rounds[number // 3], number % 3 == 0
        assert request.unit_seconds == 4.0 and request.cut == ("first" if tested else "random")
        assert request.seed == (0, 42, 43)[number % 3] and request.stats == (min(part.train), 2.0)
        assert sorted(indices) == sorted(part.test if tested else part.train + part.valid)


@pytest.mark.parametrize("name", ["train", "valid", "test"])
def test_evar_names_a_clip_that_is_gone_when_crops_are_cut(name: str) -> None:
    task = parts_task(60, unit_seconds=1.0)
    gone = getattr(task.rounds()[0], name)[1]
    with pytest.raises(ByolaError, match=rf"^{gone}\.wav could be used at first and cannot be now: does not exist$"):
        EVAR.run(task, MadeSource(noisy(task, 0.1), gone=[gone]), "cpu", False)  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", [replace(EVAR, lr=1e38), replace(HEAR, lrs=(1e38,))])
def test_what_never_was_finite_is_no_score(protocol: EvarProtocol | HearProtocol) -> None:
    task = parts_task()
    with pytest.raises(ByolaError, match=f"protocol {protocol.name} diverged: .* choose a smaller lr than 1e"):
        protocol.run(task, MadeSource(noisy(task, 0.1)), "cpu", False)  # type: ignore[arg-type]


def test_hear_passes_over_a_point_that_diverges() -> None:
    task = parts_task(240)
    (result,) = replace(HEAR, lrs=(1e-2, 1e38)).run(task, MadeSource(noisy(task, 0.1)), "cpu", False)  # type: ignore[arg-type]
    assert result.chosen[0][0]["lr"] == 1e-2


def test_evar_takes_whole_clips_where_the_set_has_no_unit_and_may_keep_the_models_statistics() -> None:
    task = parts_task(120)
    source = MadeSource(noisy(task, 0.05))
    EvarProtocol(lr=1e-2, seeds=(42,), max_epochs=3, normalization="model").run(task, source, "cpu", False)  # type: ignore[arg-type]
    assert {request.cut for request, _ in source.asked} == {"whole"}
    assert {request.stats for request, _ in source.asked} == {None} and not source.measured


def test_hear_tries_every_point_and_validates_on_the_next_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    from downstream.protocols import hear

    seen, fit = [], hear.fit_heads

    def watched(train_x: np.ndarray, train_y: np.ndarray, valid_x: np.ndarray, *rest: object, **options: object):  # type: ignore[no-untyped-def]
        seen.append((len(train_x), len(valid_x), len(rest[1])))  # type: ignore[arg-type]
        return fit(train_x, train_y, valid_x, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(hear, "fit_heads", watched)
    task = folds_task(180)
    (result,) = HEAR.run(task, MadeSource(noisy(task, 0.3)), "cpu", False)  # type: ignore[arg-type]
    assert seen == [(60, 60, 2)] * 6  # per fold: two depths, two learning rates each
    assert result.probe == "mlp" and result.metrics["accuracy"].value > 0.95
    for choice in result.chosen[0]:
        assert choice["hidden_layers"] in (1, 2) and choice["lr"] in (1e-2, 1e-3)


def test_hear_draws_fewer_points_than_the_grid_has() -> None:
    drawn = HearProtocol(grid_points=3)._points()
    assert len(set(drawn)) == 3 and HearProtocol(grid_points=3)._points() == drawn
    assert HearProtocol(grid_points=3, seed=1)._points() != drawn
    assert len(HearProtocol()._points()) == 8


@pytest.mark.parametrize("protocol", [EVAR, HEAR])
def test_several_labels_a_clip(protocol: EvarProtocol | HearProtocol) -> None:
    task = tagged_task(320)
    (result,) = protocol.run(task, MadeSource(noisy(task, 0.1)), "cpu", False)  # type: ignore[arg-type]
    assert result.metrics["macro_map"].value > 0.9
