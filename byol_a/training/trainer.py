"""Everything that changes while a run goes on, one optimiser step of it, and its snapshot."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from byol_a.encoders import create_encoder
from byol_a.encoders.base import AudioEncoder
from byol_a.errors import UsageError
from byol_a.kernels import decide
from byol_a.methods import Method, StepOutput, create_method
from byol_a.methods.heads import Head
from byol_a.methods.monitor import alignment, collapse_meter, effective_rank, uniformity
from byol_a.normalize import NormStats
from byol_a.training.config import PretrainConfig
from byol_a.training.distributed import Processes
from byol_a.training.graph import recorded_steps
from byol_a.training.optimizers import build_optimizer, learning_rate
from byol_a.training.pipeline import ViewPipeline, mix_seeds
from byol_a.training.sources import Batch
from byol_a.training.sync_batch_norm import synchronize_batch_norm


class Trainer:
    """Networks, optimiser and view pipeline of one process.

    Args:
        config: the run's configuration, `training.precision` resolved.
        stats: log-mel statistics of the training set; None if they are gathered while training.
        processes: this process among its peers.
        total_steps: optimiser steps of the whole run, for the schedules.

    Attributes:
        remark: why the fast path is not taken, where it might have been.
    """

    def __init__(self, config: PretrainConfig, stats: NormStats | None, processes: Processes, total_steps: int) -> None:
        training, device = config.training, processes.device
        self.config, self.processes, self.total_steps = config, processes, total_steps
        self.step = 0
        torch.manual_seed(training.seed)
        encoder = create_encoder(config.encoder.name, config.frontend.n_mels, **config.encoder_options)
        memory_format = torch.channels_last if training.channels_last else torch.contiguous_format
        method = create_method(config.method, encoder)
        self.method: Method = method.to(device=device, memory_format=memory_format).train()  # type: ignore[call-overload]
        if training.sync_batch_norm and processes.world_size > 1:
            synchronize_batch_norm(self.method, device)
        self.remark = self._choose_path()
        self.pipeline = ViewPipeline(config, stats, self.method.n_views).to(device).train()
        n_frames = self.pipeline.frontend.frames_of(config.crop_samples)
        if n_frames < encoder.min_frames:
            raise UsageError(
                f"data.crop_seconds {config.data.crop_seconds} gives {n_frames} mel frames, and "
                f"{config.encoder.name} needs {encoder.min_frames}; make the crops longer"
            )
        self.optimizer = build_optimizer(config.optimizer, self.method)
        self._forward: Any = torch.compile(self.method) if training.compile else self.method
        if processes.world_size > 1:
            # Buffers need not travel: training does not read running statistics, and the main process writes its own.
            self._forward = DistributedDataParallel(self._forward, broadcast_buffers=False)
        self.recorded = recorded_steps(self.method, self.optimizer, processes, training)
        # From here on randomness is dropout's, which must differ between processes.
        torch.manual_seed(mix_seeds(training.seed, processes.rank))

    def _choose_path(self) -> str | None:
        """Let the encoders use kernels, or not; returns what is to be said where they might have been used.

        Raises:
            UsageError: if `training.fast` demands what is not possible.
        """
        training, device = self.config.training, self.processes.device
        encoder, obstacle = self.method.encoder, None
        if training.compile:
            obstacle = "training.compile takes its place"
        elif training.fast != "off":
            obstacle = encoder.obstacle(device)
        fast, remark = decide(training.fast, obstacle)
        for module in self.method.modules():
            if isinstance(module, AudioEncoder):
                module.fast = fast
            elif isinstance(module, Head):  # which knows no obstacle
                module.fast = training.fast != "off"
        return remark if encoder.has_fast_path else None

    def train_step(self, parts: list[Batch]) -> StepOutput:
        """One optimiser step over the parts of a batch: views are made and learned from, one part at a time."""
        training = self.config.training
        params = self.pipeline.draw(training.batch_size, training.seed, self.step, self.processes.device)
        return self.update((self.pipeline(part.wave, params[part.clips]) for part in parts), len(parts))

    def update(self, views: Iterable[Tensor], parts: int = 1) -> StepOutput:
        """One optimiser step on views (V, b, 1, F, T), gradients averaged over `parts` of them.

        Returns:
            The last part's output, with the mean of the losses and of the terms over the parts. The next step may
            overwrite its embeddings and projections.
        """
        rate = learning_rate(self.config.optimizer, self.step, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.method.begin_step(self.step, self.total_steps)
        if self.recorded is None:
            output = self._learn(views, parts)
        else:
            output = self.recorded.step(self._learn, views, parts, rate, self.step, self.total_steps)
        self.step += 1
        return output

    def _learn(self, views: Iterable[Tensor], parts: int) -> StepOutput:
        """All of a step that a GPU does and that may be recorded: see `update`."""
        losses, terms = [], []
        for number, part in enumerate(views, start=1):
            with self._sync_gradients(last=number == parts):
                with self._autocast():
                    output: StepOutput = self._forward(part)
                # Outside: what a method computes in full precision would otherwise have a gradient that is not.
                (output.loss / parts).backward()
            losses.append(output.loss.detach())
            terms.append(output.terms)
        if self.config.optimizer.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.method.parameters(), self.config.optimizer.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.method.end_step(self.step, self.total_steps)
        means = {name: torch.stack([part[name] for part in terms]).float().mean() for name in output.terms}
        return output._replace(loss=torch.stack(losses).mean(), terms=means)

    def _autocast(self) -> torch.autocast:
        enabled = self.config.training.precision == "bf16"
        return torch.autocast(self.processes.device.type, torch.bfloat16, enabled=enabled)

    def _sync_gradients(self, last: bool) -> contextlib.AbstractContextManager[Any]:
        """Gradients travel between processes once a step, with the last accumulated part."""
        if last or self.processes.world_size == 1:
            return contextlib.nullcontext()
        manager: contextlib.AbstractContextManager[Any] = self._forward.no_sync()
        return manager

    def metrics(self, output: StepOutput) -> dict[str, float]:
        """What is worth watching after a step: loss, collapse meter, rank, alignment, uniformity, terms, rates.

        Alignment is that of the first two views, where there are two.
        """
        projection1, *others = output.projections
        measured = {
            "loss": output.loss,
            "collapse": collapse_meter(projection1),
            "effective_rank": effective_rank(output.embeddings),
            **({"alignment": alignment(projection1, others[0])} if others else {}),
            "uniformity": uniformity(projection1),
            **output.terms,
        }
        values = torch.stack([value.float() for value in measured.values()])
        step = self.step - 1
        return {
            **dict(zip(measured, self.processes.mean(values).tolist(), strict=True)),
            "lr": learning_rate(self.config.optimizer, step, self.total_steps),
            **self.method.rates(step, self.total_steps),
        }

    def is_finite(self) -> bool:
        """Whether every weight and statistic of the networks is finite, after the last update too."""
        values = [tensor for tensor in self.method.state_dict().values() if tensor.is_floating_point()]
        return bool(torch.stack(torch._foreach_norm(values)).isfinite().all())

    def snapshot(self) -> dict[str, Any]:
        """All state, on rank 0 with every process's own part; empty on other ranks. A collective call."""
        cuda = self.processes.device.type == "cuda"
        own = {
            # Off the GPU: the main process would unpickle each state onto the GPU it came from.
            "pipeline": {
                name: value.cpu() if isinstance(value, Tensor) else value
                for name, value in self.pipeline.state_dict().items()
            },
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.processes.device) if cuda else None,
        }
        parts = self.processes.gather(own)
        if not self.processes.is_main:
            return {}
        return {
            "step": self.step,
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "processes": parts,
            "stats": asdict(self.pipeline.stats),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot. With another number of processes each takes the state of one that was there."""
        self.step = snapshot["step"]
        self.method.load_state_dict(snapshot["method"])
        self.optimizer.load_state_dict(snapshot["optimizer"])
        if self.recorded is not None:
            self.recorded.forget()
        states = snapshot["processes"]
        own = states[self.processes.rank % len(states)]
        self.pipeline.load_state_dict(own["pipeline"])
        if len(states) != self.processes.world_size:
            # Two processes that go on from one state must not draw the same dropout masks.
            torch.manual_seed(mix_seeds(self.config.training.seed, self.processes.rank, self.step))
            return
        torch.set_rng_state(own["random"])
        if own["random_cuda"] is not None and self.processes.device.type == "cuda":
            torch.cuda.set_rng_state(own["random_cuda"], self.processes.device)
