"""Line charts as inline SVG: text in the page's own font, colours that follow light and dark."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 380, 226
"""Near to the width at which pages show a chart: text is then read at its own size."""
LEFT, RIGHT, TOP, BOTTOM = 42, 10, 28, 38


@dataclass(frozen=True, slots=True)
class Series:
    """One named line."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


def read_curve(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Columns of `curve.csv` against `cur_nimg`, in kimg; empty cells and what is no number are left out."""
    with open(path, newline="", encoding="utf-8") as file:
        return parse_curve(csv.DictReader(file))


def parse_curve(rows: Iterable[Mapping[str, str]]) -> dict[str, list[tuple[float, float]]]:
    """The same from rows that were read already."""
    columns: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        x = float(row["cur_nimg"]) / 1000
        for name, text in row.items():
            value = _number(text)
            if name != "cur_nimg" and value is not None:
                columns.setdefault(name, []).append((x, value))
    return columns


def series_of(curve: dict[str, list[tuple[float, float]]], names: Sequence[str]) -> list[Series]:
    """The named columns that are there, as lines."""
    found = [(name, curve[name]) for name in names if name in curve]
    return [Series(name, tuple(x for x, _ in points), tuple(y for _, y in points)) for name, points in found]


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover low..high, about `count` of them."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    raw = (high - low) / max(count - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def line_chart(series: Sequence[Series], title: str, x_label: str, y_label: str = "") -> str:
    """An SVG element, what lies upwards named above its axis. A chart of nothing is an empty string."""
    points = [(x, y) for one in series for x, y in zip(one.x, one.y, strict=True)]
    if not points:
        return ""
    x_ticks = ticks(min(x for x, _ in points), max(x for x, _ in points))
    y_ticks = ticks(min(y for _, y in points), max(y for _, y in points))

    def px(x: float) -> float:
        return LEFT + (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (WIDTH - LEFT - RIGHT)

    def py(y: float) -> float:
        return HEIGHT - BOTTOM - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for y in y_ticks:
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{py(y):.1f}" y2="{py(y):.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{py(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in x_ticks:
        parts.append(f'<text x="{px(x):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{x:g}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 3}" text-anchor="end">{escape(x_label)}</text>')
    if y_label:
        parts.append(f'<text x="2" y="12">{escape(y_label)}</text>')
    for idx, one in enumerate(series):
        path = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in zip(one.x, one.y, strict=True))
        parts.append(f'<polyline class="line line-{idx % 6}" points="{path}"/>')
    parts.append("</svg>")
    return "".join(parts)
