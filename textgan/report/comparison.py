"""Two commits side by side: metrics whose data are alike, curves, grids; on a terminal and as one HTML file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image

from textgan.errors import UserError
from textgan.plots import line_chart, series_of

TEMPLATES = Path(__file__).parent
GRIDS = ("grid", "apart", "worst", "uncurated")
"""Sheets shown side by side, in this order."""
Curve = dict[str, list[tuple[float, float]]]


@dataclass(slots=True)
class DatasetSide:
    """One dataset at one commit. What is None or missing was not computed or is not here, and `notes` says which."""

    metrics: dict[str, Any] = field(default_factory=dict)
    fingerprints: list[dict[str, Any]] = field(default_factory=list)
    """As `textgan.metrics.fingerprints` writes them: name, sha, metrics, data."""
    better_low: set[str] = field(default_factory=set)
    curve: Curve | None = None
    sheets: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)
    """Sheet -> its pictures: what it shows, PNG."""
    notes: list[str] = field(default_factory=list)

    def print_of(self, metric: str) -> dict[str, Any] | None:
        """The data fingerprint of a metric; None where nobody recorded one."""
        return next((one for one in self.fingerprints if metric in one["metrics"]), None)


@dataclass(slots=True)
class Side:
    """One commit."""

    revision: str
    sha: str
    date: str
    subject: str
    datasets: dict[str, DatasetSide] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Short, for column heads."""
        short = self.sha[:9]
        return short if self.sha.startswith(self.revision) else f"{self.revision} ({short})"


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of both; `difference` is None where there is none to speak of, and `why` says why."""

    name: str
    a: float | None
    b: float | None
    difference: float | None
    why: str


def rows(name: str, a: Side, b: Side, allow_unlike: bool) -> list[Row]:
    """Every metric that either side has. Raises UserError where two numbers come from unlike data."""
    left, right = a.datasets[name], b.datasets[name]
    result = []
    for metric in sorted(left.metrics.keys() | right.metrics.keys()):
        x, y = left.metrics.get(metric), right.metrics.get(metric)
        if x is None or y is None:
            sides = [(side, own.metrics) for side, own in ((a, left), (b, right))]
            absent = [
                f"not {'computed' if metric in own else 'measured'} in {side.label}"
                for side, own in sides
                if own.get(metric) is None
            ]
            result.append(Row(metric, x, y, None, "; ".join(absent)))
            continue
        unlike = unlikeness(metric, left, right, a.label, b.label)
        if unlike and not allow_unlike:
            raise UserError(f"compare: {name} {metric}: {unlike}; --unlike shows both without a difference")
        result.append(Row(metric, x, y, None if unlike else y - x, unlike))
    return result


def unlikeness(metric: str, left: DatasetSide, right: DatasetSide, a: str, b: str) -> str:
    """Why two values of a metric cannot be compared, naming both fingerprints; empty where they can."""
    first, second = left.print_of(metric), right.print_of(metric)
    if first is None or second is None:
        both = [(a, first), (b, second)]
        told = " and ".join(f"{side} {'has none' if one is None else 'has ' + one['sha']}" for side, one in both)
        return f"no data fingerprint to compare by: {told}"
    if first["sha"] == second["sha"]:
        return ""
    where = list(differing(first["data"], second["data"]))[:2]
    return f"unlike data: fingerprint {first['sha']} in {a}, {second['sha']} in {b}; {'; '.join(where)}"


def differing(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> Sequence[str]:
    """`key is X and Y` for each entry that differs, the generated images apart."""
    found: list[str] = []
    for key in sorted(a.keys() | b.keys()):
        x, y = a.get(key), b.get(key)
        if x == y or key == "generated_sha256":
            continue
        if isinstance(x, dict) and isinstance(y, dict):
            found += differing(x, y, f"{prefix}{key}.")
        else:
            found.append(f"{prefix}{key} is {_short(x)} and {_short(y)}")
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}..."


def table(name: str, a: Side, b: Side, found: Sequence[Row]) -> list[str]:
    """Lines for a terminal."""
    width = max((len(row.name) for row in found), default=6)
    lines = [f"{name}", f"  {'metric':<{width}}  {a.label:>16}  {b.label:>16}  {'change':>12}"]
    for row in found:
        change = f"{row.difference:>+12.4g}" if row.difference is not None else f"  {row.why}"
        lines.append(f"  {row.name:<{width}}  {_number(row.a):>16}  {_number(row.b):>16}  {change}")
    for side in (a, b):
        lines += [f"  {side.label}: {note}" for note in side.datasets[name].notes]
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def page(a: Side, b: Side, found: dict[str, list[Row]]) -> str:
    """One self-contained HTML file."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=_number)
    views = [
        {
            "name": name,
            "rows": rows_of,
            "better_low": a.datasets[name].better_low | b.datasets[name].better_low,
            "charts": _charts(a, b, name),
            "sheets": _sheets(a, b, name),
            "notes": [(side.label, note) for side in (a, b) for note in side.datasets[name].notes],
        }
        for name, rows_of in found.items()
    ]
    css = Markup((TEMPLATES / "page.css").read_text(encoding="utf-8"))
    return environment.get_template("compare.html.j2").render(css=css, a=a, b=b, views=views)


def _charts(a: Side, b: Side, name: str) -> list[dict[str, Any]]:
    """A chart a column, both commits in it."""
    left, right = a.datasets[name].curve or {}, b.datasets[name].curve or {}
    charts = []
    for column in [*left, *(other for other in right if other not in left)]:
        lines = {side.label: curve[column] for side, curve in ((a, left), (b, right)) if column in curve}
        series = series_of(lines, list(lines))
        charts.append(
            {
                "title": column,
                "names": list(lines),
                "svg": Markup(line_chart(series, column, "thousand images shown", column.replace("_", " "))),
            }
        )
    return charts


def _sheets(a: Side, b: Side, name: str) -> list[dict[str, Any]]:
    """Rows of pictures of both; a row's text once where both say the same."""
    left, right = a.datasets[name].sheets, b.datasets[name].sheets
    views = []
    for sheet in GRIDS:
        pairs = []
        for number in range(max(len(left.get(sheet, [])), len(right.get(sheet, [])))):
            pair = [
                (side.label, *_picture(own[sheet][number]))
                for side, own in ((a, left), (b, right))
                if number < len(own.get(sheet, []))
            ]
            pairs.append({"pictures": pair, "same": len({text for _, text, _, _, _ in pair}) == 1})
        if pairs:
            views.append({"name": sheet, "pairs": pairs})
    return views


def _picture(entry: tuple[str, bytes]) -> tuple[str, Markup, int, int]:
    text, payload = entry
    with Image.open(io.BytesIO(payload)) as image:
        width, height = image.size
    return text, Markup("data:image/png;base64," + base64.b64encode(payload).decode("ascii")), width, height
