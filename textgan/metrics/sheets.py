"""Sheets of pictures, and an index of what stands on them; PNG, the same bytes for the same pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from textgan.metrics.features import Images

GAP = 2


class Sheets:
    """Writes sheets into a directory; `index` says what each shows."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.index: dict[str, dict[str, Any]] = {}

    def rows(self, name: str, rows: Sequence[Images], texts: Sequence[str], languages: Sequence[str] = ()) -> None:
        """One file a row (the page puts the text of each above it)."""
        files = []
        for number, row in enumerate(rows):
            files.append(f"{name}-{number:02d}.png")
            _sheet(row, len(row)).save(self.directory / files[-1], optimize=True)
        self.index[name] = {
            "kind": "rows", "files": files, "texts": list(texts), "languages": list(languages),
            "columns": len(rows[0]) if len(rows) else 0,
        }  # fmt: skip

    def tiles(self, name: str, images: Images, texts: Sequence[str] = (), columns: int = 8) -> None:
        """One file of all pictures, `columns` in a row; `texts` say something of each."""
        _sheet(images, columns).save(self.directory / f"{name}.png", optimize=True)
        self.index[name] = {"kind": "tiles", "files": [f"{name}.png"], "texts": list(texts), "columns": columns}


def _sheet(images: Images, columns: int) -> Image.Image:
    count, height, width, _ = images.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 4), 0, dtype=np.uint8)
    for place, image in enumerate(images):
        top, left = (place // columns) * (height + GAP), (place % columns) * (width + GAP)
        sheet[top : top + height, left : left + width, :3] = image
        sheet[top : top + height, left : left + width, 3] = 255
    return Image.fromarray(sheet)
