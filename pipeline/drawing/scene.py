"""A sketch becomes a picture: backdrop, ground, shadow, relief, light, framing and side."""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image, ImageFilter

from pipeline.drawing.sketch import Sketch
from textgan.facts.drawn import BACKGROUND_PALETTE, FRAMING_SIZE, LIGHT_GAIN

SMALLER_SIDE = 256
LARGER_SIDE = 340
EDGE = 0.04
"""Nothing of the object comes nearer to the edge of the central square than this part of it."""
_OVERSAMPLE = 3
_MARGIN = 4
_GRID = 4
"""The backdrop's light is computed on every fourth pixel: it has no finer detail."""


@functools.cache
def _fur() -> np.ndarray:
    """Fixed short vertical streaks around 0, [512,512] float32."""
    noise = Image.fromarray(np.random.Generator(np.random.PCG64(7)).integers(0, 256, (512, 512), dtype=np.uint8))
    streaks = np.asarray(noise.resize((512, 128), Image.Resampling.BOX).resize((512, 512), Image.Resampling.BICUBIC))
    return (streaks.astype(np.float32) - 127.5) / 127.5


def render(sketch: Sketch, facts: dict[str, str], rng: np.random.Generator, furry: bool) -> np.ndarray:
    """The picture of a sketch that faces right: uint8 [H,W,3], smaller side 256."""
    width, height = _picture_size(rng)
    square = min(width, height)
    left, top = (width - square) // 2, (height - square) // 2
    low, high = sketch.bounds()
    extent = high - low
    longer = square * (FRAMING_SIZE[facts["framing"]] + rng.uniform(-0.025, 0.025))
    scale = longer / extent.max()
    object_width, object_height = extent * scale / square
    centre = _centre(facts["side"], object_width, rng)
    bottom = min(1 - EDGE, 0.5 + object_height / 2 + rng.uniform(0.06, 0.14))
    from_left = 1 if rng.random() < 0.5 else -1

    tile, mask, heights = _rasterise(sketch, scale, facts["facing"] == "left")
    gain = LIGHT_GAIN[facts["light"]] * rng.uniform(0.975, 1.025)
    x0 = left + round(centre * square - mask.shape[1] / 2)
    y0 = top + round(bottom * square) - mask.shape[0] + _MARGIN
    foot = (x0 + mask.shape[1] / 2 - from_left * 0.03 * square, y0 + mask.shape[0] - _MARGIN, object_width * square / 2)
    picture = _backdrop(width, height, BACKGROUND_PALETTE[facts["background"]], gain, foot, from_left, rng)

    shade = gain * (1 + _relief(heights, from_left))
    if furry:
        y, x = rng.integers(0, 512 - 300, 2)
        shade *= 1 + 0.07 * _fur()[y : y + mask.shape[0], x : x + mask.shape[1]]
    tile *= shade[..., None]
    window = picture[y0 : y0 + mask.shape[0], x0 : x0 + mask.shape[1]]
    y1, x1 = window.shape[:2]
    window += (tile[:y1, :x1] - window) * mask[:y1, :x1, None]
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def _picture_size(rng: np.random.Generator) -> tuple[int, int]:
    longer = int(rng.integers(SMALLER_SIDE, LARGER_SIDE + 1))
    return (longer, SMALLER_SIDE) if rng.random() < 0.7 else (SMALLER_SIDE, longer)


def _centre(side: str, object_width: float, rng: np.random.Generator) -> float:
    """Centre of the object in the central square, 0..1."""
    if side == "centre":
        return 0.5 + rng.uniform(-0.02, 0.02)
    near = EDGE + object_width / 2 + rng.uniform(0, 0.03)
    return near if side == "left" else 1 - near


def _rasterise(sketch: Sketch, scale: float, mirrored: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours [h,w,3], mask [h,w] in 0..1 and smoothed heights [h,w] in 0..1."""
    colours, heights = sketch.paint(scale, mirrored, _MARGIN, _OVERSAMPLE)
    mask = heights.point(_SOLID).reduce(_OVERSAMPLE)
    blur = max(1.0, 0.03 * max(mask.size))
    smooth = heights.reduce(_OVERSAMPLE).filter(ImageFilter.GaussianBlur(blur))
    return (
        np.asarray(colours.reduce(_OVERSAMPLE)).astype(np.float32),
        np.asarray(mask).astype(np.float32) / 255,
        np.asarray(smooth).astype(np.float32) / 255,
    )


_SOLID = [0] + [255] * 255


def _relief(heights: np.ndarray, from_left: int) -> np.ndarray:
    """How much brighter each place is for its slope towards the light: [h,w] in -0.22..0.16."""
    rise_x, rise_y = np.zeros_like(heights), np.zeros_like(heights)
    rise_x[:, 1:-1] = heights[:, 2:] - heights[:, :-2]
    rise_y[1:-1] = heights[2:] - heights[:-2]
    slope = (rise_y + 0.5 * from_left * rise_x) * (0.03 * max(heights.shape)) ** 0.8
    return np.clip(slope * 0.9, -0.22, 0.16)


def _backdrop(
    width: int,
    height: int,
    colour: tuple[int, int, int],
    gain: float,
    foot: tuple[float, float, float],
    from_left: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """A plain wall and its ground in one tone, lit softly, with the object's shadow: float32 [H,W,3]."""
    columns, rows = -(-width // _GRID), -(-height // _GRID)
    x = (np.arange(columns, dtype=np.float32)[None] + 0.5) * _GRID
    y = (np.arange(rows, dtype=np.float32)[:, None] + 0.5) * _GRID
    horizon = foot[1] - SMALLER_SIDE * rng.uniform(0.06, 0.16)
    ground = np.clip((y - horizon) / 6 + 0.5, 0, 1)
    slope = from_left * (0.5 - x / width) * 0.07 + (0.4 - y / height) * 0.05
    cloud = rng.uniform(-1, 1, (5, 6)).astype(np.float32)
    clouds = np.asarray(Image.fromarray(cloud).resize((columns, rows), Image.Resampling.BICUBIC))
    light = 1 + slope + 0.02 * clouds - 0.09 * ground
    middle_x, middle_y, reach = foot
    distance = ((x - middle_x) / (reach * 1.05)) ** 2 + ((y - middle_y) / (reach * 0.16 + 4)) ** 2
    light *= 1 - 0.2 / (1 + distance**2)
    full = Image.fromarray((gain * light).astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(full)[..., None] * np.array(colour, dtype=np.float32)
