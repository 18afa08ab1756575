"""The protocol finetune: what it scores, on which clips, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from byol_a.errors import ByolaError, UsageError
from downstream.features import EmbeddingCache, EmbeddingSource, ModelFeatures
from downstream.protocols import make_protocol
from downstream.protocols.finetune import FinetuneProtocol
from downstream.tasks import Clip, Task
from tests.downstream.protocols.finetuning.tones import FAST, ToneSource, tiny_model, tone_task
from tests.downstream.protocols.made import MadeSource, noisy


def run(task: Task, source: Any, protocol: FinetuneProtocol = FAST, device: str = "cpu") -> Any:
    (result,) = protocol.run(task, source, device, False)
    return result


def test_every_fold_and_seed_is_trained_anew_and_tested() -> None:
    task = tone_task(("1", "2"), 32)
    source = ToneSource(task)
    before = source.features.fingerprint()
    result = run(task, source, replace(FAST, seeds=(3, 4)))
    assert (result.probe, result.seeds, result.tests) == ("finetune", (3, 4), [part.test for part in task.rounds()])
    assert np.shape(result.chosen) == (2, 2) and all(1 <= one["epoch"] <= 6 for row in result.chosen for one in row)
    assert [[scores.shape for scores in of_seed] for of_seed in result.scores] == [[(16, 2)] * 2] * 2
    assert not np.array_equal(result.scores[0][0], result.scores[1][0])
    assert result.metrics["accuracy"].value > 0.9 and result.metrics["accuracy"].std is not None
    assert source.features.model.fingerprint() == before
    alone = run(task, ToneSource(task), replace(FAST, seeds=(4,)))
    np.testing.assert_array_equal(alone.scores[0][1], result.scores[1][1])  # whatever was trained before


def test_test_clips_play_no_part_in_training() -> None:
    task = tone_task(("train", "train", "valid", "test"), 48)
    scrambled = replace(
        task, clips=tuple(replace(clip, labels=("low",)) if clip.part == "test" else clip for clip in task.clips)
    )
    one, other = run(task, ToneSource(task)), run(scrambled, ToneSource(task))
    np.testing.assert_array_equal(one.scores[0][0], other.scores[0][0])
    assert one.metrics["accuracy"].value != other.metrics["accuracy"].value


def test_several_labels_a_clip() -> None:
    labels = ((), ("low",), ("high",), ("low", "high"))
    task = tone_task(("train", "train", "valid", "test"), 96, labels)
    result = run(task, ToneSource(task), replace(FAST, epochs=10, mixup=0.0, spec_augment=None))
    assert result.metrics["macro_map"].value > 0.9


def test_clips_that_cannot_be_read_are_left_out_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    task = tone_task(("train", "train", "valid", "test"), 48)
    by_part = {part: [i for i, clip in enumerate(task.clips) if clip.part == part] for part in ("train", "test")}
    result = run(task, ToneSource(task, bad=(by_part["train"][0], by_part["test"][1])), replace(FAST, epochs=2))
    assert result.tests == [[by_part["test"][0], *by_part["test"][2:]]]
    assert result.scores[0][0].shape == (11, 2) == result.targets[0].shape and np.isfinite(result.scores[0][0]).all()
    expected = "tiny: 2 of 48 files could not be used: 2 truncated; left out of training and scores\n"
    assert capsys.readouterr().err == expected
    with pytest.raises(ByolaError, match="only 0 of the 12 clips to test on can be used"):
        run(task, ToneSource(task, bad=tuple(by_part["test"])), replace(FAST, epochs=1))


def test_one_clip_is_too_few_to_train_on() -> None:
    task = tone_task(("train", "valid", "test"), 36)
    first = next(i for i, clip in enumerate(task.clips) if clip.part == "train")
    one = task.only([i for i, clip in enumerate(task.clips) if clip.part != "train" or i == first])
    with pytest.raises(ByolaError, match="only 1 of the 1 clips to train on can be used"):
        run(one, ToneSource(one))


def test_a_unit_is_as_long_as_most_clips_where_nobody_says_and_long_enough_for_the_encoder() -> None:
    task = tone_task(("train", "valid", "test"), 36)
    seen: list[int] = []

    class Watched(FinetuneProtocol):
        def _unit_samples(self, *arguments: Any) -> int:
            seen.append(super()._unit_samples(*arguments))
            return seen[-1]

    def unit(task: Task, unit_seconds: float | None) -> int:
        protocol = Watched(epochs=1, warmup_epochs=0, batch_size=8, seeds=(0,), unit_seconds=unit_seconds, resamples=5)
        run(task, ToneSource(task), protocol)
        return seen[-1]

    assert unit(task, None) == 1000  # all of them last .25 s
    assert unit(replace(task, unit_seconds=0.15), None) == 600
    assert unit(replace(task, unit_seconds=0.15), 0.3) == 1200
    assert unit(task, 0.001) == 7 * 40  # 8 mel frames


def test_what_has_no_network_or_not_the_whole_of_it_is_refused() -> None:
    task = tone_task(("train", "test"), 12)
    without = MadeSource(noisy(task, 0.1))
    without.features = type("Rows", (), {"name": "log-mel statistics"})()  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="log-mel statistics cannot be fine-tuned"):
        run(task, without)
    with pytest.raises(UsageError, match="not its layer 1"):
        run(task, ToneSource(task, layer=1))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"lr": 0}, "lr must be above 0, not 0"),
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"epochs": 5, "freeze_epochs": 5}, "freeze_epochs must be at least 0 and below epochs, not 5"),
        ({"batch_size": 1}, "batch_size must be at least 2, not 1"),
        ({"mixup": 1.5}, "mixup must be from 0 to 1, not 1.5"),
        ({"patience": 0}, "patience must be at least 1, not 0"),
        ({"valid_fraction": 0.9}, "valid_fraction must be above 0 and at most 0.5, not 0.9"),
        ({"optimizer": "lion"}, "optimizer cannot be 'lion'"),
        ({"spec_augment": {"freq_maks": 1}}, "unknown key 'spec_augment.freq_maks'; did you mean 'freq_masks'"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_a_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence.replace("(", r"\(")):
        make_protocol("finetune", settings)


def test_settings_come_from_plain_values() -> None:
    protocol = make_protocol(
        "finetune", {"optimizer": "sgd", "spec_augment": None, "random_resize_crop": {"freq_scale": [0.9, 1.1]}}
    )
    assert isinstance(protocol, FinetuneProtocol) and protocol.spec_augment is None
    assert protocol.random_resize_crop is not None and protocol.random_resize_crop.freq_scale == (0.9, 1.1)
    assert (protocol.peak_lr, FinetuneProtocol().peak_lr, FinetuneProtocol(lr=0.5).peak_lr) == (0.03, 1e-3, 0.5)


def test_files_and_sections_are_read_through_the_real_source(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    files = [write_wav(tmp_path / f"{i}.wav", 0.5, 8000, seed=i % 2) for i in range(24)]
    clips = [
        Clip(path, ("ab"[i % 2],), ("train", "valid", "test")[i // 2 % 3], section=half)
        for i, path in enumerate(files)
        for half in ((0.0, 0.25), (0.25, 0.5))
    ]
    task = Task("files", "pitch", tuple(clips), ("a", "b"), "given")
    source = EmbeddingSource(ModelFeatures("tiny", tiny_model()), task.clips, EmbeddingCache(None), False)
    result = run(task, source, replace(FAST, epochs=4))
    assert result.metrics["accuracy"].value > 0.9 and len(result.tests[0]) == 16


@pytest.mark.gpu
def test_a_gpu_trains_as_well() -> None:
    task = tone_task(("1", "2"), 40)
    result = run(task, ToneSource(task), device="cuda")
    assert result.metrics["accuracy"].value > 0.9
    assert torch.isfinite(torch.from_numpy(result.scores[0][0])).all()
