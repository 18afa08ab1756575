"""What a training step has to compute and to move at least, from the shapes of its layers, and how near it comes.

Counted are the matrix products and convolutions, two operations for each multiply-add, and for the optimiser and the
target what is done to each parameter. Bytes are those of an ideal run of the products one by one: each reads what it
multiplies and writes what it gives, once; norms, ReLU, pooling and dropout ride along for nothing. The map after a
convolution of a single channel need not even be written, being nine pixels away: there it is what the next product
reads. So no program of this kind moves less, and the share of the roof below says what is left to gain.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from byol_a.encoders import create_encoder
from byol_a.methods import create_method
from byol_a.methods.byol import BYOL
from byol_a.training.config import PretrainConfig

WEIGHT_BYTES = 4  # weights, gradients and the optimiser's state are float32 whatever the products are taken in
# Of each parameter: words that an update reads and writes, and its operations.
UPDATES = {"adam": (7, 12), "adamw": (7, 14), "sgd": (5, 4), "lars": (7, 10)}
MOVE_TARGET = (2, 3)  # the online weight is at hand where the optimiser has just written it


class Product(NamedTuple):
    """One product of a forward pass: operations, and elements of what it reads, of its weights and of its result."""

    flops: int
    inputs: int
    weights: int
    outputs: int


class Work(NamedTuple):
    """Operations, and bytes to and from memory at the least."""

    flops: float
    bytes: float

    def seconds(self, matrix_peak: float, bandwidth: float) -> float:
        """The least time at these peaks (operations, bytes per second): the roof of the roofline."""
        return max(self.flops / matrix_peak, self.bytes / bandwidth)


def products(*modules: nn.Module, shape: tuple[int, ...]) -> list[Product]:
    """The convolutions and linear layers of `modules`, run one after another on the meta device on `shape`."""
    found: list[Product] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, (nn.Conv2d, nn.Linear))
        per_output = math.prod(layer.weight.shape[1:])
        weights, read, written = layer.weight.numel(), inputs[0].numel(), output.numel()
        found.append(Product(2 * per_output * written, read, weights, written))

    layers = [layer for module in modules for layer in module.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    x = torch.empty(shape, device="meta")
    with torch.no_grad():
        for module in modules:
            x = module(x)
    for hook in hooks:
        hook.remove()
    if len(found) > 1 and shape[1] == 1:
        found[0] = found[0]._replace(outputs=found[1].inputs)
    return found


def forward(found: list[Product], passes: int, element: int) -> Work:
    """A forward pass over `passes` views, of elements of so many bytes; the weights are read once."""
    moved = sum(passes * element * (one.inputs + one.outputs) + WEIGHT_BYTES * one.weights for one in found)
    return Work(passes * sum(one.flops for one in found), moved)


def backward(found: list[Product], passes: int, element: int) -> Work:
    """The pass back: gradients of every weight, and of every input but the first's."""
    flops = moved = 0
    for number, one in enumerate(found):
        onward = number > 0
        flops += passes * one.flops * (2 if onward else 1)
        moved += passes * element * (one.outputs + one.inputs * (2 if onward else 1))
        moved += WEIGHT_BYTES * one.weights * (2 if onward else 1)
    return Work(flops, moved)


def step_work(config: PretrainConfig, n_frames: int) -> dict[str, Work]:
    """The work of the parts of BYOL's step; empty for other methods.

    Args:
        config: of the run; all accumulated parts together.
        n_frames: T of the views.
    """
    with torch.device("meta"):
        encoder = create_encoder(config.encoder.name, config.frontend.n_mels, **config.encoder_options)
        encoder.fast = False  # the layers one by one, as they are counted
        method = create_method(config.method, encoder)
    if not isinstance(method, BYOL):
        return {}
    shape = (config.training.batch_size, 1, config.frontend.n_mels, n_frames)
    target = products(method.online.encoder, method.online.projector, shape=shape)
    online = products(method.online.encoder, method.online.projector, method.predictor, shape=shape)
    element, views = 2 if config.training.precision == "bf16" else 4, method.n_views
    learned = sum(parameter.numel() for parameter in method.parameters() if parameter.requires_grad)
    followed = sum(parameter.numel() for parameter in method.target.parameters())
    words, operations = UPDATES[config.optimizer.name]
    return {
        "forward online": forward(online, views, element),
        "forward target": forward(target, views, element),
        "backward": backward(online, views, element),
        "optimiser, EMA": Work(
            operations * learned + MOVE_TARGET[1] * followed,
            WEIGHT_BYTES * (words * learned + MOVE_TARGET[0] * followed),
        ),
    }


def roofline(
    work: dict[str, Work], stages: dict[str, float], step: float, matrix_peak: float, bandwidth: float
) -> dict[str, dict[str, Any]]:
    """Each part's work beside its seconds and the machine's peaks, and in the end the whole bare step's.

    Args:
        work: as `step_work` gives it.
        stages: seconds of each stage; those of a part called "a, b" are added.
        step: seconds of the bare step, which on a GPU is less than its stages run one by one.
        matrix_peak: operations per second.
        bandwidth: bytes per second.
    """
    took = {name: sum(stages.get(stage, 0.0) for stage in name.split(", ")) for name in work}
    least = {name: one.seconds(matrix_peak, bandwidth) for name, one in work.items()}
    whole = Work(sum(one.flops for one in work.values()), sum(one.bytes for one in work.values()))
    took["bare step"], least["bare step"] = step, sum(least.values())
    return {
        name: {
            "seconds": took[name],
            "flops": one.flops,
            "bytes": one.bytes,
            "flops_per_byte": one.flops / one.bytes,
            "flops_per_second": one.flops / took[name],
            "share_of_matrix_peak": one.flops / took[name] / matrix_peak,
            "bytes_per_second": one.bytes / took[name],
            "share_of_bandwidth": one.bytes / took[name] / bandwidth,
            "share_of_roof": least[name] / took[name],
        }
        for name, one in {**work, "bare step": whole}.items()
    }
