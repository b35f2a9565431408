"""What a photo offers as evidence: CIELAB statistics inside and outside of the object, and features inside it."""

from __future__ import annotations

import numpy as np

from pipeline import imaging
from pipeline.captioners.classifier import GRID, activation_map
from pipeline.captioners.saliency import usable
from textgan.facts.colour import photo_prototypes, srgb_to_lab
from textgan.facts.schema import COLOURS

SIDE_PX = 160
"""Colours are counted at this size."""
_INSIDE, _OUTSIDE = 0.5, 0.2
"""Saliency above which a pixel is the object's, and below which it is not."""
_EDGE_PX = 2
"""Pixels this near the outline are left out: they mix object and background."""
_MIN_PIXELS = 200
_HUES = 8
_EVERYWHERE = 0.02
"""Weight of the surroundings when features are pooled inside the object."""


def object_mask(saliency: np.ndarray, features: np.ndarray, kind: str) -> np.ndarray:  # -> float32 [160,160] in 0..1
    """The saliency map; where it missed the object, the class activation map."""
    if usable(saliency):
        source = saliency
    else:
        source = activation_map(features, kind)
    return _stretched(source, SIDE_PX)


def _stretched(values: np.ndarray, side: int) -> np.ndarray:
    """A map in 0..1 at another size: by area when shrinking, linear when growing."""
    height, width = values.shape
    if height % side == 0 and width % side == 0:
        return values.reshape(side, height // side, side, width // side).mean(axis=(1, 3))
    rows, columns = _positions(height, side), _positions(width, side)
    top, left = rows.astype(int), columns.astype(int)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    y, x = (rows - top)[:, None], (columns - left)[None]
    upper = values[np.ix_(top, left)] * (1 - x) + values[np.ix_(top, right)] * x
    lower = values[np.ix_(bottom, left)] * (1 - x) + values[np.ix_(bottom, right)] * x
    return upper * (1 - y) + lower * y


def _positions(size: int, side: int) -> np.ndarray:
    return np.clip((np.arange(side) + 0.5) * size / side - 0.5, 0, size - 1)


def evidence(pixels: np.ndarray, mask: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The vector that the probes read: uint8 [H,W,3], [160,160], [8,8,1280] -> float32 [1280 + colours + place]."""
    weights = _stretched(mask, GRID) + _EVERYWHERE
    pooled = (features * weights[..., None]).sum(axis=(0, 1)) / weights.sum()
    return np.concatenate([pooled, colours(pixels, mask), place(mask)]).astype(np.float32)


def colours(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:  # -> [90]
    """CIELAB of the object: lightness and chroma quantiles, shares of dark, light and each hue; the same of
    its middle and of the outside; the lightness of the whole; the votes of the middle for each colour name."""
    lab = srgb_to_lab(np.ascontiguousarray(imaging.resize(pixels, SIDE_PX, SIDE_PX)))
    inside = _eroded(mask > _INSIDE)
    if inside.sum() < _MIN_PIXELS:
        inside = np.zeros_like(inside)
        inside[SIDE_PX // 4 : -SIDE_PX // 4, SIDE_PX // 4 : -SIDE_PX // 4] = True
    outside = mask < _OUTSIDE
    if outside.sum() < _MIN_PIXELS:
        outside = np.ones_like(outside)
    whole = np.percentile(lab[..., 0], [5, 25, 50, 75, 95])
    parts = [_statistics(points) for points in (lab[inside], lab[_trunk(inside)], lab[outside])]
    votes = photo_prototypes().distances(lab[_trunk(inside)]).argmin(axis=-1)
    names = np.bincount(votes, minlength=len(COLOURS)) / len(votes)
    return np.concatenate([*parts, whole, names])


def _trunk(inside: np.ndarray) -> np.ndarray:
    """The middle of the object: of a car the painted sides, without windows, wheels and shadow."""
    rows, columns = np.nonzero(inside)
    top, bottom = np.percentile(rows, [35, 75])
    left, right = np.percentile(columns, [15, 85])
    middle = np.zeros_like(inside)
    middle[int(top) : int(bottom) + 1, int(left) : int(right) + 1] = True
    return inside & middle if (inside & middle).any() else inside


def _statistics(points: np.ndarray) -> np.ndarray:  # [N,3] -> [24]
    lightness, a, b = points.T
    chroma = np.hypot(a, b)
    hue = np.floor((np.arctan2(b, a) + np.pi) / (2 * np.pi) * _HUES).astype(int) % _HUES
    coloured = np.clip((chroma - 12) / 15, 0, 1)
    hues = np.bincount(hue, weights=coloured, minlength=_HUES) / len(points)
    shares = [(lightness < 25).mean(), ((lightness > 70) & (chroma < 18)).mean(), (chroma > 22).mean()]
    return np.concatenate(
        [
            np.percentile(lightness, [10, 25, 50, 75, 90]),
            [a.mean(), b.mean(), np.median(a), np.median(b), lightness.std()],
            np.percentile(chroma, [25, 50, 75]),
            shares,
            hues,
        ]
    )


def _eroded(inside: np.ndarray) -> np.ndarray:
    kept = inside.copy()
    for dy in (-_EDGE_PX, 0, _EDGE_PX):
        for dx in (-_EDGE_PX, 0, _EDGE_PX):
            kept &= np.roll(inside, (dy, dx), (0, 1))
    return kept


def place(mask: np.ndarray) -> np.ndarray:  # [160,160] -> [8]
    """Where the object is: its share of the picture, centre, extent and the borders that it touches."""
    inside = mask > _INSIDE
    if not inside.any():
        return np.array([0, 0.5, 0.5, 0, 0, 0, 0, 0])
    rows, columns = np.nonzero(inside)
    side = mask.shape[0]
    quantiles = [np.percentile(values, [2, 98]) / side for values in (rows, columns)]
    touches = [inside[0].mean(), inside[:, 0].mean(), inside[:, -1].mean()]
    extents = [high - low for low, high in quantiles]
    return np.array([inside.mean(), columns.mean() / side, rows.mean() / side, *extents, *touches])
