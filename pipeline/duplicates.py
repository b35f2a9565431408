"""Copies among images: equal bytes, and pictures that look the same. Pure functions; the first of equals is kept.

A picture that was compressed again, made smaller or a little brighter is a copy; the next shot of the same scene,
a mirrored or clearly cropped one, or the same car in another colour is not. What looks the same is decided on a
signature of 32x32 pixels: the signs of 63 low cosine frequencies of the grey image (64-bit pHash) find candidates,
their values and the coarse colours decide. All of it is whole-number arithmetic: the same on every machine.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

SIDE = 32
"""Of the thumbnails that signatures are made from."""
SIGNATURE = np.dtype([("hash", "<u8"), ("level", "u1"), ("waves", "i1", 63), ("colours", "i1", 32)])
"""104 bytes an image: 5.5 million take 0.6 GB."""
SIGNED = np.dtype([("position", "<u4"), ("signature", SIGNATURE)])
"""The signature of one image of a list, with its place there: what cannot be decoded has none."""
MAX_BITS = 4
"""Of 63 that may differ. Of 600 photos each of cats and cars at JPEG quality 20, 100 % differ in at most that, at
half the size 99 %; of 4 million unrelated pairs each, 1 and 0 do (and the waves tell them apart)."""
MAX_WAVES = 363
"""Squared distance of the waves, whose length is 127: 0.15 of it. Copies measured at most 0.12, other pairs 0.3."""
MAX_COLOUR = 20
"""Of 127, in any sixteenth of the picture."""
FLAT = 256
"""Waves shorter than this (in units of the sum over 1,024 pixels: a quarter of a grey level) are noise."""
_BLOCKS, _BLOCK_BITS = 6, 11
_CHUNK = 1 << 20
_STEPS = np.round(np.cos(np.pi * np.outer(np.arange(8), 2 * np.arange(SIDE) + 1) / (2 * SIDE)) * 1024)
"""[8,32] whole numbers: a cosine transform that is exact in float64."""


class Copy(NamedTuple):
    """Why a sample is left out, and for which one."""

    reason: str
    original: str


def find_exact(samples: Iterable[tuple[str, str]]) -> dict[str, Copy]:
    """(sample key, sha256 of the bytes), preferred ones first -> the samples whose bytes came before."""
    first: dict[str, str] = {}
    return {key: Copy("duplicate", first[digest]) for key, digest in samples if first.setdefault(digest, key) != key}


def thumbnail(pixels: np.ndarray) -> np.ndarray:  # uint8 [H,W,3] -> uint8 [32,32,3]
    """Means over boxes; Pillow's resize of uint8 is whole-number arithmetic."""
    return np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX))


def signatures(thumbnails: np.ndarray) -> np.ndarray:  # uint8 [N,32,32,3] -> SIGNATURE [N]
    """What `find_similar` compares."""
    rgb = thumbnails.astype(np.int64)
    grey = (299 * rgb[..., 0] + 587 * rgb[..., 1] + 114 * rgb[..., 2] + 500) // 1000  # [N,32,32]
    waves = (_STEPS @ grey.astype(np.float64) @ _STEPS.T).reshape(len(rgb), 64)[:, 1:]  # below 2**53: exact
    signs = waves > np.median(waves, axis=1, keepdims=True)
    length = np.sqrt((waves**2).sum(axis=1, keepdims=True))
    is_flat = length < FLAT * 1024 * 1024
    out = np.zeros(len(rgb), SIGNATURE)
    out["hash"] = np.where(is_flat[:, 0], 0, signs @ (1 << np.arange(63, dtype=np.uint64)))
    out["level"] = grey.mean(axis=(1, 2)).round()
    out["waves"] = np.where(is_flat, 0, np.round(waves * 127 / np.maximum(length, 1)))
    blocks = rgb.reshape(len(rgb), 4, SIDE // 4, 4, SIDE // 4, 3).sum(axis=(2, 4)) // (SIDE // 4) ** 2  # [N,4,4,3]
    chroma = np.stack([blocks[..., 0] - blocks[..., 1], blocks[..., 2] - blocks[..., 1]], axis=-1) // 2
    out["colours"] = chroma.reshape(len(rgb), 32)
    return out


def find_similar(signed: np.ndarray) -> dict[int, int]:
    """Signatures, preferred ones first -> the positions that look like an earlier, kept one, with that one's position.

    Every pair with at most MAX_BITS different bits is looked at. A copy of a copy is compared with what is kept
    only, so that a chain of small changes does not swallow a whole series.
    """
    rows, first = _first_of_equal(signed)
    earlier: dict[int, list[int]] = {}
    for left, right in _close_pairs(signed[rows]):
        for a, b in zip(rows[left].tolist(), rows[right].tolist(), strict=True):
            earlier.setdefault(b, []).append(a)
    dropped: dict[int, int] = {}
    for row in sorted(earlier):
        kept = [other for other in earlier[row] if other not in dropped]
        if kept:
            dropped[row] = min(kept)
    looks_like = np.arange(len(signed))
    looks_like[list(dropped)] = list(dropped.values())
    looks_like = looks_like[first]
    copies = np.flatnonzero(looks_like != np.arange(len(signed)))
    return dict(zip(copies.tolist(), looks_like[copies].tolist(), strict=True))


def _first_of_equal(signed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows whose signature comes first, for each row the first with its signature).

    Thousands of blank pictures have one signature; without this they would be millions of pairs.
    """
    as_bytes = np.ascontiguousarray(signed).view(np.dtype((np.void, SIGNATURE.itemsize))).ravel()
    _, first, inverse = np.unique(as_bytes, return_index=True, return_inverse=True)
    return np.sort(first), first[inverse.ravel()]


def _close_pairs(signed: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs (earlier, later) of rows that look the same, in pieces; a pair may come more than once.

    Cut 63 bits into 6 blocks: where at most 4 bits differ, at least 2 blocks are equal. So 15 sorted lists, one
    for each choice of 2 blocks, bring all such pairs together.
    """
    hashes = signed["hash"]
    mask = np.uint64((1 << _BLOCK_BITS) - 1)
    blocks = [(hashes >> np.uint64(_BLOCK_BITS * block)) & mask for block in range(_BLOCKS)]
    for one, other in itertools.combinations(range(_BLOCKS), _BLOCKS - MAX_BITS):
        together = (blocks[one] << np.uint64(_BLOCK_BITS)) | blocks[other]
        order = np.argsort(together, kind="stable")
        for left, right in _pairs_of_runs(together[order]):
            a, b = order[left], order[right]  # stable: a < b
            near = np.bitwise_count(hashes[a] ^ hashes[b]) <= MAX_BITS
            a, b = a[near], b[near]
            same = _looks_same(signed[a], signed[b])
            if same.any():
                yield a[same], b[same]


def _pairs_of_runs(values: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs of positions with equal values in a sorted array, by distance, at most _CHUNK at once."""
    positions = np.arange(len(values))
    distance = 1
    while len(positions):
        positions = positions[positions + distance < len(values)]
        positions = positions[values[positions] == values[positions + distance]]
        for start in range(0, len(positions), _CHUNK):
            left = positions[start : start + _CHUNK]
            yield left, left + distance
        distance += 1


def _looks_same(a: np.ndarray, b: np.ndarray) -> np.ndarray:  # SIGNATURE [P], SIGNATURE [P] -> bool [P]
    waves = a["waves"].astype(np.int32) - b["waves"]
    colours = np.abs(a["colours"].astype(np.int16) - b["colours"])
    is_flat = ~a["waves"].any(axis=1) & ~b["waves"].any(axis=1)
    level = np.abs(a["level"].astype(np.int16) - b["level"])
    close = ((waves**2).sum(axis=1) <= MAX_WAVES) & (colours.max(axis=1, initial=0) <= MAX_COLOUR)
    return close & (~is_flat | (level <= 2))
