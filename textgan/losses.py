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


Distance = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]  # [N,C,H,W] each, alike -> [N]


def feature_distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:  # [N,C,H,W] each, alike -> [N]
    """Mean absolute difference over levels of D's features, each level with the same weight (Johnson et al. 2016)."""
    levels = [(one - other).abs().flatten(1).mean(dim=1) for one, other in zip(a, b, strict=True)]
    return torch.stack(levels).mean(dim=0)


def pixel_distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:  # [N,3,H,W] each, alike -> [N]
    """Mean absolute difference of pictures at a quarter of their size: colours and masses, no outlines.

    The L1 term of Isola et al. 2017; at full size it would blur what the game has sharpened.
    """
    return feature_distance([F.avg_pool2d(images, 4) for images in a], [F.avg_pool2d(images, 4) for images in b])


def distances(
    distance: Distance, fake: Sequence[Tensor], real: Sequence[Tensor], group: int
) -> tuple[Tensor, Tensor | None]:  # [N,C,H,W] each -> [N] to the real image, [N] apart (None: nothing to compare)
    """How far pictures lie from a real image of their caption and from each other; `group` neighbours have one."""
    far = distance(fake, real)
    if group == 1:
        return far, None
    others = [level.unflatten(0, (-1, group)).roll(1, dims=1).flatten(0, 1) for level in fake]
    return far, distance(fake, others)


def energy_score(far: Tensor, apart: Tensor | None) -> Tensor:  # [N], [N] -> [N]
    """E d(f, r) - E d(f, f') / 2 (Gneiting and Raftery 2007, section 4): how well pictures stand for a real image.

    Several pictures of a caption do best where they are spread as its real images are: the score is proper, of each
    number that is compared, and both expectations are the same then. A single one does best as the mean of all.
    """
    return far if apart is None else far - apart / 2
