"""Objectives equal their formulas; penalties and the choice loss hold on cases that can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from textgan.losses import OBJECTIVES, choice_loss, gradient_penalty, pair_loss, pixel_loss

REAL, FAKE = torch.tensor([-2.0, -0.5, 0.0, 3.0]), torch.tensor([1.5, -0.25, 0.0, -4.0])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


FORMULAS = {
    "hinge": (lambda r, f: max(0, 1 - r) + max(0, 1 + f), lambda r, f: -f),
    "minimax": (lambda r, f: -math.log(sigmoid(r)) - math.log(1 - sigmoid(f)), lambda r, f: math.log(1 - sigmoid(f))),
    "non_saturating": (
        lambda r, f: -math.log(sigmoid(r)) - math.log(1 - sigmoid(f)),
        lambda r, f: -math.log(sigmoid(f)),
    ),
    "relativistic": (lambda r, f: -math.log(sigmoid(r - f)), lambda r, f: -math.log(sigmoid(f - r))),
}


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_objective_equals_its_formula(name):
    """Both sides, value by value."""
    for side, formula in zip((OBJECTIVES[name].d, OBJECTIVES[name].g), FORMULAS[name], strict=True):
        wanted = [formula(r, f) for r, f in zip(REAL.tolist(), FAKE.tolist(), strict=True)]
        torch.testing.assert_close(side(REAL, FAKE), torch.tensor(wanted))


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_g_gains_where_d_is_fooled(name):
    """The gradient of G's loss at the fake logit is never positive, and D's never negative there."""
    fake = FAKE.clone().requires_grad_(True)
    assert (torch.autograd.grad(OBJECTIVES[name].g(REAL, fake).sum(), fake)[0] <= 0).all()
    assert (torch.autograd.grad(OBJECTIVES[name].d(REAL, fake).sum(), fake)[0] >= 0).all()


def test_penalty_of_a_linear_d_is_the_squared_norm_of_its_weights():
    """For every sample, over all inputs."""
    first, second = torch.randn(3, 4, requires_grad=True), torch.randn(3, 2, 5, requires_grad=True)
    weights = torch.randn(4), torch.randn(2, 5)
    logits = first @ weights[0] + (second * weights[1]).sum(dim=(1, 2))
    wanted = sum(weight.square().sum() for weight in weights)
    torch.testing.assert_close(gradient_penalty([first, second], logits), wanted.expand(3))


def test_choice_ignores_texts_that_suit_the_image_too():
    """Their similarity has no say; with no wrong text there is nothing to lose."""
    similarities, right = torch.tensor([[1.0, 5.0, 0.5]]), torch.tensor([0])
    wrong = torch.tensor([[False, False, True]])
    wanted = -math.log(math.exp(1) / (math.exp(1) + math.exp(0.5)))
    torch.testing.assert_close(choice_loss(similarities, right, wrong), torch.tensor([wanted]))
    assert choice_loss(similarities, right, torch.zeros(1, 3, dtype=torch.bool)).item() == 0


def test_pair_loss_is_the_mean_over_levels_and_moves_the_picture_alone():
    """Large levels weigh no more than small ones; no gradient reaches the real side."""
    fake = [torch.zeros(2, 3, 4, 4, requires_grad=True), torch.zeros(2, 1, 1, 1, requires_grad=True)]
    real = [torch.full((2, 3, 4, 4), 2.0, requires_grad=True), torch.full((2, 1, 1, 1), -4.0, requires_grad=True)]
    loss = pair_loss(fake, real)
    assert loss.tolist() == [3.0, 3.0]
    loss.sum().backward()
    assert all(level.grad is None for level in real)
    assert all(level.grad is not None for level in fake)


def test_pixel_loss_sees_masses_and_no_outlines():
    """A checkerboard of single pixels is grey to it; a patch of four by four is not."""
    grey, fine = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    fine[..., ::2, ::2] = fine[..., 1::2, 1::2] = -1
    assert pixel_loss(fine, grey).item() == 0
    coarse = grey.clone()
    coarse[..., :4, :4] = 1
    assert pixel_loss(coarse, grey).item() == 0.25
