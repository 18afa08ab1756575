"""Norm layers and weight standardisation: definitions, gradients, what they mean for padding, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from byol_a.config import build
from byol_a.encoders import AudioEncoder, create_encoder
from byol_a.encoders.norms import NormConfig, WeightStandardization, change_norms, head_norm, standardize_weights
from byol_a.encoders.parametrizations import original_weight, register_first, weight_layers, weight_steps
from byol_a.errors import UsageError
from byol_a.methods.heads import HeadConfig


def small(norm: str = "batch", name: str = "AudioNTT2022", **options) -> AudioEncoder:
    torch.manual_seed(0)
    size = {"embedding_dim": 12} if name == "AudioNTT2020" else {"hidden_dim": 12}
    return create_encoder(name, 16, channels=6, norm=norm, norm_groups=4, **size, **options)


def normalised(x: Tensor, groups: int) -> Tensor:
    """(B, C, ...), each group of channels of each clip by itself to mean 0 and variance 1."""
    rows = x.reshape(x.shape[0], groups, -1)
    variance = rows.var(dim=2, correction=0, keepdim=True)
    return ((rows - rows.mean(dim=2, keepdim=True)) / (variance + 1e-5).sqrt()).reshape(x.shape)


# ------------------------------------------------------------------------------------------------- norm layers


@pytest.mark.parametrize(("norm", "groups"), [("layer", 1), ("group", 2)])
def test_a_trunks_norm_is_over_a_clips_own_statistics(norm, groups):
    """4 groups are asked for, and of 6 channels there can be 2."""
    layer = small(norm).double().features[1]
    x = torch.randn(3, 6, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(layer(x), normalised(x, groups))
    layer.weight.data.normal_()
    layer.bias.data.normal_()
    slope, offset = layer.weight[:, None, None], layer.bias[:, None, None]
    torch.testing.assert_close(layer(x), normalised(x, groups) * slope + offset)


def test_a_heads_norm_is_over_the_features_of_a_row():
    x = torch.randn(5, 8, dtype=torch.float64)
    for kind, groups in (("layer", 1), ("group", 4)):
        layer = head_norm(NormConfig(kind, groups=4), 8).double()  # type: ignore[arg-type]
        torch.testing.assert_close(layer(x), normalised(x, groups))
    torch.testing.assert_close(head_norm(NormConfig("none"), 8)(x), x)
    assert isinstance(head_norm(NormConfig(), 8), nn.BatchNorm1d)
    with pytest.raises(UsageError, match="16 groups of a layer of 16 units would be single units"):
        head_norm(NormConfig("group"), 16)


@pytest.mark.parametrize(("norm", "apart"), [("batch", False), ("layer", True), ("group", True), ("none", True)])
def test_all_but_batch_norm_keep_the_clips_of_a_batch_apart(norm, apart):
    encoder = small(norm).train()
    encoder.fc.eval()  # no dropout
    x = torch.randn(4, 1, 16, 24)
    other = torch.cat([x[:1], 3 * torch.randn(3, 1, 16, 24)])
    assert torch.allclose(encoder(x)[0], encoder(other)[0], atol=1e-6) is apart


def test_norms_of_a_trunk_have_gradients_everywhere():
    for norm in ("layer", "group", "none"):
        encoder = small(norm, "AudioNTT2020", weight_standardization=True).train()
        encoder(torch.randn(4, 1, 16, 32)).square().mean().backward()
        gradients = [parameter.grad for parameter in encoder.parameters()]
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
        assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_a_timm_trunk_keeps_the_start_of_its_norms():
    pytest.importorskip("timm")
    plain = create_encoder("timm:resnet10t")
    torch.manual_seed(0)
    encoder = create_encoder("timm:resnet10t", norm="group", weight_standardization="scaled")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in encoder.modules())
    norms = [module for module in encoder.modules() if isinstance(module, nn.GroupNorm)]
    assert {norm.num_groups for norm in norms} == {8, 16}  # of 24 channels 8, of the others 16
    zeros = [sum(bool((p == 0).all()) for p in network.parameters()) for network in (plain, encoder)]
    assert zeros[0] == zeros[1] > len(norms), "timm's residual branches begin at a slope of 0"
    assert all(isinstance(weight_steps(layer)[0], WeightStandardization) for layer in weight_layers(encoder))
    encoder.train()(torch.randn(2, 1, 64, 96)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


# ------------------------------------------------------------------------------------- padding, chunks, sizes


def test_encoders_whose_norms_see_the_whole_clip_say_so():
    x, lengths = torch.randn(2, 1, 16, 24), torch.tensor([24, 16])
    for name in ("AudioNTT2020", "AudioNTT2022"):
        for norm in ("layer", "group"):
            encoder = small(norm, name).eval()
            assert encoder.frame_context is None
            torch.testing.assert_close(encoder(x, torch.tensor([24, 24])), encoder(x))
            for call in (encoder, encoder.frames, encoder.layers):
                with pytest.raises(UsageError, match=f"this {name} sees whole clips.*unpadded"):
                    call(x, lengths)
        assert small("none", name).frame_context == small("batch", name).frame_context is not None


def test_without_norms_a_padded_batch_equals_each_clip_alone():
    encoder = small("none", weight_standardization="scaled").eval()
    lengths = [4, 9, 16, 30]
    batch = torch.full((4, 1, 16, 33), torch.nan)
    for row, length in zip(batch, lengths, strict=True):
        row[..., :length] = torch.randn(1, 16, length)
    together = encoder(batch, torch.tensor(lengths))
    for index, length in enumerate(lengths):
        torch.testing.assert_close(together[index], encoder(batch[index : index + 1, ..., :length])[0])


def test_channels():
    encoder = create_encoder("AudioNTT2022", 16, hidden_dim=12, channels=6)
    assert encoder.embedding_dim == 6 * 4 + 12 and encoder(torch.randn(2, 1, 16, 8)).shape == (2, 36)
    assert [layer.shape[1] for layer in encoder.layers(torch.randn(2, 1, 16, 8))] == [48, 24, 12, 36]
    assert create_encoder("AudioNTT2020", 16, embedding_dim=12, channels=6).features[0].out_channels == 6
    for channels in (0, 1.5):
        with pytest.raises(UsageError, match="at least 1 channel"):
            create_encoder("AudioNTT2020", channels=channels)


# -------------------------------------------------------------------------------------- weight standardisation


def test_standardised_filters_by_hand():
    """A row with mean 2 and deviation sqrt(2/3), and one whose filters differ by place; only filters matter."""
    weight = torch.tensor([[[1.0, 2.0, 3.0]], [[6.0, 0.0, 0.0]]], dtype=torch.float64)
    first = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64) / ((2 / 3) ** 0.5 + 1e-5)
    second = torch.tensor([4.0, -2.0, -2.0], dtype=torch.float64) / (8**0.5 + 1e-5)
    expected = torch.stack([first, second])[:, None]
    torch.testing.assert_close(WeightStandardization()(weight), expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(WeightStandardization(scaled=True)(weight), expected / 3**0.5, atol=1e-12, rtol=0)
    half = WeightStandardization()(weight.bfloat16())
    assert half.dtype == torch.bfloat16 and torch.equal(half, expected.bfloat16())


def plainly(weight: Tensor) -> Tensor:
    """Weight standardisation as it is written down, by automatic differentiation."""
    rows = weight.flatten(1)
    deviation = (rows - rows.mean(1, keepdim=True)).square().mean(1, keepdim=True).sqrt()
    return ((rows - rows.mean(1, keepdim=True)) / (deviation + 1e-5)).view_as(weight)


@pytest.mark.parametrize("size", [1e-5, 1e-2, 30.0])  # the first is that of the 1e-5 beside it
def test_gradient_of_weight_standardisation(size):
    weight = (size * torch.randn(4, 3, 2, 2, dtype=torch.float64)).requires_grad_()
    gradient = torch.randn_like(weight)
    ours, plain = WeightStandardization()(weight), plainly(weight)
    torch.testing.assert_close(ours, plain)
    (by_ours,), (by_plain,) = (torch.autograd.grad(result, weight, gradient) for result in (ours, plain))
    torch.testing.assert_close(by_ours, by_plain)
    assert torch.autograd.gradcheck(WeightStandardization(scaled=True), weight, eps=1e-6 * size, atol=1e-4 / size)


def test_filters_of_equal_weights_stay_finite():
    weight = torch.stack([torch.zeros(5), torch.full((5,), 0.3), torch.full((5,), 1e-20)]).requires_grad_()
    standardized = WeightStandardization()(weight)
    standardized.backward(torch.randn(3, 5))
    assert standardized.abs().max() < 1e-2 and weight.grad.isfinite().all()


def test_which_weights_are_standardised():
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 3, 1, groups=3), nn.Flatten(), nn.Linear(12, 2))
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    standardize_weights(network)
    standardize_weights(network)
    assert [len(weight_steps(layer)) for layer in weight_layers(network)] == [1, 0, 1]
    for layer in (network[0], network[3]):
        torch.testing.assert_close(layer.weight, plainly(original_weight(layer)))
    after = {name.replace("parametrizations.weight.original", "weight"): p for name, p in network.named_parameters()}
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)


class Shifted(nn.Module):
    """Another parametrisation: each weight with its number in the filter added."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight + torch.arange(weight.shape[1])


def test_standardisation_comes_last_whatever_is_asked_for_first():
    first, second = nn.Linear(5, 3), nn.Linear(5, 3)
    second.load_state_dict(first.state_dict())
    parameter = second.weight
    register_first(first, Shifted())
    standardize_weights(first)
    standardize_weights(second)
    register_first(second, Shifted())
    torch.testing.assert_close(first.weight, plainly(Shifted()(parameter)))
    torch.testing.assert_close(second.weight, first.weight)
    assert original_weight(second) is parameter and second.state_dict().keys() == first.state_dict().keys()


def test_a_copy_has_weights_of_its_own():
    encoder = small("group", weight_standardization=True).eval()
    other = copy.deepcopy(encoder)
    x = torch.randn(2, 1, 16, 8)
    expected = encoder(x)
    for parameter in encoder.parameters():
        parameter.data.normal_()
    torch.testing.assert_close(other(x), expected)
    other.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(other(x), encoder(x))
    assert not torch.allclose(encoder(x), expected)


# ----------------------------------------------------------------------------------------- options and refusals


def test_the_usual_encoder_is_as_it_was():
    plain = small()
    keys = {"features.0.weight", "features.1.running_mean", "features.4.bias", "fc.0.weight", "fc.3.bias"}
    assert keys <= plain.state_dict().keys() and not any("parametrizations" in key for key in plain.state_dict())
    spelled = small("batch", weight_standardization=False)
    assert [type(module) for module in plain.modules()] == [type(module) for module in spelled.modules()]


def test_norms_as_configuration():
    config = build(HeadConfig, {"norm": {"kind": "group", "groups": 8, "weight_standardization": "scaled"}}, "test")
    assert config.norm == NormConfig("group", 8, "scaled")
    assert build(NormConfig, {"weight_standardization": True}, "test").weight_standardization is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "instance"}, "there is no norm 'instance'; there are batch, layer, group, none"),
        ({"norm": None}, "there is no norm None"),
        ({"norm": ["layer"]}, r"there is no norm \['layer'\]"),
        ({"norm_groups": 0}, "at least one group, not 0"),
        ({"norm_groups": 2.5}, "at least one group, not 2.5"),
        ({"weight_standardization": "yes"}, "true, false or \"scaled\", not 'yes'"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(UsageError, match=message):
        create_encoder("AudioNTT2022", **options)


def test_trunks_without_plain_batch_norms_are_refused():
    encoder = small()
    encoder.fc.append(nn.BatchNorm1d(12))
    with pytest.raises(UsageError, match="norm='layer' cannot take the place of the encoder's BatchNorm1d"):
        change_norms(encoder, NormConfig("layer"))
    pytest.importorskip("timm")
    with pytest.raises(UsageError, match="cannot take the place of the encoder's BatchNormAct2d"):
        create_encoder("timm:efficientnet_b0", norm="none")
    with pytest.raises(UsageError, match="no batch norm that norm='group' could replace"):
        create_encoder("timm:vit_tiny_patch16_224", norm="group")


@pytest.mark.parametrize("channels", [1, 8])
def test_standardised_weights_keep_channels_last(channels: int) -> None:
    """A convolution with a weight laid out otherwise gives maps laid out otherwise, which cost pooling dear."""
    layer = nn.Conv2d(channels, 16, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    plain = layer.weight.detach().clone(memory_format=torch.preserve_format)
    standardize_weights(layer)
    assert layer.weight.stride() == plain.stride()
    rows = plain.flatten(1)
    expected = (rows - rows.mean(1, keepdim=True)) / (rows.std(1, correction=0, keepdim=True) + 1e-5)
    torch.testing.assert_close(layer.weight.detach(), expected.view(plain.shape))
    x = torch.randn(2, channels, 8, 8).contiguous(memory_format=torch.channels_last)
    assert layer(x).is_contiguous(memory_format=torch.channels_last)
