"""A number of the pictures beside what ruined images score on it: which of the ruins the model is better than."""

from __future__ import annotations

from typing import Any, Literal

from textgan.report.digits import significant
from textgan.report.results import EXTRACTORS, LABELS

Standing = Literal["better", "alike", "worse", "unseen"]
CEILINGS = {"blurred": "blurred", "collapsed": "ten images repeated", "other_kind": "the other kind"}
"""What evaluation ruins real images by, as the page names it."""
SAID = {
    "better": "Better than",
    "alike": "Not told apart from",
    "worse": "Worse than",
    "unseen": "Blind to",
}


def standing(number: dict[str, Any], ceiling: float) -> Standing:
    """Where the interval of a number lies from one ceiling.

    unseen: these ruined images score no worse than real ones do (the floor), so the metric does not see the ruin and
    no model could be beyond it.
    """
    sign = 1.0 if number["lower_is_better"] else -1.0
    best, worst = sorted((sign * number["low"], sign * number["high"]))
    if sign * ceiling <= sign * number["floor"]:
        return "unseen"
    return "better" if worst < sign * ceiling else "worse" if best > sign * ceiling else "alike"


def standings(number: dict[str, Any]) -> dict[str, Standing]:
    """Ceiling -> where the number lies from it."""
    return {name: standing(number, value) for name, value in number["ceilings"].items()}


def beyond_all(number: dict[str, Any]) -> bool | None:
    """Whether the whole interval is better than every ruin that the metric sees; None where it sees none."""
    seen = [where for where in standings(number).values() if where != "unseen"]
    return all(where == "better" for where in seen) if seen else None


def hardest(number: dict[str, Any]) -> tuple[str, float] | None:
    """The best score of ruined images, of the ruins that the metric sees: a model is beyond it or not beyond all."""
    seen = [(name, number["ceilings"][name]) for name, where in standings(number).items() if where != "unseen"]
    sign = 1.0 if number["lower_is_better"] else -1.0
    return min(seen, key=lambda one: (sign * one[1], one[0])) if seen else None


def told(number: dict[str, Any]) -> str:
    """`Better than blurred 1.07. Worse than ten images repeated 0.618.`: every ceiling with where the number lies."""
    sentences = []
    for where, words in SAID.items():
        names = [
            f"{CEILINGS.get(name, name)}\N{NO-BREAK SPACE}{significant(number['ceilings'][name])}"
            for name, found in standings(number).items()
            if found == where
        ]
        if names:
            sentences.append(f"{words} {', '.join(names)}.")
    return " ".join(sentences)


def called(number: dict[str, Any]) -> str:
    """`KID on EfficientNet-Lite2`."""
    extractor = EXTRACTORS.get(number["extractor"], number["extractor"])
    return f"{LABELS.get(number['what'], number['what'])} on {extractor}"
