"""Pictures as bytes, and on one sheet, with the prompt of each row and the seed of each column."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

MARGIN_PX = 220
HEADER_PX = 18


def to_uint8(images: Tensor) -> np.ndarray:  # [N,3,H,W] in [-1,1] -> [N,H,W,3]
    """Bytes of images."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def contact_sheet(rows: Sequence[Sequence[np.ndarray]], gap: int = 2) -> Image.Image:  # rows of [H,W,3]
    """Pictures side by side on white."""
    height, width = rows[0][0].shape[:2]
    columns = max(map(len, rows))
    sheet = Image.new("RGB", (columns * (width + gap) - gap, len(rows) * (height + gap) - gap), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            sheet.paste(Image.fromarray(picture), (x * (width + gap), y * (height + gap)))
    return sheet


def labelled_sheet(
    rows: Sequence[Sequence[np.ndarray]], prompts: Sequence[str], columns: Sequence[str], scale: int
) -> Image.Image:
    """Rows of [H,W,3] uint8 pictures, `scale` times as large, words at the left, column names above."""
    height, width = (size * scale for size in rows[0][0].shape[:2])
    gap = 2
    sheet = Image.new(
        "RGB", (MARGIN_PX + len(columns) * (width + gap), HEADER_PX + len(rows) * (height + gap)), "white"
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for idx, name in enumerate(columns):
        draw.text((MARGIN_PX + idx * (width + gap) + width // 2, HEADER_PX // 2), name, "black", font, anchor="mm")
    for y, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
        top = HEADER_PX + y * (height + gap)
        lines = textwrap.wrap(prompt, 34)[: max(1, height // 15)]
        draw.multiline_text((6, top + height // 2), "\n".join(lines), "black", font, anchor="lm", spacing=2)
        for x, picture in enumerate(row):
            enlarged = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
            sheet.paste(enlarged, (MARGIN_PX + x * (width + gap), top))
    return sheet
