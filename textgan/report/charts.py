"""The page's charts: curves of the training, and how long and how rare the captions' words are."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from textgan.plots import Series, line_chart, series_of
from textgan.report.results import Results

CHARTS = (
    ("Losses of the game", "loss", {"d_loss": "discriminator", "g_loss": "generator"}),
    (
        "Mean logits of the discriminator",
        "logit",
        {
            "real_logits": "real",
            "fake_logits": "generated",
            "real_matched_logits": "real with caption",
            "fake_matched_logits": "generated with caption",
        },
    ),
    (
        "Share that picks its own caption in the batch",
        "share",
        {"choice_right": "real", "fake_choice_right": "generated"},
    ),
    ("Loss of picking captions", "loss", {"choice_loss": "choice"}),
    (
        "Distance of a sample to the real image of its caption",
        "distance",
        {"pair_loss": "in features", "pixel_loss": "in pixels"},
    ),
    (
        "Distance between samples of one caption",
        "distance",
        {"pair_apart": "in features", "pixel_apart": "in pixels"},
    ),
    ("KID on the select split, by which weights are chosen", "KID", {"select_kid": "KID"}),
)
"""Title, what lies upwards, column -> what it is called; columns that are not here get a chart each."""
TEXT_CHARTS = (
    ("lengths", "Captions of train by their length", "words", "captions"),
    (
        "rank_frequency",
        "How often each word of train stands, by its rank (powers of ten)",
        "rank, as a power of ten",
        "times, as a power of ten",
    ),
)
"""Of the manifest of pairs: name, title, what lies along and upwards."""


def charts(result: Results) -> list[dict[str, Any]]:
    """Curves of the training; columns that no chart claims are drawn one a chart, under their own names."""
    plain = {name: name.replace("_", " ") for name in result.curve}
    claimed = {name for _, _, names in CHARTS for name in names}
    others = ((title, title, {name: title}) for name, title in plain.items() if name not in claimed)
    views = []
    for title, upwards, names in (*CHARTS, *others):
        lines = series_of(result.curve, tuple(names))
        if lines:
            svg = Markup(line_chart(lines, title, "thousand images shown", upwards))
            views.append({"title": title, "svg": svg, "names": [names[one.name] for one in lines]})
    return views


def text_charts(result: Results) -> list[dict[str, Any]]:
    """The lengths and the words of the captions, as the stage `pairs` counted them."""
    plots = (result.pairs or {}).get("plots") or {}
    views = []
    for name, title, along, upwards in TEXT_CHARTS:
        if plots.get(name):
            x, y = zip(*plots[name], strict=True)
            views.append({"title": title, "svg": Markup(line_chart([Series(name, x, y)], title, along, upwards))})
    return views
