"""Faster or repeatable arithmetic, by parameter: bfloat16, torch.compile, deterministic kernels.

Wired around the training loop, which knows nothing of it. Weights, gradients, optimiser moments, moving
averages, spectral norms and samples stay in fp32 whatever the precision.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from textgan.networks.build import Networks
from textgan.networks.layers import is_spectral_norm
from textgan.networks.projected import ProjectedDiscriminator
from textgan.params import TrainParams

BACKEND = "inductor"
"""Of torch.compile."""


def set_determinism(params: TrainParams, device: torch.device) -> None:
    """Choose the kernels of a GPU; before anything is computed on it, for cuBLAS reads its workspace size once."""
    if device.type != "cuda":
        return
    if params.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(params.deterministic)
    torch.backends.cudnn.deterministic = params.deterministic
    torch.backends.cudnn.benchmark = not params.deterministic  # sizes never change: the search pays


def accelerate(networks: Networks, params: TrainParams, device: torch.device) -> None:
    """Prepare the networks for `precision` and `compile`, in place; names and places of weights stay as they are."""
    if params.precision == "bf16":
        for module in networks.D.modules():
            if is_spectral_norm(module):  # u, v and sigma must not be rounded to eight bits
                module.forward = torch.autocast(device.type, enabled=False)(module.forward)  # type: ignore[method-assign]
    if params.compile:
        # Not the heads of D: gradient penalties need second derivatives, which compiled code has not.
        networks.G.compile(backend=BACKEND)
        if isinstance(networks.D, ProjectedDiscriminator):
            setattr(networks.D.net, "pyramid", torch.compile(networks.D.net.pyramid, backend=BACKEND))  # noqa: B010


def precision(params: TrainParams, device: torch.device) -> torch.autocast:
    """The context of all steps. Casts are not cached: the weights change within it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=params.precision == "bf16", cache_enabled=False)


def in_full_precision(function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """The function, outside of `precision`."""
    return torch.autocast(device.type, enabled=False)(function)
