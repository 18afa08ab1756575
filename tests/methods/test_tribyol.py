"""TriBYOL: three views, and two targets that move in turn."""

from __future__ import annotations

import copy

import pytest
import torch

from byol_a.methods.losses.regression import regression_loss

from .small import learn, small_method, views


def test_the_loss_is_half_of_each_pair_with_its_own_target() -> None:
    tribyol = small_method("tribyol")
    learn(tribyol, 3)  # until then the targets are alike
    x = views(3)
    with torch.no_grad():
        p1, p2, p3 = (tribyol.predictor(tribyol.online(view)[1]) for view in x)
        u1, u2 = (tribyol.target1(view)[1] for view in x[:2])
        w1, w3 = (tribyol.target2(view)[1] for view in x[[0, 2]])
        left = regression_loss(p1, u2) + regression_loss(p2, u1)
        right = regression_loss(p1, w3) + regression_loss(p3, w1)
        torch.testing.assert_close(tribyol(x).loss, (left / 2 + right / 2).mean())


def test_the_targets_move_in_turn_and_come_apart() -> None:
    tribyol = small_method("tribyol", tau=0.5)
    with torch.no_grad():
        for parameter in tribyol.online.parameters():
            parameter.add_(1.0)
    for step, (moving, resting) in enumerate([(1, 2), (2, 1), (1, 2)]):
        before = copy.deepcopy(tribyol.state_dict())
        tribyol.end_step(step, 10)
        after = tribyol.state_dict()
        for name, _ in tribyol.online.named_parameters():
            online = before[f"online.{name}"]
            expected = 0.5 * before[f"target{moving}.{name}"] + 0.5 * online
            torch.testing.assert_close(after[f"target{moving}.{name}"], expected)
            assert torch.equal(after[f"target{resting}.{name}"], before[f"target{resting}.{name}"])
    assert not torch.equal(after["target1.projector.0.weight"], after["target2.projector.0.weight"])


def test_the_other_reading_moves_both_and_keeps_them_one() -> None:
    tribyol = small_method("tribyol", update="both")
    learn(tribyol, 3)
    targets = zip(tribyol.target1.named_parameters(), tribyol.target2.parameters(), strict=True)
    assert all(torch.equal(parameter, other) for (_, parameter), other in targets)


def test_no_gradient_reaches_a_target_and_the_loss_falls() -> None:
    tribyol = small_method("tribyol", tau=1.0)
    tribyol(views(3)).loss.backward()
    targets = [*tribyol.target1.parameters(), *tribyol.target2.parameters()]
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in targets)
    tribyol.zero_grad()
    losses = learn(tribyol, 30)
    assert sum(losses[-5:]) / 5 < 0.8 * losses[0]


@pytest.mark.parametrize("predictor", ["newton_schulz", "none"])
@pytest.mark.parametrize("loss", ["ccsl", "byol"])
def test_it_takes_every_piece(predictor: str, loss: str) -> None:
    tribyol = small_method("tribyol", predictor=predictor, loss=loss, regularizers={"uniformity": {}})
    assert all(torch.isfinite(torch.tensor(learn(tribyol, 3))))
