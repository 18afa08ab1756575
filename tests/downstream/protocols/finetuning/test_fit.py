"""The training loop: it learns, keeps its best epoch, stops when asked, and repeats itself."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from byol_a.errors import AudioError, ByolaError
from byol_a.progress import Progress
from downstream.protocols.base import one_hot
from downstream.protocols.finetune import FinetuneProtocol, judge_of
from downstream.protocols.finetuning import (
    Classifier,
    ClipWaves,
    Examples,
    Fitted,
    Judge,
    classification_loss,
    fit,
    predict,
)
from tests.downstream.protocols.finetuning.tones import (
    FAST,
    PLAIN,
    RATE,
    SILENT,
    ToneSource,
    tiny_model,
    tone_task,
    waves_of,
)

TASK = tone_task(("train", "train", "valid"), 48)
SOURCE = ToneSource(TASK)
TRAIN = [index for index, clip in enumerate(TASK.clips) if clip.part == "train"]
VALID = [index for index, clip in enumerate(TASK.clips) if clip.part == "valid"]
SAMPLES = 800
TARGETS = one_hot(TASK)


def fitted(
    settings: FinetuneProtocol = FAST, judge: Judge | None = None, bar: Progress = SILENT, seed: int = 0
) -> tuple[Classifier, Fitted]:
    network = Classifier(tiny_model(), 2, settings.head_dropout, seed)
    examples = Examples(ClipWaves(SOURCE.wave, RATE, 1e9), TARGETS, SAMPLES, False)
    return network, fit(network, examples, TRAIN, VALID, settings, seed, judge or judge_of(TASK, TARGETS), bar)


def test_it_learns_and_repeats_itself_bit_for_bit_but_for_other_seeds() -> None:
    torch.manual_seed(5)
    network, found = fitted()
    assert found.valid_score == 1.0 and 1 <= found.epoch <= FAST.epochs
    before = torch.random.get_rng_state()
    again, same = fitted()
    assert torch.equal(before, torch.random.get_rng_state())  # the caller's own numbers are left alone
    other, _ = fitted(seed=1)
    states = [net.state_dict() for net in (network, again, other)]
    assert same == found and all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_the_weights_are_those_of_the_best_epoch_and_of_the_earlier_of_two() -> None:
    seen: list[np.ndarray] = []
    values = [0.1, 0.7, 0.7, 0.2]

    def judge(scores: np.ndarray, indices: list[int]) -> tuple[float, float]:
        seen.append(scores)
        return values[len(seen) - 1], 0.0

    settings = replace(FAST, epochs=4)
    network, found = fitted(settings, judge)
    assert found == Fitted(2, 0.7) and len(seen) == 4
    scores = predict(network, ClipWaves(SOURCE.wave, RATE, 1e9), VALID, SAMPLES, True, settings.batch_size)
    np.testing.assert_array_equal(scores, seen[1])


def test_patience_ends_it_and_the_bar_expects_no_more() -> None:
    bar = Progress("training", total=10 * len(TRAIN), enabled=False)
    calls = iter(range(100))
    fitted(replace(FAST, epochs=10, patience=2), lambda scores, indices: (-next(calls), 0.0), bar)
    assert bar.done == bar.total == 3 * len(TRAIN)


def test_no_epoch_with_finite_scores_is_no_network() -> None:
    with pytest.raises(ByolaError, match=r"protocol finetune diverged: .* choose a smaller lr than 0\.003"):
        fitted(replace(FAST, epochs=2), lambda scores, indices: (-math.inf, math.nan))


def test_one_plain_step_is_that_of_torchs_own_optimizer() -> None:
    settings = replace(FAST, **PLAIN, epochs=1, batch_size=64, warmup_epochs=0, optimizer="sgd", lr=0.1)
    settings = replace(settings, weight_decay=0.0, unit_seconds=None)
    # Without dropout, which draws: the encoder's own is turned off.
    network, reference = Classifier(tiny_model(), 2, 0.0, 0), Classifier(tiny_model(), 2, 0.0, 0)
    for net in (network, reference):
        for module in net.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    found = {index: SOURCE.wave(index)[:SAMPLES] for index in TRAIN}
    waves = waves_of(found)
    judge = judge_of(TASK, TARGETS)
    fit(network, Examples(waves, TARGETS, SAMPLES, False), TRAIN, TRAIN, settings, 0, judge, SILENT)
    batch = torch.from_numpy(np.stack([wave for _, wave in waves.read(TRAIN)]))
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1 / 2, momentum=0.9, nesterov=True)  # half the cosine
    wanted = torch.from_numpy(TARGETS[TRAIN].argmax(axis=1))
    functional.cross_entropy(reference.train()(reference.log_mels(batch)), wanted).backward()
    torch.nn.utils.clip_grad_norm_(reference.parameters(), 5.0)
    optimizer.step()
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], value, atol=1e-4, rtol=1e-3, msg=name)


def test_the_loss_is_the_mean_over_clips_and_classes() -> None:
    logits, targets = torch.randn(5, 3), torch.rand(5, 3)
    binary = -(targets * logits.sigmoid().log() + (1 - targets) * (-logits).sigmoid().log()).mean()
    torch.testing.assert_close(classification_loss(logits, targets, True), binary)
    soft = -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(classification_loss(logits, targets, False), soft)


def test_clips_that_cannot_be_used_are_passed_over_down_to_two() -> None:
    bad = AudioError("bad.wav", "empty")

    def run(found: dict[int, np.ndarray | AudioError]) -> Fitted:
        def judge(scores: np.ndarray, indices: list[int]) -> tuple[float, float]:
            return float(len(scores) == len(indices) == 1), 0.0

        examples = Examples(waves_of(found), np.eye(2, dtype=bool)[[0, 1] * 3], SAMPLES, False)
        network = Classifier(tiny_model(), 2, 0.0, 0)
        return fit(network, examples, [0, 1, 2], [3, 4], replace(FAST, epochs=2), 0, judge, SILENT)

    good: dict[int, np.ndarray | AudioError] = {index: SOURCE.wave(index) for index in range(5)}
    assert run(good | {1: bad, 4: bad}).valid_score == 1.0
    with pytest.raises(ByolaError, match=r"only 0 of the 2 clips to validate on can be used, .*: bad\.wav: empty"):
        run(good | {3: bad, 4: bad})
    with pytest.raises(ByolaError, match="only 1 of the 3 clips to train on"):
        run(good | {0: bad, 1: bad})


def test_a_loss_that_is_not_finite_is_said_with_what_to_try() -> None:
    with pytest.raises(ByolaError, match=r"the loss became nan in epoch \d+; try a smaller lr"):
        fitted(replace(FAST, optimizer="sgd", lr=1e30, epochs=3, warmup_epochs=0))
