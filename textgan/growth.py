"""Growing: a training begins at half the size, where an image costs about half, and goes on at the full one.

After Karras et al. 2018 (progressive growing), in one step and without a fade: G's image is doubled and a block that
adds nothing yet is put behind it. The text encoder goes on, too. What D sees is another scale, so D begins anew; its
heads first learn from real pairs which words go with which image, as all do at the very beginning.
"""

from __future__ import annotations

import dataclasses

from textgan.errors import UserError
from textgan.networks.layers import grid_of
from textgan.params import TrainParams
from textgan.training import Training

LEAST_PX = 32
"""The frozen network has a stride of 32."""


def at_half_size(params: TrainParams) -> TrainParams:
    """Parameters of the same networks without their finest level."""
    # Of the projected D all levels have as many channels; of one that sees pixels, coarser ones have twice as many.
    times = 2 if params.architecture == "scratch" else 1
    return dataclasses.replace(
        params,
        grow_kimg=0.0,
        g_channels=2 * params.g_channels,
        d_channels=times * params.d_channels,
        extractor_px=max(LEAST_PX, params.extractor_px // 2),
    )


def half_of(width: int, height: int) -> tuple[int, int]:
    """The size to begin with. Raises UserError where there is none."""
    half = width // 2, height // 2
    try:
        if (2 * half[0], 2 * half[1]) != (width, height):
            raise ValueError("it has no half")
        grid_of(*half)
    except ValueError as error:
        raise UserError(
            f"params.yaml: images: {width}x{height} cannot be grown to: {error}; set train.grow_kimg to 0"
        ) from None
    return half


def grow(half: Training, full: Training) -> None:
    """Let `full` go on where `half` stands. Optimisers begin anew: moments of the text encoder and of G, which go on,
    come back within steps (beta2 0.99 remembers a hundred)."""
    ours, theirs = full.networks, half.networks
    ours.G.grow_from(theirs.G)
    ours.text.load_state_dict(theirs.text.state_dict())
    ours.G_ema.generator.grow_from(theirs.G_ema.generator)
    ours.G_ema.text.load_state_dict(theirs.G_ema.text.state_dict())
    full.state = half.state
    full.state.grown = True
