"""Closed-form predictors: each one's formula, and what they share about steps, gradients, precision and state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from byol_a.config import to_dict
from byol_a.errors import UsageError
from byol_a.methods.predictors import PREDICTORS, create_predictor, predictor_entry
from byol_a.methods.predictors.batch_matrix import BatchMatrixConfig, BatchMatrixPredictor

from .matrices import error, latents, on_spectrum

CLOSED_FORMS = [name for name, (_, predictor) in PREDICTORS.items() if issubclass(predictor, BatchMatrixPredictor)]
BARE: dict[str, Any] = {"ridge": 0.0, "ema": 0.0, "spectral_scaling": False}


def predictor(name: str, size: int = 32, **options: Any) -> Any:
    """A predictor in training mode."""
    return create_predictor(predictor_entry(name)[0](name=name, **options), size).train()


def projections(seed: int = 0, rows: int = 48, size: int = 8, dtype: torch.dtype = torch.float64) -> Tensor:
    """Noise (N, P)."""
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def fitted(name: str, online: Tensor, target: Tensor, **options: Any) -> Tensor:
    """P of one step in float64, without ridge."""
    one = predictor(name, online.shape[1], **{**BARE, **options}).double()
    one.fit(online, target)
    matrix: Tensor = one(torch.eye(online.shape[1], dtype=torch.float64))
    return matrix


def test_they_are_all_there() -> None:
    names = ["neumann", "visser", "newton_schulz", "newton_schulz2", "stiefel", "direct_copy", "least_squares"]
    assert names == CLOSED_FORMS


def test_the_papers_ridges() -> None:
    ridges = {name: to_dict(PREDICTORS[name][0]())["ridge"] for name in CLOSED_FORMS[:5]}
    assert ridges == {"neumann": 0.15, "visser": 0.0, "newton_schulz": 0.3, "newton_schulz2": 0.6, "stiefel": 0.3}


def test_formulas() -> None:
    online, target = projections(0), projections(1) + projections(0)
    z, t = F.normalize(online, dim=-1), F.normalize(target, dim=-1)
    s, c = z.T @ z / len(z), z.T @ t / len(z)
    root = on_spectrum(s, torch.sqrt)
    torch.testing.assert_close(fitted("direct_copy", online, target), s)
    torch.testing.assert_close(fitted("neumann", online, target), 2 * c - s @ c)
    torch.testing.assert_close(fitted("newton_schulz", online, target, iterations=20), root)
    torch.testing.assert_close(fitted("visser", online, target, iterations=500), root)
    torch.testing.assert_close(fitted("newton_schulz2", online, target, iterations=20), on_spectrum(root, torch.sqrt))
    polar = fitted("stiefel", online, target, iterations=20)
    torch.testing.assert_close(polar / polar.trace() * 8, torch.eye(8, dtype=torch.float64))
    for latent, scale in ((z, True), (online, False)):
        aim = t if scale else target
        solution = np.linalg.lstsq(latent.numpy(), aim.numpy(), rcond=None)[0]
        found = fitted("least_squares", online, target, normalize=scale)
        torch.testing.assert_close(found, torch.from_numpy(solution))


def test_the_other_readings() -> None:
    online, target = projections(0), projections(1)
    torch.testing.assert_close(fitted("direct_copy", online, target, normalize=False), online.T @ online / len(online))
    z, t = F.normalize(online, dim=-1), F.normalize(target, dim=-1)
    literal = 2 * z.T @ t - z.T @ z @ z.T @ t
    torch.testing.assert_close(fitted("neumann", online, target, mean=False), literal)
    scaled = fitted("neumann", online, target, spectral_scaling=True, ridge=0.15)
    p = fitted("neumann", online, target)
    eye = torch.eye(8, dtype=torch.float64)
    torch.testing.assert_close(scaled, p / torch.linalg.matrix_norm(p, 2) + 0.15 * eye, rtol=0, atol=2e-3)


def test_least_squares_with_fewer_rows_than_dimensions_is_the_smallest_solution() -> None:
    online, target = projections(0, rows=5), projections(1, rows=5)
    found = fitted("least_squares", online, target, normalize=False)
    solution = np.linalg.lstsq(online.numpy(), target.numpy(), rcond=None)[0]
    torch.testing.assert_close(found, torch.from_numpy(solution))
    torch.testing.assert_close(online @ found, target)


@pytest.mark.parametrize("name", CLOSED_FORMS)
@pytest.mark.parametrize("kind", ["rank 3", "few", "equal", "zero", "ill"])
@pytest.mark.parametrize("normalize", [True, False])
def test_degenerate_batches_give_finite_predictions_and_gradients(name: str, kind: str, normalize: bool) -> None:
    online = latents(kind).float().requires_grad_()
    one = predictor(name, normalize=normalize)
    for _ in range(3):
        one.begin_step()
        one.fit(online.detach(), online.detach().flip(0))
        prediction = one(online)
        F.cosine_similarity(prediction, torch.ones_like(prediction), dim=-1).sum().backward()
    assert prediction.isfinite().all()
    assert online.grad is not None
    assert online.grad.isfinite().all()


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_float32_is_close_to_float64(name: str) -> None:
    online, target = projections(0, 256, 64), projections(1, 256, 64) + projections(0, 256, 64)
    one, exact = predictor(name, 64), predictor(name, 64).double()
    one.fit(online.float(), target.float())
    exact.fit(online, target)
    assert one(online.float()).dtype == torch.float32
    assert one.average.dtype == torch.float32
    assert exact(online).dtype == torch.float64
    assert error(one(online.float()).double(), exact(online)) < 1e-4


@pytest.mark.parametrize("name", ["newton_schulz", "neumann"])
def test_neither_autocast_nor_fast_products_reach_it(name: str) -> None:
    online, target = projections(0, dtype=torch.float32), projections(1, dtype=torch.float32)
    plain, cast = predictor(name, 8), predictor(name, 8)
    plain.fit(online, target)
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            cast.fit(online, target)
            prediction = cast(online)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(precision)
    assert torch.equal(cast.average, plain.average)
    assert torch.equal(prediction, plain(online))
    assert cast(online.bfloat16()).dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_a_gpu_computes_the_same_whatever_its_products(name: str) -> None:
    online, target = projections(0, 256, 64, torch.float32), projections(1, 256, 64, torch.float32)
    here, there = predictor(name, 64), predictor(name, 64).cuda()
    here.fit(online, target)
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with torch.autocast("cuda", torch.bfloat16):
            there.fit(online.cuda(), target.cuda())
    finally:
        torch.set_float32_matmul_precision(precision)
    assert error(there.average.cpu(), here.average) < 1e-4


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_the_matrix_is_a_constant_of_the_gradient(name: str) -> None:
    online = projections(0, rows=6).requires_grad_()
    one = predictor(name, 8).double()
    assert not list(one.parameters())
    one.fit(online, projections(1, rows=6))
    assert not one.average.requires_grad
    matrix = one(torch.eye(8, dtype=torch.float64))
    one(online).sum().backward()
    assert online.grad is not None
    torch.testing.assert_close(online.grad, matrix.sum(1).expand(6, 8))
    assert torch.autograd.gradcheck(one, (projections(2, rows=3).requires_grad_(),))


def test_the_average_may_move_between_a_prediction_and_its_gradient() -> None:
    online = projections(0).requires_grad_()
    one = predictor("direct_copy", 8).double()
    one.fit(online.detach(), online.detach())
    matrix = one(torch.eye(8, dtype=torch.float64))
    prediction = one(online)
    one.begin_step()
    one.fit(projections(1), projections(1))
    prediction.sum().backward()
    assert online.grad is not None
    torch.testing.assert_close(online.grad, matrix.sum(1).expand_as(online))


def test_the_average_over_steps_by_hand() -> None:
    steps = [fitted("direct_copy", projections(seed), projections(seed)) for seed in range(3)]
    one = predictor("direct_copy", 8, ridge=0.25, ema=0.9, spectral_scaling=False).double()
    eye = torch.eye(8, dtype=torch.float64)
    torch.testing.assert_close(one(eye), 1.25 * eye)  # the identity before the first step
    expected = steps[0]
    for number, step in enumerate(steps):
        one.begin_step()
        one.fit(projections(number), projections(number))
        expected = 0.9 * expected + 0.1 * step if number else expected
        torch.testing.assert_close(one(eye), expected + 0.25 * eye)


@pytest.mark.parametrize("name", ["neumann", "newton_schulz"])
def test_a_step_in_parts_moves_the_average_as_one_of_all_rows(name: str) -> None:
    whole, parts = (predictor(name, 8, ema=0.9).double() for _ in range(2))
    for seed in (0, 2):
        online, target = projections(seed), projections(seed + 1)
        for one, count in ((whole, 1), (parts, 3)):
            one.begin_step()
            for rows, aims in zip(online.chunk(count), target.chunk(count), strict=True):
                one.fit(rows, aims)
        torch.testing.assert_close(parts.average, whole.average)


@pytest.mark.parametrize("steps_before", [0, 2])
def test_a_state_dict_continues_bit_for_bit(steps_before: int) -> None:
    one, other = predictor("visser", 8), predictor("visser", 8)
    for seed in range(steps_before):
        one.begin_step()
        one.fit(projections(seed).float(), projections(seed).float())
    other.load_state_dict(one.state_dict())
    for each in (one, other):
        each.begin_step()
        each.fit(projections(9).float(), projections(9).float())
    assert torch.equal(one.average, other.average)
    assert set(one.state_dict()) == {"average", "started"}


def test_in_eval_mode_it_stays_as_it_is() -> None:
    one = predictor("newton_schulz", 8)
    one.fit(projections(0).float(), projections(1).float())
    before = {name: value.clone() for name, value in one.state_dict().items()}
    one.eval().fit(projections(2).float(), projections(3).float())
    assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_a_run_that_diverges_is_not_hidden(name: str) -> None:
    """No error of a decomposition's, and no finite state: the run's own check finds it."""
    one = predictor(name, 8)
    one.fit(projections().float() * float("nan"), projections().float())
    assert not one.average.isfinite().all()


@pytest.mark.parametrize(
    ("name", "options", "key"),
    [
        ("stiefel", {"ridge": -0.1}, "ridge"),
        ("neumann", {"ema": 1.0}, "ema"),
        ("visser", {"eta": 1.0}, "eta"),
        ("newton_schulz", {"iterations": 0}, "iterations"),
        ("neumann", {"terms": 0}, "terms"),
        ("visser", {"ridge": float("nan")}, "ridge"),
    ],
)
def test_impossible_settings_are_refused(name: str, options: dict[str, Any], key: str) -> None:
    with pytest.raises(UsageError, match=rf"method\.predictor\.{key}"):
        predictor(name, **options)


def test_every_closed_form_can_be_told_the_same() -> None:
    shared = set(to_dict(BatchMatrixConfig()))
    for name in CLOSED_FORMS:
        assert shared <= set(to_dict(PREDICTORS[name][0]()))
