"""Objectives equal their formulas; penalties and the choice loss hold on cases that can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from textgan.losses import (
    OBJECTIVES,
    choice_loss,
    distances,
    energy_score,
    feature_distance,
    gradient_penalty,
    pixel_distance,
)

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


def test_feature_distance_is_the_mean_over_levels():
    """Large levels weigh no more than small ones."""
    fake = [torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 1, 1)]
    real = [torch.full((2, 3, 4, 4), 2.0), torch.full((2, 1, 1, 1), -4.0)]
    assert feature_distance(fake, real).tolist() == [3.0, 3.0]


def test_pixel_distance_sees_masses_and_no_outlines():
    """A checkerboard of single pixels is grey to it; a patch of four by four is not."""
    grey, fine = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    fine[..., ::2, ::2] = fine[..., 1::2, 1::2] = -1
    assert pixel_distance([fine], [grey]).item() == 0
    coarse = grey.clone()
    coarse[..., :4, :4] = 1
    assert pixel_distance([coarse], [grey]).item() == 0.25


def score(made: Tensor, real: Tensor, group: int) -> Tensor:
    return energy_score(*distances(feature_distance, [made.view(-1, 1, 1, 1)], [real.view(-1, 1, 1, 1)], group))


def test_energy_score_is_its_formula():
    """E d(f, r) - E d(f, f') / 2 over three pictures of one caption; a single one has its distance alone."""
    made, real = torch.tensor([0.0, 1.0, 5.0]), torch.full((3,), 2.0)
    assert score(made, real, group=3).mean().item() == pytest.approx((2 + 1 + 3) / 3 - (1 + 4 + 5) / 3 / 2)
    assert score(made, real, group=1).tolist() == [2, 1, 3]


def test_energy_score_wants_the_spread_of_the_data():
    """Against numbers of deviation 1, pictures of that deviation score best; alone, those that do not vary."""
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(40_000, generator=generator).repeat_interleave(2)
    noise, spreads = torch.randn(80_000, generator=generator), (0.0, 0.5, 1.0, 1.5, 2.0)
    pairs, alone = ([score(spread * noise, real, group).mean().item() for spread in spreads] for group in (2, 1))
    assert pairs.index(min(pairs)) == 2 and alone == sorted(alone)


def test_energy_score_moves_all_pictures_of_a_caption():
    """Of two on one side of the real image the nearer is moved by both terms; on the farther they cancel."""
    made = torch.tensor([1.0, 3.0], requires_grad=True)
    score(made, torch.zeros(2), group=2).sum().backward()
    assert made.grad is not None and made.grad.tolist() == [2.0, 0.0]
