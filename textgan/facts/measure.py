"""The facts of drawn pictures, measured again from their pixels: what evaluation asks of real and generated ones.

No network: the backdrop is read from the border, the object is what differs from it, its colour is
the name that most of its pixels vote for, its kind follows from its outline (`kind_probe.json`,
fitted by benchmarks/fit_kind_probe.py on drawn pictures).
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textgan.facts.colour import Prototypes, srgb_to_lab
from textgan.facts.drawn import BACKGROUND_PALETTE, FRAMING_SIZE, LIGHT_GAIN, OBJECT_PALETTE
from textgan.facts.schema import Fact
from textgan.files import fingerprint

SOURCE = "drawn-pixels"
VERSION = 1
"""Counts up when the same tables and thresholds come to say other things of a picture."""
SIDE_PX = 64
"""Pictures are measured at this size; larger ones are reduced by area."""
PROBE_FILE = Path(__file__).with_name("kind_probe.json")
PROBE_GRID = 10
"""The outline is compared on a grid of this many cells, stretched to its bounding box."""
MIN_OBJECT = 0.015
"""An object smaller than this part of the picture is not measured."""
_BATCH = 256
_DIFFERENT = 14.0
"""CIELAB distance from the backdrop at which a pixel belongs to the object."""
_PART_OF_STRONGEST = 0.28
_STRONG_PX = 60
"""The threshold rises with the object's contrast: a part of the distance that 60 pixels reach."""
_RING = np.zeros((SIDE_PX, SIDE_PX), dtype=bool)
_RING[[0, -1], :] = _RING[:, [0, -1]] = True
_DARKEST_SHADOW = 0.84
"""Part of the backdrop's lightness that is left in the deepest shadow; what is darker is an object."""
_PURITY = 1.0
"""Pixels at an edge mix object and backdrop: votes fall with this power of their contrast."""
_VOTE_WEIGHTS = {"black": 0.5, "grey": 0.6, "white": 0.8}
"""Tyres, glass, rims, eyes are neutral on objects of any colour: their votes weigh less."""
_SIDE_EDGES = (0.44, 0.56)
_FRAMING_NAMES = ("far", "body", "closeup")


@dataclass(frozen=True, slots=True)
class Outlines:
    """Objects of N pictures: `mask` bool [N,64,64], `box` [N,4] as x0, y0, x1, y1 in 0..1, `area` [N] in 0..1."""

    mask: np.ndarray
    box: np.ndarray
    area: np.ndarray


def measure_drawn(images: np.ndarray) -> list[list[Fact]]:
    """Facts of drawn-style pictures, uint8 [N,H,W,3] with H = W >= 64: kind, colour, background, side, framing.

    Each fact carries a confidence in 0..1. Where no object stands out only the background is said.
    """
    facts: list[list[Fact]] = []
    for start in range(0, len(images), _BATCH):
        facts += _measure_batch(images[start : start + _BATCH])
    return facts


def identity() -> dict[str, str]:
    """What tells this measurer from another: its version, the hash of its tables and thresholds, that of its probe."""
    tables: dict[str, Any] = {
        "side_px": SIDE_PX, "object": OBJECT_PALETTE, "background": BACKGROUND_PALETTE, "light": LIGHT_GAIN,
        "framing": FRAMING_SIZE, "least_object": MIN_OBJECT, "different": [_DIFFERENT, _PART_OF_STRONGEST, _STRONG_PX],
        "shadow": _DARKEST_SHADOW, "purity": _PURITY, "votes": _VOTE_WEIGHTS, "sides": _SIDE_EDGES, "grid": PROBE_GRID,
    }  # fmt: skip
    probe = hashlib.sha256(PROBE_FILE.read_bytes()).hexdigest()
    return {"measurer": f"{SOURCE}/{VERSION}", "tables": fingerprint(tables), "kind_probe_sha256": probe}


def reduce_to(images: np.ndarray, side: int) -> np.ndarray:
    """Square pictures by area means: uint8 [N,H,H,3] -> uint8 [N,side,side,3]; sizes must divide or be cropped."""
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or images.shape[1] != images.shape[2]:
        raise ValueError(f"images are {images.dtype} {images.shape}; they must be uint8 [N,S,S,3]")
    size = images.shape[1]
    if size < side:
        raise ValueError(f"images are {size} pixels wide; they must be at least {side}")
    if size == side:
        return images
    edges = np.arange(side + 1) * size // side
    sums = np.add.reduceat(np.add.reduceat(images.astype(np.float32), edges[:-1], axis=1), edges[:-1], axis=2)
    counts = np.diff(edges).astype(np.float32)
    return np.round(sums / (counts[:, None, None] * counts[None, :, None])).astype(np.uint8)


def _measure_batch(images: np.ndarray) -> list[list[Fact]]:
    lab = srgb_to_lab(reduce_to(images, SIDE_PX))
    backdrop = backdrop_colour(lab)
    outlines = find_outlines(lab)
    background, background_sure = _named(_background_prototypes(), backdrop)
    colour, colour_sure = object_colour(lab, outlines)
    kind_odds = car_probability(outlines)
    centre = (outlines.box[:, 0] + outlines.box[:, 2]) / 2
    longer = np.maximum(outlines.box[:, 2] - outlines.box[:, 0], outlines.box[:, 3] - outlines.box[:, 1])
    found = []
    for idx in range(len(lab)):
        facts = [Fact("background", background[idx], float(background_sure[idx]), SOURCE)]
        if outlines.area[idx] >= MIN_OBJECT:
            odds = float(kind_odds[idx])
            facts += [
                Fact("kind", "car" if odds > 0.5 else "cat", max(odds, 1 - odds), SOURCE),
                Fact("colour", colour[idx], float(colour_sure[idx]), SOURCE),
                _banded("side", float(centre[idx]), _SIDE_EDGES, ("left", "centre", "right"), 0.06),
                _banded("framing", float(longer[idx]), _framing_edges(), _FRAMING_NAMES, 0.07),
            ]
        found.append(facts)
    return found


def backdrop_colour(lab: np.ndarray) -> np.ndarray:
    """Median CIELAB of the top and of the upper sides, where no object reaches: [N,64,64,3] -> [N,3]."""
    top = lab[:, :3].reshape(len(lab), -1, 3)
    sides = np.concatenate([lab[:, 3:36, :2], lab[:, 3:36, -2:]], axis=2).reshape(len(lab), -1, 3)
    return np.median(np.concatenate([top, sides], axis=1), axis=1)


def find_outlines(lab: np.ndarray) -> Outlines:
    """The object of each picture: the connected region that differs most from the backdrop of its row."""
    distance = _smooth(difference(lab))
    distance[:, _RING] = 0
    strongest = np.partition(distance.reshape(len(lab), -1), -_STRONG_PX, axis=1)[:, -_STRONG_PX]
    threshold = np.maximum(_DIFFERENT, _PART_OF_STRONGEST * strongest)[:, None, None]
    mask = _connected(distance > threshold, _smooth(_smooth(distance)))
    box = np.stack([_extent(mask.sum(1)), _extent(mask.sum(2))], axis=-1)  # [N,2,(x,y)]
    return Outlines(mask, box.reshape(len(mask), 4) / SIDE_PX, mask.mean((1, 2)))


def difference(lab: np.ndarray) -> np.ndarray:
    """Distance of each pixel from the backdrop of its row [N,64,64]; a shadow (the same hue, darker) is near."""
    left, right = np.median(lab[:, :, :2], axis=2), np.median(lab[:, :, -2:], axis=2)  # [N,64,3]
    across = (np.arange(SIDE_PX, dtype=np.float32) / (SIDE_PX - 1))[None, None, :, None]
    backdrop = left[:, :, None] * (1 - across) + right[:, :, None] * across
    # A shadow scales the colour: L* falls, a* and b* fall with it.
    ratio = np.clip((lab[..., :1] + 8) / (backdrop[..., :1] + 8), _DARKEST_SHADOW, 1.0)
    shaded = backdrop * np.concatenate([ratio, ratio, ratio], axis=-1)
    return np.sqrt(((lab - shaded) ** 2).sum(-1))


def _smooth(values: np.ndarray) -> np.ndarray:
    """Mean of each 3x3 neighbourhood: [N,64,64] -> [N,64,64]; generated pictures are noisy."""
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9


def _connected(mask: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """The part of each mask that hangs together, over gaps of two pixels, with its strongest place: [N,64,64]."""
    strength = np.where(mask, strength, 0)
    strongest = strength.reshape(len(mask), -1).argmax(1)
    region = np.zeros_like(mask)
    region[np.arange(len(mask)), strongest // SIDE_PX, strongest % SIDE_PX] = True
    bridged = _wider(mask)
    while True:
        wider = _wider(region) & bridged
        if (wider == region).all():
            return region & mask
        region = wider


def _wider(mask: np.ndarray) -> np.ndarray:
    """The mask and its eight neighbours."""
    wider = mask.copy()
    wider[:, 1:] |= mask[:, :-1]
    wider[:, :-1] |= mask[:, 1:]
    rows = wider.copy()
    wider[:, :, 1:] |= rows[:, :, :-1]
    wider[:, :, :-1] |= rows[:, :, 1:]
    return wider


def _extent(counts: np.ndarray) -> np.ndarray:
    """First and past-the-last position where a profile [N,64] holds an object: [N,2]."""
    there = counts >= 1
    first = there.argmax(1)
    last = SIDE_PX - there[:, ::-1].argmax(1)
    return np.stack([first, np.where(there.any(1), last, first)], axis=1)


@functools.cache
def _object_prototypes() -> Prototypes:
    return _in_every_light(OBJECT_PALETTE)


@functools.cache
def _background_prototypes() -> Prototypes:
    return _in_every_light(BACKGROUND_PALETTE)


def _in_every_light(palette: dict[str, tuple[int, int, int]]) -> Prototypes:
    points = {}
    for name, colour in palette.items():
        lit = [np.clip(np.array(colour) * gain, 0, 255).astype(np.uint8) for gain in LIGHT_GAIN.values()]
        points[name] = tuple((float(p[0]), float(p[1]), float(p[2])) for p in srgb_to_lab(np.stack(lit)))
    return Prototypes(points)


def _named(prototypes: Prototypes, lab: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Name of each colour [N,3] and how sure: 0 midway between two names, 1 on a prototype."""
    distances = np.sort(prototypes.distances(lab), axis=1)
    nearest = prototypes.distances(lab).argmin(1)
    sure = (distances[:, 1] - distances[:, 0]) / np.maximum(distances[:, 1] + distances[:, 0], 1e-6)
    return [prototypes.names[idx] for idx in nearest], sure


def object_colour(lab: np.ndarray, outlines: Outlines) -> tuple[list[str], np.ndarray]:
    """Name that most pixels of each object [N,64,64,3] vote for, and its lead over the next."""
    prototypes = _object_prototypes()
    contrast = np.where(outlines.mask, difference(lab), 0)
    strongest = np.partition(contrast.reshape(len(lab), -1), -_STRONG_PX, axis=1)[:, -_STRONG_PX]
    purity = np.minimum(contrast / np.maximum(strongest, _DIFFERENT)[:, None, None], 1) ** _PURITY
    picture, y, x = np.nonzero(outlines.mask)
    distances = prototypes.distances(lab[picture, y, x])
    trust = purity[picture, y, x] / (1 + (distances.min(1) / 20) ** 2)  # a pixel far from every name says little
    size = len(prototypes.names)
    slots = picture * size + distances.argmin(1)
    votes = np.bincount(slots, weights=trust, minlength=len(lab) * size).reshape(len(lab), size)
    votes = votes * np.array([_VOTE_WEIGHTS.get(name, 1.0) for name in prototypes.names])
    ordered = np.sort(votes, axis=1)
    lead = (ordered[:, -1] - ordered[:, -2]) / np.maximum(ordered[:, -1] + ordered[:, -2], 1e-6)
    return [prototypes.names[idx] for idx in votes.argmax(1)], lead


def outline_features(outlines: Outlines) -> np.ndarray:
    """What tells a cat from a car: proportions and the outline on a grid: [N, 2 + PROBE_GRID**2]."""
    soft = np.pad(outlines.mask, ((0, 0), (1, 1), (1, 1))).astype(np.float32)
    size = SIDE_PX
    soft = np.add.reduce([soft[:, dy : dy + size, dx : dx + size] for dy in range(3) for dx in range(3)]) / 9
    low, extent = outlines.box[:, :2] * size, np.maximum((outlines.box[:, 2:] - outlines.box[:, :2]) * size, 1)
    steps = (np.arange(PROBE_GRID) + 0.5) / PROBE_GRID
    columns = np.minimum(low[:, :1] + steps * extent[:, :1], size - 1).astype(int)
    rows = np.minimum(low[:, 1:] + steps * extent[:, 1:], size - 1).astype(int)
    grid = soft[np.arange(len(soft))[:, None, None], rows[:, :, None], columns[:, None, :]]
    proportion = np.log(extent[:, :1] / extent[:, 1:])
    filled = (outlines.area * size * size / extent.prod(1))[:, None]
    return np.concatenate([proportion, filled, grid.reshape(len(grid), -1)], axis=1).astype(np.float32)


@functools.cache
def _probe() -> tuple[np.ndarray, float]:
    stored = json.loads(PROBE_FILE.read_text(encoding="utf-8"))
    return np.array(stored["weights"], dtype=np.float32), float(stored["bias"])


def car_probability(outlines: Outlines) -> np.ndarray:
    """Probability that each outline is a car's: [N]."""
    weights, bias = _probe()
    return 1 / (1 + np.exp(-(outline_features(outlines) @ weights + bias)))


def _framing_edges() -> tuple[float, float]:
    far, body, closeup = (FRAMING_SIZE[name] for name in _FRAMING_NAMES)
    return (far + body) / 2, (body + closeup) / 2


def _banded(name: str, value: float, edges: tuple[float, float], values: tuple[str, str, str], width: float) -> Fact:
    """A fact by bands of a number; confidence grows with the distance from the nearest edge, 0.95 at `width`."""
    distance = min(abs(value - edge) for edge in edges)
    confidence = 0.5 + 0.45 * min(1.0, distance / width)
    return Fact(name, values[int(value > edges[0]) + int(value > edges[1])], confidence, SOURCE)
