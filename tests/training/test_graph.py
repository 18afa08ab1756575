"""Steps that are recorded and replayed are the steps they stand for, whatever changes from one to the next."""

from __future__ import annotations

import io
import random
import weakref
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn

from byol_a.config import apply_overrides, build
from byol_a.encoders import AudioNTT2020, AudioNTT2022
from byol_a.encoders.timm import TimmEncoder
from byol_a.methods import StepOutput
from byol_a.methods.byol import BYOL
from byol_a.methods.regularizers import Regularizer
from byol_a.normalize import NormStats
from byol_a.training.config import PretrainConfig
from byol_a.training.cuda_graph import CUDARecorder, watch_chance
from byol_a.training.distributed import Processes
from byol_a.training.graph import WARM_UP, NotRecorded, RecordedSteps, recorded_steps
from byol_a.training.sources import Batch
from byol_a.training.trainer import Trainer

from .small import values
from .tape import TapeRecorder
from .test_trainer import batch

STEPS = WARM_UP + 5
SCHEDULES = ("optimizer.schedule=cosine", "optimizer.warmup_steps=2", "method.tau_schedule=cosine")


def trainer(*overrides: str, device: str = "cpu") -> Trainer:
    config = build(PretrainConfig, apply_overrides(values(), ["training.fast='off'", *overrides]), "test")
    return Trainer(config, NormStats(-7.0, 4.0), Processes(0, 1, torch.device(device)), total_steps=12)


class Fails(TapeRecorder):
    def record(self, work: Callable[[], StepOutput]) -> tuple[Callable[[], None], StepOutput]:
        raise NotRecorded("of a test")


def unrecorded(*overrides: str) -> Trainer:
    """A trainer whose steps take their numbers from where recorded ones do, and are never recorded."""
    one = trainer(*overrides)
    one.recorded = RecordedSteps(one.method, one.optimizer, Fails(list))
    return one


def taped(*overrides: str) -> tuple[Trainer, TapeRecorder]:
    """A trainer whose steps are recorded."""
    one = trainer(*overrides)

    def state() -> list[Tensor]:
        slots = [value for slot in one.optimizer.state.values() for value in slot.values()]
        return [*one.method.state_dict().values(), *(value for value in slots if isinstance(value, Tensor))]

    recorder = TapeRecorder(state)
    one.recorded = RecordedSteps(one.method, one.optimizer, recorder)
    return one, recorder


def run(one: Trainer, first: int, last: int, parts: int = 1) -> list[StepOutput]:
    """Steps `first` to `last`; from the beginning, with the same dropout for every trainer."""
    if first == 0:
        torch.manual_seed(5)
    size = 8 // parts
    clips = [slice(start, start + size) for start in range(0, 8, size)]
    return [one.train_step([batch(step, part) for part in clips]) for step in range(first, last)]


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("training.precision=bf16",),
        ("training.accumulate=2",),
        ("optimizer.clip_norm=0.1",),
        ("optimizer.name=adamw", "optimizer.weight_decay=0.1"),
        ("optimizer.name=sgd",),
        ("optimizer.name=lars", "optimizer.weight_decay=0.1"),
        ("method=byov", "method.beta=1e-3"),
        ("method=tribyol",),
        ("method={name: tribyol, update: both}",),
        ("method.loss={name: ccsl, warmup_steps: 5}",),
        ("method.loss=cssl",),
        ("method.predictor=newton_schulz",),
        ("method.predictor=neumann", "training.accumulate=2"),
        ("method.regularizers={uniformity: {}}",),
    ],
)
def test_replayed_steps_are_the_plain_ones(overrides: tuple[str, ...]) -> None:
    # The method's heads come first: `method=...` replaces the section.
    heads = ("method.projector={hidden: 16, out: 8}", "method.predictor.hidden=16")
    if any(override.startswith(("method=", "method.predictor=")) for override in overrides):
        heads = heads[:1]
    changes = (*overrides, *heads, *SCHEDULES)
    parts = 2 if "training.accumulate=2" in overrides else 1
    plain, (one, recorder) = unrecorded(*changes), taped(*changes)
    for expected, found in zip(run(plain, 0, STEPS, parts), run(one, 0, STEPS, parts), strict=True):
        assert torch.equal(found.loss, expected.loss)
        assert found.terms.keys() == expected.terms.keys()
        assert all(torch.equal(found.terms[name], expected.terms[name]) for name in found.terms)
    assert recorder.replayed >= 2
    for (name, a), b in zip(plain.method.state_dict().items(), one.method.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert plain.optimizer.param_groups[0]["lr"] == one.optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "lars"])
def test_a_rate_in_a_tensor_is_the_same_rate(name: str) -> None:
    changes = (f"optimizer.name={name}", "optimizer.weight_decay=0.1", *SCHEDULES)
    plain, one = trainer(*changes), unrecorded(*changes)
    for expected, found in zip(run(plain, 0, 3), run(one, 0, 3), strict=True):
        # In float32 where it was a double, which Adam makes more of where a gradient is rounding alone.
        torch.testing.assert_close(found.loss, expected.loss, rtol=1e-4, atol=1e-4)


def test_each_kind_of_step_has_its_recording() -> None:
    one, recorder = taped("method=tribyol", "method.projector={hidden: 16, out: 8}", "method.predictor.hidden=16")
    run(one, 0, 2 * WARM_UP + 4)
    assert (recorder.recorded, recorder.replayed) == (2, 4)


def test_a_snapshot_continues_bit_for_bit_though_its_first_steps_are_plain() -> None:
    whole, _ = taped(*SCHEDULES)
    run(whole, 0, WARM_UP + 2)
    file = io.BytesIO()
    torch.save(whole.snapshot(), file)
    expected = [output.loss.item() for output in run(whole, WARM_UP + 2, WARM_UP + 6)]

    again, recorder = taped(*SCHEDULES)
    run(again, 0, WARM_UP + 1)  # its recording is of another optimiser's state than the snapshot's
    file.seek(0)
    again.restore(torch.load(file, weights_only=True))
    assert [output.loss.item() for output in run(again, WARM_UP + 2, WARM_UP + 6)] == expected
    assert recorder.recorded == 2
    for a, b in zip(whole.method.parameters(), again.method.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_losses_of_earlier_steps_stay() -> None:
    one, _ = taped()
    outputs = run(one, 0, STEPS)
    assert len({output.loss.item() for output in outputs}) == STEPS


def test_another_size_of_views_is_another_recording() -> None:
    one, recorder = taped()
    run(one, 0, WARM_UP + 1)
    one.update([torch.randn(2, 4, 1, 16, 26)])
    assert recorder.recorded == 1
    run(one, 0, 1)
    assert recorder.replayed == 2


def test_parts_are_one_after_the_other_and_of_one_size() -> None:
    one, recorder = taped("training.accumulate=2")
    made: list[weakref.ref[Tensor]] = []

    def parts(*sizes: int) -> Iterator[Tensor]:
        for size in sizes:
            assert not any(part() is not None for part in made)  # earlier ones live in the recording's place alone
            part = torch.randn(2, size, 1, 16, 26)
            made.append(weakref.ref(part))
            yield part
            del part

    for _ in range(WARM_UP + 2):
        one.update(parts(4, 4), 2)
        made.clear()
    assert recorder.replayed == 2
    with pytest.raises(ValueError, match="the parts of a step have the shapes"):
        one.update(parts(4, 2), 2)


def test_whether_steps_are_replayed_can_be_asked() -> None:
    one, _ = taped()
    assert one.recorded is not None
    run(one, 0, WARM_UP)
    assert not one.recorded.replaying
    run(one, WARM_UP, WARM_UP + 1)
    assert one.recorded.replaying
    given_up = unrecorded()
    run(given_up, 0, STEPS)
    assert given_up.recorded is not None and not given_up.recorded.replaying


class Waits(TapeRecorder):
    def run(self, work: Callable[[], StepOutput], obstacles: list[str] | None = None) -> StepOutput:
        if obstacles is not None:
            obstacles.append("a step waits")
        return work()


@pytest.mark.parametrize(("kind", "reason"), [(Fails, "of a test"), (Waits, "a step waits")])
def test_what_cannot_be_recorded_goes_on_plainly(
    kind: type[TapeRecorder], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, one = trainer(), trainer()
    recorder = kind(list)
    one.recorded = RecordedSteps(one.method, one.optimizer, recorder)
    for expected, found in zip(run(plain, 0, STEPS), run(one, 0, STEPS), strict=True):
        torch.testing.assert_close(found.loss, expected.loss, rtol=1e-3, atol=1e-3)
    said = capsys.readouterr().err.splitlines()
    assert said == [f"steps are not recorded as a CUDA graph, because {reason}"]
    assert recorder.replayed == 0


def test_steps_that_are_never_alike_are_not_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    one, recorder = taped("method.regularizers={mhe: {neurons: 8}}")
    run(one, 0, STEPS)
    assert recorder.recorded == 0
    assert len(capsys.readouterr().err.splitlines()) == 1


class Penalty(Regularizer):
    """A regulariser of somebody's own that may do anything."""

    def forward(self, networks: Sequence[nn.Module], projections: Sequence[Tensor]) -> Tensor:
        return projections[0].mean()


def test_a_regulariser_of_ones_own_is_not_taken_to_be_the_same_at_every_step() -> None:
    one, recorder = taped()
    assert isinstance(one.method, BYOL)
    one.method.regularizers["own"] = Penalty(1.0)
    run(one, 0, STEPS)
    assert recorder.recorded == 0


class Derived(BYOL):
    """A method of somebody's own that may do anything."""


class OwnEncoder(AudioNTT2022):
    """An encoder of somebody's own, likewise."""


def test_who_is_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    one = trainer()
    cuda = torch.device("cuda")
    training = one.config.training
    assert recorded_steps(one.method, one.optimizer, Processes(0, 1, torch.device("cpu")), training) is None
    assert recorded_steps(one.method, one.optimizer, Processes(0, 1, cuda), training) is None  # fast is off
    assert capsys.readouterr().err == ""
    training.fast = "auto"
    assert recorded_steps(one.method, one.optimizer, Processes(0, 2, cuda), training) is None
    assert "several processes" in capsys.readouterr().err
    own = Derived(one.method.encoder, one.config.method)
    assert recorded_steps(own, one.optimizer, Processes(0, 1, cuda), training) is None
    assert "Derived does not say" in capsys.readouterr().err
    method = BYOL(OwnEncoder(16, 16, 4), one.config.method)
    assert recorded_steps(method, one.optimizer, Processes(0, 1, cuda), training) is None
    assert "OwnEncoder does not say" in capsys.readouterr().err
    assert all(vars(kind)["recordable"] for kind in (AudioNTT2020, AudioNTT2022, TimmEncoder))


@pytest.mark.parametrize(
    ("draw", "drawn"),
    [(lambda: torch.rand(1), 1), (random.random, 1), (lambda: torch.ones(1), 0)],
)
def test_random_numbers_of_the_cpu_are_noticed(draw: Callable[[], object], drawn: int) -> None:
    obstacles: list[str] = []
    with watch_chance(obstacles):
        draw()
    assert obstacles == ["a step draws random numbers on the CPU"] * drawn


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("overrides", [(), ("training.accumulate=2",), ("method.tau_schedule=cosine",)])
def test_replayed_steps_are_the_plain_ones_on_a_gpu(precision: str, overrides: tuple[str, ...]) -> None:
    changes = (f"training.precision={precision}", *overrides)
    parts = 2 if "training.accumulate=2" in overrides else 1
    plain, one = trainer(*changes, device="cuda"), trainer(*changes, "training.fast=auto", device="cuda")
    assert plain.recorded is None and one.recorded is not None
    one.method.load_state_dict(plain.method.state_dict())

    def losses(of: Trainer) -> list[float]:
        torch.manual_seed(3)
        found = []
        for step in range(STEPS):
            clips = [slice(0, 4), slice(4, 8)] if parts == 2 else [slice(0, 8)]
            cuts = [batch(step, part) for part in clips]
            found.append(of.train_step([Batch(cut.wave.cuda(), cut.clips) for cut in cuts]).loss.item())
        return found

    # Dropout differs between the kernels and torch: both learn alike, not alike to the bit.
    torch.testing.assert_close(losses(one), losses(plain), rtol=0.2, atol=0.2)
    assert one.recorded.replaying


@pytest.mark.gpu
def test_replays_draw_fresh_masks() -> None:
    one = trainer("training.fast=auto", "optimizer.lr=1e-12", "method.tau=1.0", device="cuda")
    views = torch.randn(2, 8, 1, 16, 26, device="cuda")
    found = [one.update([views]).loss.item() for _ in range(WARM_UP + 4)]
    assert len(set(found[WARM_UP:])) == 4
    assert one.recorded is not None and one.recorded.replaying


@pytest.mark.gpu
def test_recordings_share_their_memory() -> None:
    heads = ("method=tribyol", "method.projector={hidden: 16, out: 8}", "method.predictor.hidden=16")
    one = trainer("training.fast=auto", *heads, device="cuda")
    views = torch.randn(3, 8, 1, 16, 26, device="cuda")
    for _ in range(2 * WARM_UP + 4):
        one.update([views])
    assert one.recorded is not None and one.recorded.replaying
    graphs = list(one.recorded._recorder._graphs)  # type: ignore[attr-defined]
    assert len(graphs) == 2 and len({graph.pool() for graph in graphs}) == 1


@pytest.mark.gpu
def test_a_recording_that_fails_says_what_failed_and_leaves_nothing_behind() -> None:
    def wait() -> StepOutput:
        torch.ones((), device="cuda").item()
        raise AssertionError("a recording cannot wait")

    recorder = CUDARecorder(torch.device("cuda"))
    with pytest.raises(NotRecorded, match="capturing"):
        recorder.record(wait)
    value = torch.randn(4, device="cuda")
    made = StepOutput(value, value, (), {})
    replay, output = recorder.record(lambda: made._replace(loss=value + 1))
    replay()
    assert torch.equal(output.loss, value + 1)


@pytest.mark.gpu
@pytest.mark.parametrize("fast", ["off", "auto"])
def test_steps_between_log_lines_wait_for_nothing(fast: str) -> None:
    one = trainer(f"training.fast='{fast}'", "optimizer.schedule=cosine", device="cuda")
    parts = [Batch(cut.wave.cuda(), cut.clips) for cut in (batch(step) for step in range(WARM_UP + 6))]
    for part in parts[: WARM_UP + 1]:
        one.train_step([part])
    torch.cuda.set_sync_debug_mode("error")
    try:
        for part in parts[WARM_UP + 1 :]:
            one.train_step([part])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (one.recorded is not None and one.recorded.replaying) == (fast == "auto")
