"""The page's deterministic part: one HTML file, styles, pictures and charts inside it, nothing asked of the network."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image

from textgan.params import Params
from textgan.plots import Series, line_chart, series_of
from textgan.report.assemble import PLACE
from textgan.report.claims import SECONDS, claims
from textgan.report.digits import significant
from textgan.report.results import EXTRACTORS, LABELS, Results

TEMPLATES = Path(__file__).parent
CHARTS = (
    ("Losses of the game", {"d_loss": "discriminator", "g_loss": "generator"}),
    (
        "Mean logits of the discriminator",
        {
            "real_logits": "real",
            "fake_logits": "generated",
            "real_matched_logits": "real with caption",
            "fake_matched_logits": "generated with caption",
        },
    ),
    ("Share that picks its own caption in the batch", {"choice_right": "real", "fake_choice_right": "generated"}),
    ("Loss of picking captions", {"choice_loss": "choice"}),
    ("Distance of a sample to the real image of its caption", {"pair_loss": "in features", "pixel_loss": "in pixels"}),
    ("Distance between samples of one caption", {"pair_apart": "in features", "pixel_apart": "in pixels"}),
    ("KID on the select split, by which weights are chosen", {"select_kid": "KID"}),
)
"""Title, and column -> what it is called; columns that are not here get a chart each, under their own names."""
TEXT_CHARTS = (
    ("lengths", "Captions of train by their length", "words"),
    ("rank_frequency", "How often each word of train stands, by its rank (powers of ten)", "rank, as a power of ten"),
)
"""Of the manifest of pairs: name, title, what lies along."""
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
        "text_charts": text_charts(result),
        "captions": result.captions,
        "images": result.images,
        "pairs": result.pairs,
        "claims": [{"claim": claim, "seconds": Markup(SECONDS.format(claim.stage))} for claim in claims(result)],
        "matrices": sorted((value.get("agreement") or {}).get("facts", []), key=lambda fact: -len(fact["values"])),
        "says": what_captions_say(result),
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
        marks += [{"name": name.replace("_", " "), "at": place(v)} for name, v in entry["ceilings"].items()]
        ends = sorted((place(entry["low"]), place(entry["high"])))
        view = {**entry, "at": place(entry["value"]), "from": ends[0], "to": ends[1]}
        groups.setdefault(entry["extractor"], []).append({**view, "marks": marks})
    return [{"extractor": name, "numbers": rows} for name, rows in groups.items()]


def charts(result: Results) -> list[dict[str, Any]]:
    """Curves of the training; columns that no chart claims are drawn one a chart."""
    plain = {name: name.replace("_", " ") for name in result.curve}
    claimed = {name for _, names in CHARTS for name in names}
    views = []
    for title, names in (*CHARTS, *((title, {name: title}) for name, title in plain.items() if name not in claimed)):
        lines = series_of(result.curve, tuple(names))
        if lines:
            svg = Markup(line_chart(lines, title, "thousand images shown"))
            views.append({"title": title, "svg": svg, "names": [names[one.name] for one in lines]})
    return views


def text_charts(result: Results) -> list[dict[str, Any]]:
    """The lengths and the words of the captions, as the stage `pairs` counted them."""
    plots = (result.pairs or {}).get("plots") or {}
    views = []
    for name, title, along in TEXT_CHARTS:
        if plots.get(name):
            x, y = zip(*plots[name], strict=True)
            views.append({"title": title, "svg": Markup(line_chart([Series(name, x, y)], title, along))})
    return views


def what_captions_say(result: Results) -> list[dict[str, Any]]:
    """A row a fact: in how many images it is said, and what is known of its truth."""
    record = result.captions or {}
    pixels = (record.get("pixels") or {}).get("facts") or {}
    rows = []
    for name, entry in (record.get("facts") or {}).items():
        if entry.get("precision") is not None:
            truth = f"right in {percent(entry['precision'])} of those looked at"
        elif name in pixels:
            truth = f"given; the pixels agree in {pixels[name]['right']} of {pixels[name]['said']}"
        else:
            truth = "given" if record["captioner"].startswith("annotations") else "not known"
        rows.append({"name": name, "said": entry["said"], "coverage": entry["coverage"], "truth": truth})
    return rows


def number(value: float | None) -> str:
    """Three significant digits, as many as intervals here bear out."""
    return "not computed" if value is None else significant(value)


def percent(value: float | None) -> str:
    """A share with one decimal."""
    return "not computed" if value is None else f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


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
