"""`textgan inspect EXPORT`: what an export holds, before anything is built from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from pipeline.exports import Export, open_export
from pipeline.headers import UndecodableImage, detect
from pipeline.s3 import local_export
from textgan.errors import UserError
from textgan.files import write_bytes
from textgan.progress import track

SHEET_IMAGES, SHEET_COLUMNS, THUMB = 24, 6, 160
SHEET_FORMATS = {".png": "png", ".jpg": "jpg", ".jpeg": "jpg", ".webp": "webp"}
MAX_PIXELS = 100_000_000
_EDGES = (0, 64, 128, 256, 384, 512, 768, 1024, 1 << 30)
"""Bounds of the histogram of smaller sides, in pixels."""


@dataclass(slots=True)
class Findings:
    """Counts over the entries that were looked at."""

    entries: int = 0
    bytes: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    smaller_sides: list[int] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)


def inspect(
    export: Annotated[str, typer.Argument(help="LMDB directory, data.mdb file, image tree or s3://BUCKET/PREFIX/")],
    sheet: Annotated[
        Path | None, typer.Option(help="write the first 24 images as a sheet: .png, .jpg or .webp")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="look at the first N entries only")] = None,
) -> None:
    """Entries, formats, sizes and undecodable values of an export."""
    if sheet is not None and (sheet.is_dir() or sheet.suffix.lower() not in SHEET_FORMATS):
        raise UserError(f"--sheet {sheet}: must name a file that ends in {', '.join(SHEET_FORMATS)}")
    place = local_export(export)
    opened = open_export(place)
    total = len(opened)
    findings, thumbs = examine(opened, min(total, limit or total))
    print("\n".join(report(place, total, findings)))
    if sheet is not None:
        from pipeline import imaging

        encoded = imaging.encode(contact_sheet(thumbs), SHEET_FORMATS[sheet.suffix.lower()], 95)
        try:
            write_bytes(sheet, encoded)
        except OSError as error:
            raise UserError(f"--sheet {sheet}: cannot be written: {error.strerror}") from None
        print(f"the first {len(thumbs)} images: {sheet}")


def examine(export: Export, count: int) -> tuple[Findings, list[np.ndarray]]:
    """Decode the first `count` entries; also gives thumbnails of the first decodable ones."""
    from pipeline import imaging

    imaging.use_one_thread()
    findings = Findings()
    thumbs: list[np.ndarray] = []
    for _, value in track(_first(export, count), count, "inspect"):
        findings.entries += 1
        findings.bytes += len(value)
        findings.formats[detect(value)] += 1
        try:
            pixels = imaging.decode(value, MAX_PIXELS)
        except UndecodableImage as error:
            findings.reasons[error.reason] += 1
            continue
        height, width = pixels.shape[:2]
        findings.widths.append(width)
        findings.heights.append(height)
        findings.smaller_sides.append(min(width, height))
        if len(thumbs) < SHEET_IMAGES:
            thumbs.append(thumbnail(pixels))
    return findings, thumbs


def _first(export: Export, count: int) -> Iterator[tuple[bytes, bytes]]:
    for idx, item in enumerate(export.items()):
        if idx == count:
            return
        yield item


def thumbnail(pixels: np.ndarray) -> np.ndarray:  # uint8 [H,W,3] -> uint8 [THUMB,THUMB,3]
    """The whole picture on black, no larger than it is."""
    from pipeline import imaging
    from pipeline.geometry import Box, Placement

    height, width = pixels.shape[:2]
    scale = min(1.0, THUMB / max(width, height))
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    placement = Placement(
        crop=Box(0, 0, width, height),
        width=small[0],
        height=small[1],
        canvas_width=THUMB,
        canvas_height=THUMB,
        x=(THUMB - small[0]) // 2,
        y=(THUMB - small[1]) // 2,
    )
    return imaging.place(pixels, placement)


def contact_sheet(thumbs: list[np.ndarray]) -> np.ndarray:
    """Thumbnails in rows of six, uint8 [H,W,3]."""
    rows = max(1, -(-len(thumbs) // SHEET_COLUMNS))
    sheet = np.zeros((rows * THUMB, SHEET_COLUMNS * THUMB, 3), np.uint8)
    for idx, thumb in enumerate(thumbs):
        row, column = divmod(idx, SHEET_COLUMNS)
        sheet[row * THUMB : (row + 1) * THUMB, column * THUMB : (column + 1) * THUMB] = thumb
    return sheet


def report(path: Path, total: int, findings: Findings) -> list[str]:
    """The findings as lines of text."""
    looked = "all" if findings.entries == total else f"the first {findings.entries}"
    mean = findings.bytes / max(findings.entries, 1)
    lines = [f"{path}: {total} entries; looked at {looked}", f"  bytes    {mean / 1024:.1f} KiB a value on average"]
    lines.append("  formats  " + ", ".join(f"{name} {count}" for name, count in sorted(findings.formats.items())))
    undecodable = ", ".join(f"{reason} {count}" for reason, count in sorted(findings.reasons.items()))
    lines.append(f"  undecodable  {sum(findings.reasons.values())}" + (f" ({undecodable})" if undecodable else ""))
    if not findings.widths:
        return lines
    for name, values in (("width", findings.widths), ("height", findings.heights)):
        low, middle, high = np.percentile(values, [0, 50, 100])
        lines.append(f"  {name:<8} {low:.0f} to {high:.0f} pixels, median {middle:.0f}")
    counts = np.histogram(findings.smaller_sides, bins=_EDGES)[0]
    lines.append("  smaller side, pixels:")
    for low_edge, high_edge, count in zip(_EDGES, _EDGES[1:], counts, strict=False):
        label = f"{low_edge} to {high_edge - 1}" if high_edge < _EDGES[-1] else f"{low_edge} and more"
        bar = "#" * round(40 * count / counts.max())
        lines.append(f"    {label:>14}  {count:>8}  {bar}".rstrip())
    return lines
