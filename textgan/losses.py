"""The objectives: pure functions of logits; reduction, weights and reporting belong to the caller.

N batch, M texts
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


def hinge_d(real: Tensor, fake: Tensor) -> Tensor:  # same shapes -> same shape
    """max(0, 1 - real) + max(0, 1 + fake) (Lim and Ye 2017)."""
    return F.relu(1 - real) + F.relu(1 + fake)


def hinge_g(real: Tensor, fake: Tensor) -> Tensor:
    """-fake."""
    return -fake


def logistic_d(real: Tensor, fake: Tensor) -> Tensor:
    """-log sigmoid(real) - log(1 - sigmoid(fake)) (Goodfellow et al. 2014, both of its games)."""
    return F.softplus(-real) + F.softplus(fake)


def non_saturating_g(real: Tensor, fake: Tensor) -> Tensor:
    """-log sigmoid(fake) (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-fake)


def minimax_g(real: Tensor, fake: Tensor) -> Tensor:
    """log(1 - sigmoid(fake)) (Goodfellow et al. 2014, equation 1)."""
    return -F.softplus(fake)


def relativistic_d(real: Tensor, fake: Tensor) -> Tensor:
    """-log sigmoid(real - fake), pair by pair (Jolicoeur-Martineau 2019; Huang et al. 2024)."""
    return F.softplus(fake - real)


def relativistic_g(real: Tensor, fake: Tensor) -> Tensor:
    """-log sigmoid(fake - real)."""
    return F.softplus(real - fake)


Game = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Objective:
    """The two sides of one game, each a function (real logits, fake logits) -> loss of the same shape."""

    d: Game
    g: Game
    g_needs_real: bool = False


OBJECTIVES = {
    "hinge": Objective(hinge_d, hinge_g),
    "non_saturating": Objective(logistic_d, non_saturating_g),
    "minimax": Objective(logistic_d, minimax_g),
    "relativistic": Objective(relativistic_d, relativistic_g, g_needs_real=True),
}


def gradient_penalty(inputs: Sequence[Tensor], logits: Tensor) -> Tensor:  # [N,...] each, [N] -> [N]
    """Squared norm of the gradient of D at its inputs: R1 on real, R2 on generated ones (Mescheder et al. 2018)."""
    gradients = torch.autograd.grad(logits.sum(), list(inputs), create_graph=True)
    return torch.stack([gradient.flatten(1).square().sum(dim=1) for gradient in gradients]).sum(dim=0)


def choice_loss(similarities: Tensor, right: Tensor, wrong: Tensor) -> Tensor:  # [N,M], [N], [N,M] bool -> [N]
    """Cross-entropy of picking an image's own text (`right`, an index) among those that are `wrong` for it.

    Texts that are neither (they suit the image too) take no part: they would be false mismatches.
    """
    own = F.one_hot(right, similarities.shape[1]).bool()
    return F.cross_entropy(similarities.masked_fill(~(own | wrong), -1e4), right, reduction="none")


def pair_loss(fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:  # [N,C,H,W] each, alike -> [N]
    """Mean absolute difference over the levels of D's features, each level with the same weight.

    A perceptual distance (Johnson et al. 2016) between a picture and the real image of the same caption,
    beside the game as in Isola et al. 2017: the game alone is content with an outline in the right colour.
    """
    levels = [(a - b.detach()).abs().flatten(1).mean(dim=1) for a, b in zip(fake, real, strict=True)]
    return torch.stack(levels).mean(dim=0)


def pixel_loss(fake: Tensor, real: Tensor) -> Tensor:  # [N,3,H,W] each -> [N]
    """Mean absolute difference of pictures at a quarter of their size: colours and masses, no outlines.

    The L1 term of Isola et al. 2017; at full size it would blur what the game has sharpened.
    """
    return (F.avg_pool2d(fake, 4) - F.avg_pool2d(real, 4)).abs().flatten(1).mean(dim=1)
