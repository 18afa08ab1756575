"""The parts of a session on a GPU machine (`gpu_session.py`): each measures one thing and gives its figures."""

from __future__ import annotations

import importlib.util
import itertools
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_kernels
import machine
import numpy as np
import torch
from gpu_runs import Session, in_turns, is_replaying, new_trainer, reset_peak, rounds, view_by_view
from pretrain_runs import BaselineRun, OurRun, input_pass, peak_memory

from byol_a.frontend import FrontendConfig
from byol_a.methods.ema import follow, make_target
from byol_a.model import BYOLA
from byol_a.normalize import NormStats
from byol_a.training.graph import WARM_UP
from byol_a.training.look_ahead import LookAhead
from byol_a.training.sources import ClipSource

ROOT = Path(__file__).resolve().parent.parent


def facts(session: Session) -> dict[str, Any]:
    """The machine, and its peaks: a large product and a large copy."""
    size = 256 if session.quick else None
    products = {str(kind): machine.matrix_peak(session.device, kind, size) for kind in (torch.bfloat16, torch.float32)}
    copy = machine.copy_bandwidth(session.device, 1 << 20 if session.quick else None)
    return {**machine.facts(session.device), "matrix_peak": products, "copy_bandwidth": copy}


def tests(session: Session) -> dict[str, Any]:
    """The tests that need a GPU, and those of the kernels."""
    chosen = ["tests/kernels"]
    if importlib.util.find_spec("pydantic"):  # without it no recipe can be read, which these tests do
        chosen += ["tests/training/test_graph.py", "tests/training/test_trainer.py", "tests/training/test_sources.py"]
    marked = ["-m", "gpu"] if session.device.type == "cuda" else ["--collect-only"]
    command = [sys.executable, "-m", "pytest", "-q", *marked, *(path for path in chosen if (ROOT / path).exists())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines()
    failures = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return {"passed": done.returncode == 0, "summary": lines[-1] if lines else "", "failures": failures[:40]}


def kernels(session: Session) -> dict[str, Any]:
    """Each kernel's time and bandwidth."""
    return gpu_kernels.measure(session.quick, session.device)


def ideas(session: Session) -> dict[str, Any]:
    """Bare steps with one idea after the other, in turns."""
    return in_turns(
        session,
        {
            "plain": lambda: new_trainer(session, fast=False, recorded=False),
            "graph": lambda: new_trainer(session, fast=False, recorded=True),
            "kernels": lambda: new_trainer(session, fast=True, recorded=False),
            "kernels, view by view, graph": lambda: view_by_view(new_trainer(session, fast=True, recorded=True)),
            "kernels, graph": lambda: new_trainer(session, fast=True, recorded=True),
        },
    )


def compiled(session: Session) -> dict[str, Any]:
    """Bare steps under torch.compile, without kernels, beside plain ones."""
    return in_turns(
        session,
        {
            "plain": lambda: new_trainer(session, fast=False, recorded=False),
            "compile": lambda: new_trainer(session, fast=False, recorded=False, compile=True),
            "compile, graph": lambda: new_trainer(session, fast=False, recorded=True, compile=True),
        },
    )


def batches(session: Session) -> dict[str, Any]:
    """Bare steps with everything on, by the size of the batch."""
    sizes = (8, 16) if session.quick else (64, 128, 256, 512, 1024, 2048)
    found = {}
    for size in sizes:
        found |= in_turns(session, {str(size): lambda size=size: new_trainer(session, batch_size=size)}, size)
    return found


def optimiser(session: Session) -> dict[str, Any]:
    """Milliseconds of the update of all weights and of the target's, in their several forms."""
    method: Any = new_trainer(session).method
    weights = [parameter for parameter in method.parameters() if parameter.requires_grad]
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    target, found = make_target(method.online), {}
    kinds: dict[str, dict[str, Any]] = {"for-loop": {"foreach": False}, "foreach": {"foreach": True}}
    for name, options in {**kinds, "fused": {"fused": True}}.items():
        found[f"Adam, {name}"] = torch.optim.Adam(weights, lr=1e-4, **options).step

    def loop() -> None:
        with torch.no_grad():
            for xi, theta in zip(target.parameters(), method.online.parameters(), strict=True):
                xi.mul_(0.99).add_(theta, alpha=0.01)

    share = torch.full((), 0.01, device=session.device)
    calls = {
        **found,
        "EMA, for-loop": loop,
        "EMA, foreach": lambda: follow(target, method.online, 0.01),
        "EMA, foreach, by a tensor as in recorded steps": lambda: follow(target, method.online, share),
    }
    return {name: 1000 * machine.fastest(call, session.device, session.times(20, 2)) for name, call in calls.items()}


def stages(session: Session) -> dict[str, Any]:
    """Milliseconds of each stage of whole steps, with and without kernels; recorded steps have no stages."""
    clips, steps = session.clips, session.times(20, 2)
    found = {}
    for fast in ("auto", "off"):
        run = OurRun(session.config(fast=fast), clips, session.processes)
        run.marked_steps(steps)
        found[fast] = {stage: 1000 * seconds for stage, seconds in run.marked_steps(steps).items()}
    return found


def end_to_end(session: Session) -> dict[str, Any]:
    """Clips per second from the store through all of training, beside bare steps, input and views alone."""
    config, clips = session.config(), session.clips
    run = OurRun(config, clips, session.processes)
    run.bare_steps(WARM_UP + 2)
    run.use_up()
    reset_peak(session.device)
    steps, batch = session.times(60, 2), config.training.batch_size
    parts = {
        "end to end": lambda: run.steps(steps),
        "bare step": lambda: run.bare_steps(steps),
        "views": lambda: run.make_views(steps),
        "input": lambda: input_pass(clips, config, session.processes, steps),
    }
    prepared = {"end to end": run.use_up}
    seconds = rounds(parts, session.times(5, 1), prepared)
    return {
        "clips_per_second": {name: batch * steps / statistics.median(took) for name, took in seconds.items()},
        "end_to_end_over_step": statistics.median(
            bare / whole for bare, whole in zip(seconds["bare step"], seconds["end to end"], strict=True)
        ),
        "recorded": is_replaying(run.trainer),
        "peak_memory_mb": peak_memory(session.device),
    }


def baseline(session: Session) -> dict[str, Any]:
    """Whole steps of the straightforward implementation and of ours, in turns in one process."""
    clips = session.clips
    ours = OurRun(session.config(), clips, session.processes)
    theirs = BaselineRun(session.config(precision="float32"), clips, session.device)
    ours.bare_steps(WARM_UP + 2)
    many, few = session.times(60, 2), session.times(4, 1)
    seconds = rounds(
        {"ours": lambda: ours.steps(many), "baseline": lambda: theirs.steps(few)},
        session.times(3, 1),
        {"ours": ours.use_up, "baseline": theirs.use_up},
    )
    batch = session.config().training.batch_size
    rates = {
        "ours": batch * many / statistics.median(seconds["ours"]),
        "baseline": batch * few / statistics.median(seconds["baseline"]),
    }
    return {"clips_per_second": rates, "ratio_to_baseline": rates["ours"] / rates["baseline"]}


def waits(session: Session) -> dict[str, Any]:
    """Whether whole steps from the store wait for the GPU anywhere: torch raises an error where they would."""
    config = session.config()
    trainer = OurRun(config, session.clips, session.processes).trainer
    steps = iter(LookAhead(ClipSource(session.clips, config, session.processes).batches(0, 40), 1))
    for parts in itertools.islice(steps, WARM_UP + 2):
        trainer.train_step(parts)
    if session.device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    done = 0
    for parts in itertools.islice(steps, session.times(20, 3)):
        trainer.train_step(parts)
        done += 1
    if session.device.type == "cuda":
        torch.cuda.set_sync_debug_mode("default")
    return {"steps_without_a_wait": done, "recorded": is_replaying(trainer)}


def learning(session: Session) -> dict[str, Any]:
    """The mean loss of the last steps of a short run with all ideas, and without: they must be alike."""
    found, last = {}, session.times(40, 2)
    for name, fast in (("all", "auto"), ("plain", "off")):
        config = session.config(fast=fast)
        trainer = OurRun(config, session.clips, session.processes).trainer
        source = ClipSource(session.clips, config, session.processes).batches(0, session.times(200, 6))
        losses = torch.stack([trainer.train_step(parts).loss for parts in LookAhead(source, 1)])
        found[name] = {"first": losses[0].item(), "last": losses[-last:].mean().item()}
    found["difference"] = found["all"]["last"] - found["plain"]["last"]
    return found


def embed(session: Session) -> dict[str, Any]:
    """Seconds of audio embedded per second, of ten-second waves in memory, by precision and batch."""
    encoder = session.config().encoder
    model = BYOLA(encoder.name, encoder.options, FrontendConfig(), NormStats(-7.0, 4.5)).to(session.device).eval()
    seconds = 10 if not session.quick else 1
    rng = np.random.default_rng(0)
    waves = list(rng.standard_normal((session.times(2048, 4), seconds * 16000), dtype=np.float32) * 0.1)
    found: dict[str, Any] = {}
    for precision, batch in (("bf16", 64), ("bf16", 256), ("float32", 64)):
        work = lambda p=precision, b=batch: model.encode(waves, batch_size=b, precision=p)  # noqa: E731
        took = rounds({"encode": work}, session.times(3, 1))["encode"]
        found[f"{precision}, batch {batch}"] = len(waves) * seconds / statistics.median(took)
    return {"audio_seconds_per_second": found, "peak_memory_mb": peak_memory(session.device)}


PARTS: dict[str, tuple[Callable[[Session], dict[str, Any]], float]] = {
    "facts": (facts, 60),
    "kernels": (kernels, 150),
    "ideas": (ideas, 120),
    "end_to_end": (end_to_end, 120),
    "waits": (waits, 60),
    "stages": (stages, 90),
    "baseline": (baseline, 150),
    "embed": (embed, 90),
    "optimiser": (optimiser, 60),
    "batches": (batches, 120),
    "learning": (learning, 120),
    "tests": (tests, 240),
    "compiled": (compiled, 240),
}
"""By name, in order of what matters most: the part and the most seconds it may take."""
