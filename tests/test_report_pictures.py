"""Sheets are cut for phones without losing a picture or the order that a list counts by."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from textgan.metrics.sheets import Sheets
from textgan.report.assemble import machine
from textgan.report.pictures import ACROSS, sheet_view


def numbered(count: int) -> np.ndarray:
    """Picture n has the grey level n, 6 px high and 10 wide."""
    return np.stack([np.full((6, 10, 3), number, dtype=np.uint8) for number in range(count)])


def levels(part: dict) -> list[list[int]]:
    """Grey levels of a part's pictures, row by row."""
    payload = base64.b64decode(part["src"].partition(",")[2])
    with Image.open(io.BytesIO(payload)) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[:2] == (part["height"], part["width"])
    return [[int(pixels[y, x, 0]) for x in range(5, pixels.shape[1], 12)] for y in range(3, pixels.shape[0], 8)]


@pytest.mark.parametrize(("name", "expected"), [
        ("neighbours", [[[0, 1, 2, 3], [6, 7, 8, 9]], [[4, 5], [10, 11]]]),
        ("worst", [[[0, 1, 2, 3]], [[4, 5]], [[6, 7, 8, 9]], [[10, 11]]]),
    ],
)  # fmt: skip
def test_parts_keep_columns_together_or_the_order_of_a_list(tmp_path, name, expected):
    sheets = Sheets(tmp_path)
    sheets.tiles(name, numbered(12), columns=6)
    [parts] = sheet_view(tmp_path, name, sheets.index[name], 6)["pictures"]
    assert [levels(part) for part in parts] == expected
    assert [part["columns"] for part in parts] == [len(rows[0]) for rows in expected]


def test_a_narrow_sheet_is_not_cut(tmp_path):
    sheets = Sheets(tmp_path)
    sheets.rows("grid", [numbered(ACROSS)], ["a red car"])
    [[part]] = sheet_view(tmp_path, "grid", sheets.index["grid"], 6)["pictures"]
    assert base64.b64decode(part["src"].partition(",")[2]) == (tmp_path / "grid-00.png").read_bytes()


def test_the_gpu_is_named_with_its_memory(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "NVIDIA H200, 143771 MiB, 570.0"\necho "NVIDIA H200, 143771 MiB, 570.0"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert machine()["GPU"] == "NVIDIA H200, 143771 MiB, 570.0; NVIDIA H200, 143771 MiB, 570.0"
    assert machine()["memory"].endswith(" GiB")
