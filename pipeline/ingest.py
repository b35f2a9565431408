"""Stage `ingest`: one inventory row for each LMDB entry, none lost. Usage: python -m pipeline.ingest D

Reads every value once: its size, sha256, format by magic bytes, width and height by the header alone.
No pixel is decoded; the `images` stage does that and rejects by reason what has none.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from pipeline.annotation_files import annotation_rows
from pipeline.exports import Export, open_export
from pipeline.headers import UndecodableImage, detect, read_header
from textgan import params as params_file
from textgan.errors import UserError, program
from textgan.files import publishing
from textgan.params import IngestParams
from textgan.progress import track
from textgan.records import SPLITS, sample_key
from textgan.seeds import unit_interval

EXPORTS, OUT = Path("data/exports"), Path("data/inventory")
ROWS = 4_000
"""Rows that are held before they are written: memory does not grow with the export."""
INVENTORY = pa.schema(
    [
        ("sample_key", pa.string()),
        ("export", pa.string()),
        ("lmdb_key", pa.binary()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("split", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)
ANNOTATIONS = pa.schema([("sample_key", pa.string()), ("annotation", pa.string())])


def split_of(key: str, export: str, params: IngestParams) -> str:
    """The split of a sample key: by its hash and the seed alone; official val and test exports are test."""
    if export == "test" or export.endswith(("-val", "-test")):
        return "test"
    place = unit_interval(params.seed, "split", key)
    if place < params.test:
        return "test"
    return "select" if place < params.test + params.select else "train"


def inventory_rows(
    name: str, export: Export, params: IngestParams, limit: int | None = None
) -> Iterator[dict[str, Any]]:
    """One row for each entry of an export, in key order; `limit` ends it early."""
    for idx, (lmdb_key, value) in enumerate(export.items()):
        if idx == limit:
            return
        key = sample_key(name, lmdb_key)
        row = {
            "sample_key": key,
            "export": name,
            "lmdb_key": lmdb_key,
            "bytes": len(value),
            "sha256": hashlib.sha256(value).hexdigest(),
            "format": detect(value),
            "width": 0,
            "height": 0,
            "split": split_of(key, name, params),
            "status": "ok",
            "reason": None,
        }
        try:
            header = read_header(value, params.max_pixels)
            row |= {"width": header.width, "height": header.height}
        except UndecodableImage as error:
            row |= {"status": "rejected", "reason": error.reason}
        yield row


def write_inventory(exports: dict[str, Path], params: IngestParams, out: Path, limit: int | None = None) -> int:
    """Write inventory.parquet under `out` for named exports; returns the number of rows."""
    opened = {name: open_export(exports[name]) for name in sorted(exports)}
    # A sample key names its export and its LMDB key, so two are equal only where one export's name
    # continues another's: `cat` with key `val-1`, `cat-val` with key `1`.
    may_collide = any(a != b and b.startswith(f"{a}-") for a in opened for b in opened)
    seen: set[str] = set()
    with parquet.ParquetWriter(out / "inventory.parquet", INVENTORY, compression="zstd") as writer:
        total, rows = 0, []
        for name, export in opened.items():
            entries = len(export) if limit is None else min(limit, len(export))
            before = total
            for row in track(inventory_rows(name, export, params, limit), entries, f"ingest {name}"):
                if may_collide:
                    if row["sample_key"] in seen:
                        row |= {"status": "rejected", "reason": "duplicate_key"}
                    seen.add(row["sample_key"])
                rows.append(row)
                total += 1
                if len(rows) == ROWS:
                    writer.write_table(pa.Table.from_pylist(rows, INVENTORY))
                    rows = []
            if total - before != entries:
                found = total - before
                raise UserError(f"{exports[name]}: it counts {entries} entries and gave {found}; it is damaged")
        writer.write_table(pa.Table.from_pylist(rows, INVENTORY))
    return total


def write_annotations(exports: dict[str, Path], out: Path) -> int:
    """Collect the annotations of the exports that have some; returns the number of annotations."""
    with parquet.ParquetWriter(out / "annotations.parquet", ANNOTATIONS, compression="zstd") as writer:
        total, rows = 0, []
        for name in sorted(exports):
            for row in annotation_rows(name, exports[name]):
                rows.append(row)
                total += 1
                if len(rows) == ROWS:
                    writer.write_table(pa.Table.from_pylist(rows, ANNOTATIONS))
                    rows = []
        writer.write_table(pa.Table.from_pylist(rows, ANNOTATIONS))
    return total


def summary(out: Path) -> str:
    """The line that the stage ends with."""
    table = parquet.read_table(out / "inventory.parquet", columns=["split", "status", "reason"])
    splits, reasons = table["split"].to_pylist(), [reason for reason in table["reason"].to_pylist() if reason]
    parts = [f"{split} {splits.count(split)}" for split in SPLITS]
    rejected = ", ".join(f"{reasons.count(reason)} {reason}" for reason in sorted(set(reasons)))
    return f"{len(splits)} entries: {', '.join(parts)}; rejected by header: {rejected or 'none'}"


def main() -> None:
    """Make data/inventory/D from data/exports/D/E/data.mdb of each export E of dataset D."""
    if len(sys.argv) != 2:
        raise UserError("usage: python -m pipeline.ingest DATASET")
    dataset = sys.argv[1]
    params = params_file.dataset(dataset)
    exports = {name: EXPORTS / dataset / name for name in params.exports}
    for path in exports.values():  # every mistake is found before the first long read
        open_export(path)
    with publishing(OUT / dataset) as built:
        write_inventory(exports, params.ingest, built)
        annotations = write_annotations(exports, built)
        print(f"ingest {dataset}: {summary(built)}; {annotations} annotations", flush=True)


if __name__ == "__main__":
    program(main)
