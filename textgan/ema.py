"""The moving average of the generator: what is sampled and scored."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def ema_beta(batch_size: int, cur_nimg: int, ema_kimg: float, ema_rampup: float | None) -> float:
    """Decay for one step such that weights halve every `ema_kimg` thousand images (Karras et al. 2020).

    Early on the half-life is at most `ema_rampup` times the images seen; 0 kimg switches averaging off.
    """
    ema_nimg = ema_kimg * 1000
    if ema_rampup is not None:
        ema_nimg = min(ema_nimg, cur_nimg * ema_rampup)
    return 0.5 ** (batch_size / ema_nimg) if ema_nimg > 0 else 0.0


@torch.no_grad()
def update_ema(average: nn.Module, net: nn.Module, beta: float) -> None:
    """average <- beta * average + (1 - beta) * net; buffers are copied."""
    ours: list[Tensor] = list(average.parameters())
    theirs: list[Tensor] = list(net.parameters())
    torch._foreach_lerp_(ours, theirs, 1 - beta)
    for kept, current in zip(average.buffers(), net.buffers(), strict=True):
        kept.copy_(current)
