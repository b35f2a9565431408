"""Sheets of pictures inside the page, cut so that a phone shows few of them in a row and a wide window all."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

GAP = 2
"""Between the pictures of a sheet (textgan.metrics.sheets)."""
ACROSS = 4
"""Pictures in a row on a phone; sheets of more columns are cut into parts of so many."""
IN_ORDER = frozenset({"worst"})
"""Sheets that a list numbers: cut row by row, so that every width shows the same order."""


def sheet_view(directory: Path, name: str, sheet: dict[str, Any], height_px: int) -> dict[str, Any]:
    """A sheet with its files cut into parts, as data addresses with their sizes; `height_px` is that of one picture."""
    rise = height_px + GAP if name in IN_ORDER else None
    return {**sheet, "pictures": [_parts(directory / file, sheet["columns"], rise) for file in sheet["files"]]}


def _parts(file: Path, columns: int, rise: int | None) -> list[dict[str, Any]]:
    """One file from left to right; every `rise` px of it so, from the top."""
    payload = file.read_bytes()
    with Image.open(io.BytesIO(payload)) as image:
        width, height = image.size
        if columns <= ACROSS:
            return [_view(payload, width, height, columns)]
        side, rise = (width + GAP) // columns, rise or height + GAP
        parts = []
        for top in range(0, height, rise):
            for first in range(0, columns, ACROSS):
                count = min(ACROSS, columns - first)
                box = first * side, top, (first + count) * side - GAP, min(top + rise - GAP, height)
                buffer = io.BytesIO()
                image.crop(box).save(buffer, "PNG", optimize=True)
                parts.append(_view(buffer.getvalue(), box[2] - box[0], box[3] - box[1], count))
        return parts


def _view(payload: bytes, width: int, height: int, columns: int) -> dict[str, Any]:
    source = Markup("data:image/png;base64," + base64.b64encode(payload).decode("ascii"))
    return {"src": source, "width": width, "height": height, "columns": columns}
