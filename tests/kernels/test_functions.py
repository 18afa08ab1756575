"""The blocks made of kernels are the layers they stand for: values, gradients and running statistics, in float64."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import Tensor, nn

from byol_a.encoders import create_encoder
from byol_a.encoders.base import AudioEncoder
from byol_a.kernels import Kernels, kernels_for, why_none
from byol_a.kernels.functions import linear, relu_dropout
from byol_a.methods.byol import BYOL, BYOLConfig
from byol_a.methods.heads import Head, HeadConfig
from byol_a.methods.predictors import MLPPredictorConfig

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(kernels_for(CPU) is None, reason=f"the CPU has no kernels: {why_none(CPU)}")
ENCODERS: list[tuple[str, dict[str, Any]]] = [
    ("AudioNTT2022", {"hidden_dim": 64, "channels": 16}),
    ("AudioNTT2020", {"embedding_dim": 32, "channels": 32}),
]


@pytest.fixture
def kernels() -> Kernels:
    found = kernels_for(CPU)
    assert found is not None
    return found


def plain(module: nn.Module) -> nn.Module:
    """A copy that takes the plain path."""
    module = copy.deepcopy(module)
    for part in module.modules():
        if isinstance(part, (AudioEncoder, Head)):
            part.fast = False
    return module


def encoder_of(name: str, options: dict[str, Any], p: float = 0.0, **more: Any) -> AudioEncoder:
    """In float64, its norms' scales and offsets of either sign."""
    torch.manual_seed(1)
    encoder = create_encoder(name, 64, **options, **more).double().train()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
        if isinstance(module, nn.Dropout):
            module.p = p
    return encoder


def assert_same_state(ours: nn.Module, theirs: nn.Module) -> None:
    for (name, one), other in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, msg=name)


def assert_same_gradients(ours: nn.Module, theirs: nn.Module) -> None:
    """Within 1e-9 of the largest; the plain path has rounding where a bias that a norm takes away has no effect."""
    pairs = list(zip(ours.named_parameters(), theirs.parameters(), strict=True))
    largest = max(float(other.grad.abs().max()) for _, other in pairs if other.grad is not None)
    for (name, one), other in pairs:
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-9, atol=1e-9 * largest, msg=name)


@pytest.mark.parametrize(("name", "options"), ENCODERS)
@pytest.mark.parametrize("n_frames", [96, 23])
@pytest.mark.parametrize("standardised", [False, True])
def test_views_in_one_pass_are_views_one_by_one(
    name: str, options: dict[str, Any], n_frames: int, standardised: bool
) -> None:
    fast = encoder_of(name, options, weight_standardization=standardised)
    assert fast.obstacle(CPU) is None
    slow = plain(fast)
    views = torch.randn(3, 4, 1, 64, n_frames, dtype=torch.float64) * torch.tensor([1.0, 3.0, 0.1]).view(3, 1, 1, 1, 1)
    found, reference = fast.views(views), slow.views(views)
    torch.testing.assert_close(found, reference, rtol=1e-9, atol=1e-9)
    gradient = torch.randn_like(found)
    found.backward(gradient)
    reference.backward(gradient)
    assert_same_gradients(fast, slow)
    assert_same_state(fast, slow)


@pytest.mark.parametrize(("name", "options"), ENCODERS)
def test_evaluation_is_the_same_padded_or_not(name: str, options: dict[str, Any]) -> None:
    fast = encoder_of(name, options)
    fast.views(torch.randn(2, 4, 1, 64, 40, dtype=torch.float64))  # running statistics that are not 0 and 1
    slow = plain(fast.eval())
    x, lengths = torch.randn(3, 1, 64, 41, dtype=torch.float64), torch.tensor([41, 8, 23])
    same = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(fast(x), slow(x), **same)
    torch.testing.assert_close(fast(x, pooling="max"), slow(x, pooling="max"), **same)
    for length in (None, lengths):
        torch.testing.assert_close(fast(x, length), slow(x, length), **same)
        for ours, theirs in zip(fast.layers(x, length), slow.layers(x, length), strict=True):
            torch.testing.assert_close(ours, theirs, **same)
    for ours, theirs, length in zip(fast.frames(x, lengths), slow.frames(x, lengths), lengths, strict=True):
        n_valid = int(length) // fast.frame_stride
        torch.testing.assert_close(ours[:n_valid], theirs[:n_valid], **same)


def test_gradients_in_evaluation_mode() -> None:
    """As in fine-tuning with frozen statistics."""
    fast = encoder_of(*ENCODERS[0]).eval()
    slow = plain(fast)
    x = torch.randn(3, 1, 64, 40, dtype=torch.float64)
    for encoder in (fast, slow):
        encoder(x).square().sum().backward()
    assert_same_gradients(fast, slow)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_statistics_move_alike(momentum: float | None) -> None:
    fast = encoder_of(*ENCODERS[0])
    for module in fast.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = momentum
    slow = plain(fast)
    for scale in (1.0, 2.0):
        views = scale * torch.randn(2, 3, 1, 64, 24, dtype=torch.float64)
        fast.views(views)
        slow.views(views)
    assert_same_state(fast, slow)


def method_of(p: float) -> BYOL:
    head, predictor = HeadConfig(hidden=48, out=16), MLPPredictorConfig(hidden=48)
    return BYOL(encoder_of(*ENCODERS[0], p=p), BYOLConfig(projector=head, predictor=predictor)).double().train()


def test_a_methods_loss_and_gradients_are_the_same() -> None:
    fast = method_of(p=0.0)
    slow = plain(fast)
    views = torch.randn(2, 6, 1, 64, 32, dtype=torch.float64)
    outputs = [method(views) for method in (fast, slow)]
    torch.testing.assert_close(outputs[0].loss, outputs[1].loss, rtol=1e-10, atol=0)
    torch.testing.assert_close(outputs[0].embeddings, outputs[1].embeddings, rtol=1e-9, atol=1e-9)
    for output in outputs:
        output.loss.backward()
    assert_same_gradients(fast, slow)
    for method in (fast, slow):
        method.end_step(0, 1)
    assert_same_state(fast, slow)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision_costs_no_more_than_on_the_plain_path(dtype: torch.dtype) -> None:
    """Against float64: embeddings within 1e-6, in bfloat16 1 %, of their norm; a map never written is never rounded."""
    encoder = encoder_of(*ENCODERS[0])
    views = torch.randn(2, 16, 1, 64, 96)
    exact = plain(encoder).views(views.double()).detach()
    errors = []
    for module in (encoder, plain(encoder)):
        module = copy.deepcopy(module).float()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            found = module.views(views).detach().double()
        errors.append(float((found - exact).norm() / exact.norm()))
    if dtype == torch.bfloat16:
        assert errors[0] < 0.01 and errors[0] < errors[1]
    else:
        assert errors[0] < 1e-6 and errors[0] < 2 * errors[1]


def test_dropout_is_resumed_with_torchs_generator(kernels: Kernels) -> None:
    x = torch.randn(4, 40)
    state = torch.get_rng_state()
    first, second = relu_dropout(kernels, x, 0.3), relu_dropout(kernels, x, 0.3)
    torch.set_rng_state(state)
    assert torch.equal(first, relu_dropout(kernels, x, 0.3))
    assert not torch.equal(first, second)
    assert torch.equal(relu_dropout(kernels, x, 0.0), x.relu())


@pytest.mark.parametrize("leading", [(7,), (3, 5)])
def test_products_have_the_gradients_of_a_linear_layer(kernels: Kernels, leading: tuple[int, ...]) -> None:
    """Of values that bfloat16 holds, its only error is the rounding of what is stored."""
    if not kernels.multiplies:
        pytest.skip("needs a CPU with AMX tiles")
    torch.manual_seed(0)
    layer = nn.Linear(48, 33)
    with torch.no_grad():
        layer.weight.copy_(layer.weight.bfloat16())
    x = torch.randn(*leading, 48).bfloat16().requires_grad_()
    gradient = torch.randn(*leading, 33).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        out = linear(kernels, x, layer)
    assert out.dtype == torch.bfloat16
    out.backward(gradient)
    exact = [tensor.detach().double().requires_grad_() for tensor in (x, layer.weight, layer.bias)]
    reference = F.linear(*exact)
    reference.backward(gradient.double())
    near(out, reference, 3e-3)
    assert x.grad is not None and layer.weight.grad is not None and layer.bias.grad is not None
    near(x.grad, exact[0].grad, 3e-3)
    near(layer.weight.grad, exact[1].grad, 1e-6)
    near(layer.bias.grad, exact[2].grad, 1e-6)
    assert layer.weight.grad.dtype == torch.float32


def near(found: Tensor, reference: Tensor | None, tolerance: float) -> None:
    assert reference is not None
    assert (found.double() - reference).norm() < tolerance * reference.norm()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"norm": "layer"}, "no norm but batch norm"),
        ({"channels": 12}, "multiples of 16"),
        ({"hidden_dim": 40}, "multiples of 16"),
    ],
)
def test_what_the_kernels_do_not_know_takes_the_plain_path(change: dict[str, Any], why: str) -> None:
    encoder = create_encoder("AudioNTT2022", 64, **{"hidden_dim": 32, "channels": 16, **change})
    assert why in str(encoder.obstacle(CPU))
    x = torch.randn(3, 1, 64, 24)
    torch.testing.assert_close(encoder.eval()(x), plain(encoder)(x), rtol=0, atol=0)


def test_hooks_are_called() -> None:
    encoder = create_encoder("AudioNTT2022", 64, hidden_dim=32, channels=16).eval()
    seen: list[int] = []
    encoder.features[1].register_forward_hook(lambda *_: seen.append(1))
    encoder(torch.randn(2, 1, 64, 24))
    assert seen and "hooks" in str(encoder.obstacle(CPU))


def test_an_input_has_its_gradient() -> None:
    encoder = create_encoder("AudioNTT2022", 64, hidden_dim=32, channels=16).eval()
    x = torch.randn(2, 1, 64, 24, requires_grad=True)
    encoder(x).sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0


@pytest.mark.parametrize(("name", "options"), ENCODERS)
@pytest.mark.parametrize("where", ["features.0.weight", "features.5.bias", "fc.0.weight", "fc.3.bias"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_nan_in_the_weights_reaches_the_embedding(
    name: str, options: dict[str, Any], where: str, precision: torch.dtype
) -> None:
    """So that a run that diverges is noticed at once."""
    encoder = encoder_of(name, options, p=0.3).float()
    with torch.no_grad():
        encoder.get_parameter(where).view(-1)[0] = torch.nan
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        assert encoder.views(torch.randn(2, 4, 1, 64, 32)).isnan().any()


@pytest.mark.parametrize("place", [(0, 0), (31, 20), (63, 23)])
def test_nan_in_the_data_is_where_the_plain_path_has_it(place: tuple[int, int]) -> None:
    encoder = encoder_of(*ENCODERS[0]).eval()
    x = torch.randn(2, 1, 64, 24, dtype=torch.float64)
    x[0, 0, place[0], place[1]] = torch.nan
    assert torch.equal(encoder(x).isnan(), plain(encoder)(x).isnan())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [None, torch.float16, torch.bfloat16])
def test_types_that_the_kernels_do_not_know(dtype: torch.dtype, autocast: torch.dtype | None) -> None:
    encoder = encoder_of(*ENCODERS[0]).to(dtype).eval()
    x = torch.randn(2, 1, 64, 24).to(dtype)
    with torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None):
        try:
            expected = plain(encoder)(x)
        except RuntimeError as error:  # torch's layers do not take every mixture
            with pytest.raises(RuntimeError, match=str(error)[:10]):
                encoder(x)
        else:
            torch.testing.assert_close(encoder(x), expected, rtol=0, atol=0)


def test_an_empty_batch_is_empty(kernels: Kernels) -> None:
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            assert encoder_of(*ENCODERS[0]).float().eval()(torch.randn(0, 1, 64, 24)).shape == (0, 320)
    if kernels.multiplies:
        assert not kernels.matmul(torch.randn(3, 0), torch.randn(0, 5), None, torch.float32).any()


def test_transformations_take_the_plain_path() -> None:
    encoder = encoder_of(*ENCODERS[0]).eval()
    x = torch.randn(3, 1, 64, 24, dtype=torch.float64)
    expected = plain(encoder)(x)
    torch.testing.assert_close(torch.jit.trace(encoder, x, check_trace=False)(x), expected)
    torch.testing.assert_close(torch.func.vmap(encoder)(x[:, None])[:, 0], expected)
    parameters = dict(encoder.named_parameters())

    def total(values: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(encoder, {**values, **dict(encoder.named_buffers())}, (x,)).sum()

    gradients = torch.func.grad(total)(parameters)
    encoder(x).sum().backward()
    for name, parameter in parameters.items():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-8, atol=1e-8)


def test_recomputation_takes_the_path_of_the_forward_pass() -> None:
    """Else the masks of the two would differ."""
    encoder, x = encoder_of(*ENCODERS[0], p=0.3), torch.randn(3, 1, 64, 24, dtype=torch.float64, requires_grad=True)
    found, own = [], encoder._kernels

    def watched(x: Tensor) -> Kernels | None:
        found.append(own(x))
        return found[-1]

    encoder._kernels = watched  # type: ignore[method-assign]
    torch.utils.checkpoint.checkpoint(encoder, x, use_reentrant=True).sum().backward()
    assert found and not any(found)


class Adapted(nn.Linear):
    """A layer with something added, as adapters are."""

    def forward(self, x: Tensor) -> Tensor:
        return 3.0 * super().forward(x)


def changed(name: str) -> AudioEncoder:
    encoder: Any = encoder_of(*ENCODERS[0])
    if name == "activation":
        encoder.fc[1] = nn.GELU()
    elif name == "padding":
        encoder.features[0] = nn.Conv2d(1, 16, 3, padding=1, padding_mode="circular").double()
    elif name == "pooling":
        encoder.features[2] = nn.AvgPool2d(2)
    elif name == "size":
        encoder.fc[3] = nn.Linear(encoder.fc[3].in_features, 100).double()
    elif name == "no bias":
        encoder.fc[0] = nn.Linear(encoder.fc[0].in_features, encoder.fc[0].out_features, bias=False).double()
    elif name == "forward":
        encoder.__class__ = type("Own", (type(encoder),), {"forward": lambda self, x: 2 * self.frames(x).mean(1)})
    elif name == "instance":
        encoder.forward = lambda x, own=encoder: 3 * own.frames(x).mean(1)
    elif name == "adapter":
        encoder.fc[0] = Adapted(encoder.fc[0].in_features, encoder.fc[0].out_features).double()
    else:
        encoder.__class__ = type("Own", (type(encoder),), {"frames": lambda self, x, lengths=None: 2 * x.mean(1).mT})
    return encoder


@pytest.mark.parametrize(
    "name", ["activation", "padding", "pooling", "adapter", "frames", "size", "no bias", "forward", "instance"]
)
def test_layers_that_were_changed_are_as_they_were_changed(name: str) -> None:
    encoder = changed(name)
    assert "not AudioNTT's own" in str(encoder.obstacle(CPU))
    x = torch.randn(2, 1, 64, 24, dtype=torch.float64)
    torch.testing.assert_close(encoder.eval()(x), plain(encoder)(x), rtol=0, atol=0)


@pytest.mark.parametrize("where", ["online.encoder", "online.projector", "online.projector.0", "online.encoder.fc"])
def test_hooks_of_a_method_are_called(where: str) -> None:
    method, seen = method_of(p=0.0), []
    method.get_submodule(where).register_forward_hook(lambda *_: seen.append(1))
    method(torch.randn(2, 4, 1, 64, 24, dtype=torch.float64))
    assert seen


def test_weights_that_are_drawn_are_drawn_for_each_view() -> None:
    encoder = create_encoder("AudioNTT2022", 64, hidden_dim=32, channels=16, variational=True).train()
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    first, second = encoder.views(torch.randn(1, 4, 1, 64, 24).expand(2, -1, -1, -1, -1))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_laid_out_as_weights_are(memory_format: torch.memory_format) -> None:
    """What data-parallel training wants, to copy nothing."""
    encoder = encoder_of(*ENCODERS[0]).to(memory_format=memory_format)  # type: ignore[call-overload]
    encoder.views(torch.randn(2, 3, 1, 64, 24, dtype=torch.float64)).sum().backward()
    for parameter in encoder.parameters():
        assert parameter.grad is not None and parameter.grad.stride() == parameter.stride()
