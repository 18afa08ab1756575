"""What holds for all launches: results that do not depend on chance, compiled and captured surroundings."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol_a.kernels import Kernels
from byol_a.kernels.functions import first_block, later_block, relu_dropout, relu_pool_time

from .conftest import INTERPRETED
from .maps import assert_near

on_gpu = pytest.mark.skipif(INTERPRETED, reason="a GPU's own: the interpreter runs on the CPU")


class Network(nn.Module):
    """Two blocks and a pooled layer of AudioNTT's kind, each way."""

    def __init__(self, kernels: Kernels, n_mels: int) -> None:
        super().__init__()
        self.kernels = kernels
        self.convs = nn.ModuleList([nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(16), nn.BatchNorm2d(16)])
        self.fc = nn.Linear(16 * (n_mels // 4), 32)

    def forward(self, x: Tensor) -> Tensor:
        x = first_block(self.kernels, x, self.convs[0], self.norms[0])
        x = later_block(self.kernels, self.convs[1](x), self.norms[1])
        return relu_pool_time(self.kernels, self.fc(x.permute(0, 3, 2, 1).flatten(2)))

    def plain(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.max_pool2d(norm(conv(x)).relu(), 2)
        x = self.fc(x.permute(0, 3, 2, 1).flatten(2)).relu()
        return x.amax(dim=1) + x.mean(dim=1)


def test_a_network_has_torchs_values_gradients_and_statistics(kernels: Kernels, device: str) -> None:
    torch.manual_seed(0)
    network = Network(kernels, n_mels=8).to(device).double()
    x = torch.randn(3, 1, 8, 18, device=device, dtype=torch.float64)
    found = []
    for forward in (network.forward, network.plain):
        for norm in network.norms:
            norm.reset_running_stats()
        out = forward(x)
        gradients = torch.autograd.grad((out * torch.arange(32, device=device)).sum(), network.parameters())
        found.append([out, *gradients, *(norm.running_var.clone() for norm in network.norms)])
    for actual, expected in zip(*found, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def test_torch_compile_goes_around_them(kernels: Kernels, device: str) -> None:
    torch.manual_seed(0)
    network = Network(kernels, n_mels=8).to(device)
    x = torch.randn(2, 1, 8, 8, device=device)
    compiled = torch.compile(network, backend="eager")
    expected, out = network(x), compiled(x)
    out.sum().backward()
    assert_near(out, expected, 1e-6)
    assert all(parameter.grad is not None for parameter in network.parameters())


def all_results(kernels: Kernels, device: str, dtype: torch.dtype) -> list[Tensor]:
    """Of every method, on maps large enough for many programs."""
    generator = torch.Generator(device).manual_seed(0)

    def randn(*shape: int, kind: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, generator=generator, device=device).to(kind)

    def feature_map(height: int, width: int) -> Tensor:
        return randn(64, height, width, 64, kind=dtype).permute(0, 3, 1, 2)

    x, weight, bias, slope = randn(64, 1, 64, 96), randn(64, 9), randn(64), randn(64)
    full, gradient = feature_map(32, 48), feature_map(16, 24)
    block, pooled, of_full = torch.empty_like(full), torch.empty_like(gradient), torch.empty_like(full)
    frames, clips = randn(64, 24, 2048, kind=dtype), torch.empty(64, 2048, device=device)
    kernels.conv_relu_pool(x, weight, bias, block)
    kernels.affine_relu_pool(full, bias, slope, pooled)
    kernels.affine_relu_pool_backward(full, bias, slope, gradient, slope, bias, of_full)
    kernels.relu_pool_time(frames, clips)
    dropped = kernels.relu_dropout(frames, 0.3, torch.tensor(5, device=device))
    return [
        *kernels.patch_moments(x), block, *kernels.conv_relu_pool_backward(x, weight, bias, full),
        *kernels.channel_moments(full), pooled, *kernels.affine_relu_pool_sums(full, bias, slope, gradient), of_full,
        clips, kernels.relu_pool_time_backward(frames, clips), dropped,
        kernels.relu_dropout_backward(frames, dropped, 0.3),
    ]  # fmt: skip


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sums_are_the_same_bit_for_bit_each_time(kernels: Kernels, device: str, dtype: torch.dtype) -> None:
    first = all_results(kernels, device, dtype)
    for _ in range(3):
        again = all_results(kernels, device, dtype)
        assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))


@on_gpu
def test_a_network_in_bfloat16_has_the_gradients_of_float64(kernels: Kernels, device: str) -> None:
    torch.manual_seed(0)
    network = Network(kernels, n_mels=64).to(device)
    x = torch.randn(64, 1, 64, 96, device=device)
    with torch.autocast(device, torch.bfloat16):
        out = network(x)
    share = torch.linspace(-1, 1, 32, device=device, dtype=torch.float64)
    found = torch.autograd.grad((out.double() * share).sum(), network.parameters())
    expected = torch.autograd.grad((network.double().plain(x.double()) * share).sum(), network.parameters())
    for (name, _), actual, wanted in zip(network.named_parameters(), found, expected, strict=True):
        if name not in ("convs.0.bias", "convs.1.bias"):  # batch norm takes them away: only rounding is left
            similarity = F.cosine_similarity(actual.flatten().double(), wanted.flatten(), dim=0)
            assert similarity > 0.95, name


@on_gpu
def test_nothing_waits_for_the_gpu(kernels: Kernels, device: str) -> None:
    seed = torch.tensor(5, device=device)
    x = torch.randn(16, 16, 8, 8, device=device).contiguous(memory_format=torch.channels_last)
    image, weight, bias = x[:, :1].contiguous(), torch.ones(16, 9, device=device), torch.ones(16, device=device)
    for mode in ("default", "error"):  # the first time kernels are compiled
        torch.cuda.set_sync_debug_mode(mode)
        try:
            out = x.new_empty(16, 4, 4, 16).permute(0, 3, 1, 2)
            kernels.patch_moments(image)
            kernels.conv_relu_pool(image, weight, bias, out)
            kernels.conv_relu_pool_backward(image, weight, bias, out)
            kernels.channel_moments(x)
            kernels.affine_relu_pool(x, bias, bias, out)
            kernels.affine_relu_pool_sums(x, bias, bias, out)
            kernels.affine_relu_pool_backward(x, bias, bias, out, bias, bias, torch.empty_like(x))
            kernels.relu_dropout_backward(x, kernels.relu_dropout(x, 0.3, seed), 0.3)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@on_gpu
def test_a_captured_graph_replays_with_a_new_mask(kernels: Kernels, device: str) -> None:
    network = Network(kernels, n_mels=8).to(device)
    x = torch.randn(4, 1, 8, 16, device=device)

    def step() -> Tensor:
        network.zero_grad(set_to_none=False)
        loss = relu_dropout(kernels, network(x), 0.5).sum()
        loss.backward()
        return loss.detach()

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step()
    losses = []
    for _ in range(4):
        graph.replay()
        losses.append(float(loss))
    assert len(set(losses)) == 4
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
