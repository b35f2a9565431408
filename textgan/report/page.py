"""The page's deterministic part: one HTML file, styles, pictures and charts inside it, nothing asked of the network."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image

from textgan.params import Params
from textgan.plots import line_chart, series_of
from textgan.report.assemble import PLACE
from textgan.report.claims import SECONDS, claims
from textgan.report.results import EXTRACTORS, LABELS, Results

TEMPLATES = Path(__file__).parent
CHARTS = (
    ("Losses", ("d_loss", "g_loss")),
    ("Mean logits", ("real_logits", "fake_logits", "real_matched_logits", "fake_matched_logits")),
    ("Own caption picked among the batch's", ("choice_right", "fake_choice_right")),
)
SHORT_TRAINING = 100_000
"""Images shown below which photos come out as blobs, and the page says so."""
SOURCES = {
    "annotations": "annotations beside the export",
    "drawn": "what the pictures were drawn from",
    "export": "the export's name, which tells the kind",
    "classifier": "an ImageNet classifier",
    "probe": "measured in the picture and said only above a threshold",
}
"""What is known of where a fact comes from, by its source in the captions."""


def page(results: list[Results], params: Params) -> str:
    """The whole page with a place left for the run facts."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=number, percent=percent, points=points)
    template = environment.get_template("page.html.j2")
    return template.render(
        css=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        results=[dataset_view(result, params) for result in results],
        preset=params.preset,
        drawn=bool(params.draw),
        short_training=SHORT_TRAINING,
        sources=SOURCES,
        labels=LABELS,
        extractors=EXTRACTORS,
        run_facts=Markup(PLACE),
    )


def dataset_view(result: Results, params: Params) -> dict[str, Any]:
    """What the template shows of one dataset."""
    value = result.value
    return {
        "name": result.name,
        "value": value,
        "params": params.datasets[result.name],
        "sheets": {name: sheet_view(result.directory, sheet) for name, sheet in value["sheets"].items()},
        "groups": number_groups(value["numbers"]),
        "charts": charts(result),
        "captions": result.captions,
        "images": result.images,
        "pairs": result.pairs,
        "claims": [{"claim": claim, "seconds": Markup(SECONDS.format(claim.stage))} for claim in claims(result)],
        "matrices": (value.get("agreement") or {}).get("facts", []),
    }


def sheet_view(directory: Path, sheet: dict[str, Any]) -> dict[str, Any]:
    """A sheet with its pictures inside, as data addresses, and their sizes."""
    pictures = []
    for name in sheet["files"]:
        payload = (directory / name).read_bytes()
        with Image.open(directory / name) as image:
            width, height = image.size
        source = "data:image/png;base64," + base64.b64encode(payload).decode("ascii")
        pictures.append({"src": Markup(source), "width": width, "height": height})
    return {**sheet, "pictures": pictures}


def number_groups(numbers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Numbers by extractor, each with places on its own scale, from the floor's end to the worst ceiling's."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for entry in numbers:
        reach = [entry["floor"], entry["value"], *entry["ceilings"].values(), 0.0]
        low, high = min(reach), max(reach)

        def place(value: float, low: float = low, high: float = high) -> float:
            # A root, so that what is near the floor can be told apart.
            share = (value - low) / (high - low) if high > low else 0.0
            return round(100 * max(0.0, min(1.0, share)) ** 0.5, 2)

        marks = [{"name": "floor", "at": place(entry["floor"])}]
        marks += [{"name": name.replace("_", " "), "at": place(v)} for name, v in entry["ceilings"].items()]
        view = {**entry, "at": place(entry["value"]), "from": place(entry["low"]), "to": place(entry["high"])}
        groups.setdefault(entry["extractor"], []).append({**view, "marks": marks})
    return [{"extractor": name, "numbers": rows} for name, rows in groups.items()]


def charts(result: Results) -> list[dict[str, Any]]:
    """Curves of the training; columns that no chart claims are drawn one a chart."""
    views, claimed = [], set()
    for title, names in CHARTS:
        found = series_of(result.curve, names)
        if found:
            claimed |= {one.name for one in found}
            views.append((title, found))
    for name in result.curve:
        if name not in claimed:
            views.append((name.replace("_", " "), series_of(result.curve, [name])))
    return [
        {"title": title, "svg": Markup(line_chart(lines, title, "kimg shown")), "names": [one.name for one in lines]}
        for title, lines in views
    ]


def number(value: float | None) -> str:
    """Four significant digits; a dash for what was not computed."""
    return "not computed" if value is None else f"{value:.4g}"


def percent(value: float | None) -> str:
    """A share with one decimal."""
    return "not computed" if value is None else f"{100 * value:.1f} %"


def points(value: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * value:+.1f}"
