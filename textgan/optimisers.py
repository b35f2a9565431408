"""The optimisers that a parameter names, and their learning rates as functions of the images seen."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from textgan.params import TrainParams


def build_optimiser(params: TrainParams, weights: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """sgd, rmsprop, adam, adagrad or adamax, with the moments of `params`."""
    kept = list(weights)
    match params.optimiser:
        case "sgd":
            return torch.optim.SGD(kept, lr=lr, momentum=params.beta1)
        case "rmsprop":
            return torch.optim.RMSprop(kept, lr=lr, alpha=params.beta2, momentum=params.beta1)
        case "adam":
            return torch.optim.Adam(kept, lr=lr, betas=(params.beta1, params.beta2), fused=True)
        case "adagrad":
            return torch.optim.Adagrad(kept, lr=lr)
        case "adamax":
            return torch.optim.Adamax(kept, lr=lr, betas=(params.beta1, params.beta2))


def learning_rate(base: float, cur_nimg: int, total_nimg: int, decay: float) -> float:
    """`base`, falling along a line to zero over the last part `decay` of the training."""
    if decay == 0:
        return base
    return base * min(1.0, max(0.0, (total_nimg - cur_nimg) / (decay * total_nimg)))


def set_learning_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """The same for all groups."""
    for group in optimiser.param_groups:
        group["lr"] = lr
