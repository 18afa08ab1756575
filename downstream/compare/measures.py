"""What a trained method makes of clips that it did not learn from: collapse, rank, alignment, uniformity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from byol_a.data.crops import from_int16
from byol_a.methods.monitor import alignment, collapse_meter, effective_rank, uniformity
from byol_a.training.trainer import Trainer
from downstream.results import finite

BATCH = 256
VIEW_SEED = 0
COLLAPSED = 0.2
"""A collapse meter of projections below this is called a collapse; they can be when embeddings are not. [choice]

Between what plain BYOL shows (about 0.8) and what BYOL without a predictor does (below 0.2), of 1 for projections all
over the sphere.
"""


LEAST_CLIPS = 16
"""With fewer held out nothing is called a collapse. [choice]"""


@dataclass(frozen=True)
class Measures:
    """Of the projections of two views of held-out clips; the rank is that of one view's embeddings.

    Those of projections are None of an untrained method: the statistics of its heads' batch norms are of nothing. They
    take some fifty steps to follow: after fewer, projections look more alike than training sees them.

    `collapse`: near 1 healthy, 0 collapsed. `effective_rank`: 1 to the embedding's size. `alignment`: 0 to 4, lower is
    closer. `uniformity`: 0 is collapsed, lower is more uniform. `clips`: held out. See `byol_a.methods.monitor`.
    What is not finite is None.
    """

    effective_rank: float | None
    collapse: float | None = None
    alignment: float | None = None
    uniformity: float | None = None
    clips: int | None = None

    @property
    def is_collapsed(self) -> bool:
        """Whether the projections all point one way; of a handful of clips that cannot be told."""
        told = self.clips is None or self.clips >= LEAST_CLIPS
        return told and self.collapse is not None and self.collapse < COLLAPSED


@torch.no_grad()
def measure(trainer: Trainer, crops: Tensor) -> Measures:
    """Measure a method in evaluation mode on views that its own pipeline makes.

    Args:
        trainer: whose method and pipeline are left in evaluation mode.
        crops: int16 (N, S), N at least 2.
    """
    method, pipeline, device = trainer.method.eval(), trainer.pipeline.eval(), trainer.processes.device
    parts = crops.chunk(-(-len(crops) // BATCH))
    waves = [from_int16(part.to(device)) for part in parts]

    def views(number: int) -> Tensor:
        params = pipeline.draw(len(waves[number]), VIEW_SEED, number, device)
        made: Tensor = pipeline(waves[number], params)
        return made

    for number in range(len(waves)):
        views(number)  # so that a mixup memory holds these clips, that of an untrained method too
    method.begin_step(max(0, trainer.step - 1), max(1, trainer.total_steps))
    outputs = [method(views(number)) for number in range(len(waves))]
    rank = float(effective_rank(torch.cat([output.embeddings for output in outputs])))
    if not trainer.step:
        return Measures(finite(rank))
    first, second = (torch.cat([output.projections[view] for output in outputs]) for view in (0, 1))
    return Measures(
        finite(rank),
        collapse=finite(float(collapse_meter(first))),
        alignment=finite(float(alignment(first, second))),
        uniformity=finite(float(uniformity(first))),
        clips=len(crops),
    )
