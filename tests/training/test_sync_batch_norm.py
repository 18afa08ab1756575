"""Batch norm and post-norm over two processes are those of one process over the whole batch, gradients too."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from byol_a.encoders import create_encoder
from byol_a.errors import UsageError
from byol_a.methods import BYOL, BYOLConfig, HeadConfig
from byol_a.methods.predictors import MLPPredictorConfig
from byol_a.normalize import post_norm
from byol_a.training.sync_batch_norm import SyncBatchNorm, synchronize_batch_norm

from .conftest import Pair
from .two_processes import WHOLE, normalized, norms, views

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", norms())
def test_two_processes_normalise_like_one(kind: str, pair: Pair) -> None:
    norm, x, weight = norms()[kind]
    whole = normalized(norm, x[WHOLE], weight[WHOLE])
    first, second = pair.first["norms"][kind], pair.second["norms"][kind]
    assert set(first) == set(whole)
    for name, expected in whole.items():
        if name in ("output", "input.grad", "eval"):
            found = torch.cat([first[name], second[name]])
            if name == "eval" and kind == "without memory":  # each process evaluates by its own batch
                continue
        elif name.endswith(".grad"):
            found = first[name] + second[name]  # each process holds the part of its own clips
        else:
            found = first[name]
            assert torch.equal(found, second[name])
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def test_statistics_are_of_float32_under_autocast(pair: Pair) -> None:
    norm, x, _ = norms()["2d"]
    expected = norm.float()(x.bfloat16().float())
    found = torch.cat([pair.first["bf16"], pair.second["bf16"]])
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=1e-2, atol=2e-2)
    assert pair.first["bf16 mean"].dtype == torch.float32
    torch.testing.assert_close(pair.first["bf16 mean"], dict(norm.named_buffers())["0.running_mean"])


def test_views_are_normalised_by_the_statistics_of_all_processes(pair: Pair) -> None:
    found = torch.cat([pair.first["post-norm"], pair.second["post-norm"]])
    torch.testing.assert_close(found, post_norm(views()))


def test_alone_synchronised_post_norm_is_the_plain_one() -> None:
    assert torch.equal(post_norm(views(), synchronized=True), post_norm(views()))


@pytest.mark.parametrize(("device", "kind"), [("cpu", SyncBatchNorm), ("cuda", nn.SyncBatchNorm)])
def test_a_state_dict_does_not_tell_the_difference(device: str, kind: type[nn.Module]) -> None:
    config = BYOLConfig(projector=HeadConfig(8, 4), predictor=MLPPredictorConfig(hidden=8))
    plain = BYOL(create_encoder("AudioNTT2020", n_mels=16, embedding_dim=16), config)
    synchronized = copy.deepcopy(plain)
    synchronize_batch_norm(synchronized, torch.device(device))
    replaced = [module for module in synchronized.modules() if isinstance(module, kind)]
    assert len(replaced) == sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in plain.modules())
    assert not any(module.weight.requires_grad for module in synchronized.target.modules() if type(module) is kind)
    before, after = plain.state_dict(), synchronized.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    plain.load_state_dict(after)
    synchronized.load_state_dict(before)


def test_in_evaluation_it_is_plain_batch_norm() -> None:
    plain = nn.Sequential(nn.BatchNorm2d(3))
    plain(torch.randn(4, 3, 5, 5))
    synchronized = copy.deepcopy(plain).eval()
    synchronize_batch_norm(synchronized, CPU)
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(synchronized(x), plain.eval()(x))


def test_what_is_more_than_a_batch_norm_is_refused() -> None:
    class WithActivation(nn.BatchNorm2d):
        pass

    with pytest.raises(UsageError, match="WithActivation"):
        synchronize_batch_norm(nn.Sequential(WithActivation(3)), CPU)
