"""Which inventory rows become images: header rejections, geometry, duplicates, the seeded subset.

All of it is decided before a pixel is decoded and depends on the inventory and the parameters alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from pipeline.duplicates import find_exact, find_similar
from pipeline.geometry import Misfit, place_on
from textgan.params import ImagesParams
from textgan.seeds import unit_interval

COLUMNS = ["sample_key", "export", "lmdb_key", "bytes", "width", "height", "split", "status", "reason"]
REPEATED = ["export", "split", "status", "reason"]
"""Columns of few different values, held once each."""


@dataclass(slots=True)
class Selection:
    """Rows to build, and rows left out with reason and detail.

    `reserve` are rows that the subset does not need so far, by export, in the order in which they would
    replace images that turn out to be undecodable.
    """

    rows: pa.Table
    chosen: np.ndarray
    """Row numbers in inventory order."""
    rejected: dict[int, tuple[str, str]]
    reserve: dict[str, list[int]] = field(default_factory=dict)


def select(inventory: Path, params: ImagesParams, seed: int) -> Selection:
    """Choose the rows of an inventory file."""
    columns = COLUMNS if params.duplicates == "keep" else [*COLUMNS, "sha256"]
    rows = parquet.read_table(inventory, columns=columns, read_dictionary=REPEATED)
    rejected = _header_rejections(rows, params)
    if params.duplicates != "keep":
        rejected |= _exact_duplicates(rows, rejected)
    selection = Selection(rows, _without(rows, rejected), rejected)
    if params.max_images is not None:
        _subset(selection, params.max_images, seed)
    return selection


def _without(rows: pa.Table, rejected: dict[int, tuple[str, str]]) -> np.ndarray:
    """Row numbers of what is not rejected. An array: a build of millions holds no Python object for each image."""
    left = np.ones(len(rows), dtype=bool)
    left[np.fromiter(rejected, np.int64, len(rejected))] = False
    return np.flatnonzero(left)


def _header_rejections(rows: pa.Table, params: ImagesParams) -> dict[int, tuple[str, str]]:
    good = pc.equal(rows["status"], "ok").to_numpy().astype(bool)
    reasons = rows["reason"].take(pa.array(np.flatnonzero(~good))).to_pylist()
    rejected = {
        int(idx): (reason, "by its header, in ingest")
        for idx, reason in zip(np.flatnonzero(~good), reasons, strict=True)
    }
    wide, high = (rows[name].to_numpy().astype(np.int64) for name in ("width", "height"))
    sizes, which = np.unique(wide << 32 | high, return_inverse=True)
    for number, size in enumerate(sizes.tolist()):
        width, height = size >> 32, size & 0xFFFFFFFF
        if not width:  # it has no header
            continue
        placement = place_on(width, height, params.width, params.height, params.geometry, params.small)
        if isinstance(placement, Misfit):
            misfits = np.flatnonzero((which == number) & good)
            rejected |= dict.fromkeys(misfits.tolist(), (placement.reason, placement.detail))
    return rejected


def _exact_duplicates(rows: pa.Table, rejected: dict[int, tuple[str, str]]) -> dict[int, tuple[str, str]]:
    """Rows whose bytes equal those of an earlier row that is kept."""
    kept = _without(rows, rejected)
    table = rows.select(["sample_key", "sha256"]).take(pa.array(kept))
    keys = table["sample_key"].to_pylist()
    copies = find_exact(zip(keys, table["sha256"].to_pylist(), strict=True))
    return {
        int(idx): (copies[key].reason, copies[key].original)
        for idx, key in zip(kept, keys, strict=True)
        if key in copies
    }


def without_similar(
    selection: Selection, rows: np.ndarray, signed: np.ndarray, params: ImagesParams, seed: int
) -> Selection:
    """The selection without pictures that look like an earlier one; `signed` are the signatures of rows in order.

    What has no signature cannot be decoded; it stays, and is rejected as that when it is built.
    """
    copies = find_similar(signed)
    dropped, originals = (rows[np.fromiter(found, np.int64, len(copies))] for found in (copies, copies.values()))
    keys = selection.rows["sample_key"].take(pa.array(originals)).to_pylist()
    rejected = {row: ("similar", key) for row, key in zip(dropped.tolist(), keys, strict=True)}
    left = np.setdiff1d(candidates(selection), dropped)
    kept = Selection(selection.rows, left, selection.rejected | rejected)
    if params.max_images is not None:
        _subset(kept, params.max_images, seed)
    return kept


def candidates(selection: Selection) -> np.ndarray:
    """Row numbers of what is chosen or in reserve, in inventory order."""
    reserve = [np.array(rows, dtype=np.int64) for rows in selection.reserve.values()]
    return np.sort(np.concatenate([selection.chosen, *reserve]))


def _subset(selection: Selection, max_images: int, seed: int) -> None:
    """Keep the first `max_images` of each export in an order by hash; the rest is its reserve."""
    rows, kept = selection.rows, []
    exports = rows["export"].to_pylist()
    keys = rows["sample_key"].to_pylist()
    for export in sorted(set(exports)):
        mine = [int(idx) for idx in selection.chosen if exports[idx] == export]
        mine.sort(key=lambda idx: (unit_interval(seed, "subset", keys[idx]), idx))
        kept += mine[:max_images]
        selection.reserve[export] = mine[max_images:]
    selection.chosen = np.array(sorted(kept), dtype=np.int64)


def split_rows(selection: Selection, chosen: np.ndarray, split: str) -> np.ndarray:
    """Those of `chosen` that belong to a split, in the same order."""
    mask = pc.equal(selection.rows["split"].take(pa.array(chosen)), split).to_numpy(zero_copy_only=False)
    return chosen[mask.astype(bool)]
