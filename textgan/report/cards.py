"""The page's first look: the main numbers, each with what it must be held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textgan.report.bands import share
from textgan.report.ceilings import CEILINGS, hardest, standings
from textgan.report.claims import OF_ONE_CAPTION, VARIES, judged
from textgan.report.digits import significant
from textgan.report.results import EXTRACTORS

VERDICTS = {"better": "passed", "alike": "not told apart", "worse": "not passed"}


@dataclass(frozen=True, slots=True)
class Card:
    """A number, what it is, what stands beside it; `weak` where it does not pass what it should."""

    value: str
    what: str
    beside: str
    weak: bool = False


def cards(value: dict[str, Any]) -> list[Card]:
    """Main facts, R-precision, KID of each extractor beside the hardest ruin, diversity."""
    found = []
    agreed, retrieval = value.get("agreement"), value.get("retrieval")
    for fact in (agreed or {}).get("facts", []):
        if agreed and fact["name"] in agreed["main_facts"] and judged(fact):
            weak = fact["matched"]["low"] <= fact["chance"]["high"]
            beside = f"shuffled prompts: {share(fact['shuffled']['value'])}"
            found.append(Card(share(fact["matched"]["value"]), f"{fact['name']} as asked", beside, weak))
    if retrieval:
        own = retrieval["generated"]
        beside = f"shuffled captions: {share(retrieval['shuffled']['value'])}"
        weak = own["low"] <= own["chance"]["high"]
        found.append(Card(share(own["value"]), "find their own caption among 100", beside, weak))
    for number in value["numbers"]:
        if number["what"] == "kid":
            found.append(_distance(number))
    spread = value.get("diversity")
    if spread:
        beside = f"0: z changes nothing; drawn pictures of one caption: {significant(OF_ONE_CAPTION)}"
        what = "spread of one prompt's samples, that of real images being 1"
        found.append(Card(significant(spread["value"]), what, beside, spread["low"] < VARIES))
    return found


def _distance(number: dict[str, Any]) -> Card:
    """KID with its deviation, floor, and the ruin that is the hardest to be better than."""
    what = f"KID, {EXTRACTORS.get(number['extractor'], number['extractor'])}"
    beside, weak, worst = f"floor {significant(number['floor'])}", False, hardest(number)
    if worst is not None:
        name, ceiling = worst
        where = standings(number)[name]
        weak = where != "better"
        beside += f"; {CEILINGS.get(name, name)} {significant(ceiling)}: {VERDICTS[where]}"
    if number["deviation"] is not None:
        beside = f"± {significant(number['deviation'])}; {beside}"
    return Card(significant(number["value"]), what, beside, weak)
