"""Growing: a training begins at half the size, where an image costs half to two thirds, and goes on at the full one.

After Karras et al. 2018 (progressive growing), in one step and without a fade: G's image is doubled and a block that
adds nothing yet is put behind it. The text encoder goes on, too. What D sees is another scale, so D begins anew; its
heads first learn from real pairs which words go with which image, as all do at the very beginning.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from textgan.errors import UserError
from textgan.networks.layers import grid_of
from textgan.params import TrainParams

LEAST_PX = 48
"""What the frozen network sees of the half size: no less than this, unless of the full one it sees less, too. Of
32 pixels it would see its last level as a single place; photos of 32 came out better where it saw them at 48."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a training does at one size of its images: all of it, or one of two."""

    params: TrainParams
    """Of the networks of this size."""
    width: int
    height: int
    game_nimg: int
    """Until so many images, words alone are learnt."""
    last_nimg: int
    """Where it ends."""
    is_last: bool
    """Whether its G is of the size that will be kept."""


def parts_of(params: TrainParams, width: int, height: int) -> list[Part]:
    """In their order. Raises UserError where the size cannot be grown to."""
    text, end = params.text_kimg * 1000, round(params.total_kimg * 1000)
    if params.grow_kimg == 0:
        return [Part(params, width, height, round(text), end, is_last=True)]
    grown = round(params.grow_kimg * 1000)
    half = Part(at_half_size(params), *half_of(width, height), round(text), grown, is_last=False)
    return [half, Part(params, width, height, round(grown + text / 3), end, is_last=True)]


def at_half_size(params: TrainParams) -> TrainParams:
    """Parameters of the same networks without their finest level."""
    # Of the projected D all levels have as many channels; of one that sees pixels, coarser ones have twice as many.
    times = 2 if params.architecture == "scratch" else 1
    return dataclasses.replace(
        params,
        grow_kimg=0.0,
        g_channels=2 * params.g_channels,
        d_channels=times * params.d_channels,
        extractor_px=min(params.extractor_px, max(LEAST_PX, params.extractor_px // 2)),
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
