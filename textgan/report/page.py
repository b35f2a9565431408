"""The page's deterministic part: one HTML file, styles, pictures and charts inside it, nothing asked of the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from textgan.params import Params
from textgan.report.assemble import PLACE
from textgan.report.bands import share
from textgan.report.cards import cards
from textgan.report.ceilings import CEILINGS, standings
from textgan.report.charts import charts, text_charts
from textgan.report.claims import COPIED, OF_ONE_CAPTION, SECONDS, VARIES, claims, of_kind, separated
from textgan.report.digits import significant
from textgan.report.pictures import sheet_view
from textgan.report.results import EXTRACTORS, LABELS, Results

TEMPLATES = Path(__file__).parent
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
    environment.filters.update(number=number, percent=percent, whole=whole, span=span, spans=spans, short=short)
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
        ceilings=CEILINGS,
        varies=VARIES,
        of_one_caption=OF_ONE_CAPTION,
        copied=COPIED,
        run_facts=Markup(PLACE),
    )


def dataset_view(result: Results, params: Params) -> dict[str, Any]:
    """What the template shows of one dataset."""
    value, found = result.value, claims(result)
    return {
        "name": result.name,
        "value": value,
        "params": params.datasets[result.name],
        "sheets": {
            name: sheet_view(result.directory, name, sheet, value["snapshot"]["height"])
            for name, sheet in value["sheets"].items()
        },
        "cards": cards(value),
        "groups": number_groups(value["numbers"]),
        "charts": charts(result),
        "text_charts": text_charts(result),
        "captions": result.captions,
        "images": result.images,
        "pairs": result.pairs,
        "claims": [{"claim": claim, "seconds": Markup(SECONDS.format(claim.stage))} for claim in found],
        "failing": sum(claim.holds is False for claim in found),
        "kinds": kinds(value),
        "separated": separated(value["apart"]) if value.get("apart") else {},
        "matrices": sorted((value.get("agreement") or {}).get("facts", []), key=lambda fact: -len(fact["values"])),
        "says": what_captions_say(result),
    }


def number_groups(numbers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Numbers by extractor, each with places on its own scale: as good as real on the left, the worst on the right."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for entry in numbers:
        reach = [entry["floor"], entry["value"], *entry["ceilings"].values(), 0.0]
        best, worst = min(reach), max(reach)
        if not entry["lower_is_better"]:
            best, worst = worst, best

        def place(value: float, best: float = best, worst: float = worst) -> float:
            # A root, so that what is near the floor can be told apart.
            share = (value - best) / (worst - best) if worst != best else 0.0
            return round(100 * max(0.0, min(1.0, share)) ** 0.5, 2)

        marks = [{"name": "floor", "at": place(entry["floor"])}]
        marks += [{"name": CEILINGS.get(name, name), "at": place(v)} for name, v in entry["ceilings"].items()]
        ends = sorted((place(entry["low"]), place(entry["high"])))
        view = {**entry, "at": place(entry["value"]), "from": ends[0], "to": ends[1]}
        groups.setdefault(entry["extractor"], []).append({**view, "marks": marks, "standings": standings(entry)})
    return [{"extractor": name, "numbers": rows} for name, rows in groups.items()]


def kinds(value: dict[str, Any]) -> list[dict[str, Any]]:
    """KID of each kind alone, with where it lies from its ruins."""
    alone = (value.get("by_kind") or {}).items()
    return [{**entry, "kind": kind, "standings": standings(of_kind(entry))} for kind, entry in alone]


def what_captions_say(result: Results) -> list[dict[str, Any]]:
    """A row a fact: in how many images it is said, and what is known of its truth."""
    record = result.captions or {}
    pixels = (record.get("pixels") or {}).get("facts") or {}
    rows = []
    for name, entry in (record.get("facts") or {}).items():
        if entry.get("precision") is not None:
            truth = f"right in {percent(entry['precision'])} of those looked at"
        elif name in pixels:
            seen = pixels[name]
            bounds = {"low": seen["precision_low"], "high": seen["precision_high"]}
            truth = f"given; the pixels agree in {seen['right']} of {seen['said']} ({span(bounds)})"
        else:
            truth = "given" if record["captioner"].startswith("annotations") else "not known"
        rows.append({"name": name, "said": entry["said"], "coverage": entry["coverage"], "truth": truth})
    return rows


def number(value: float | None) -> str:
    """Three significant digits, as many as intervals here bear out."""
    return "not computed" if value is None else significant(value)


def percent(value: float | None) -> str:
    """A share with one decimal."""
    return "not computed" if value is None else share(value)


def whole(value: Any) -> str:
    """A whole number, its thousands apart."""
    return f"{value:,}" if isinstance(value, int) else str(value)


def span(entry: dict[str, Any]) -> str:
    """The interval of a share, in per cent."""
    return f"{100 * entry['low']:.1f} – {100 * entry['high']:.1f}\N{NO-BREAK SPACE}%"


def spans(entry: dict[str, Any]) -> str:
    """The interval of a number."""
    return f"{significant(entry['low'])} – {significant(entry['high'])}"


def short(value: Any) -> str:
    """A hash by its first 16 digits; anything else as it is."""
    text = str(value)
    return text[:16] if len(text) == 64 else text
