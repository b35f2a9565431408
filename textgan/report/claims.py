"""What the page claims, each with the command that makes it again, its result, and whether it holds.

A claim that could not fail tells nothing: every number of the pictures is claimed against every ruin, and what does
not hold stays in the table. Seconds of the stages are facts of a machine: `assemble` fills them into their places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from textgan.report.bands import share, span, widened
from textgan.report.ceilings import beyond_all, called, told
from textgan.report.digits import significant
from textgan.report.results import Results

SECONDS = "<!-- seconds of {} -->"
COPIED = 0.02
"""From this share of samples nearer to training than 99 % of test images on, copying is suspected; 0.01 by luck."""

APART = 0.8
"""From this share on, of the changed word and of each fact that should stay, words and z count as apart."""

UNTOLD = ("precision", "density")
"""Of which nothing is claimed: one good picture again and again scores better on them than real images do."""

VARIES = 0.2
"""From this diversity on, z counts as changing the picture: half of what drawn pictures of one caption have.

Those say more in their captions than photos do, so that real photos of one caption differ more.
"""
OF_ONE_CAPTION = 0.43
"""Diversity of drawn pictures of one caption at 64 px (benchmarks/caption_spread.py, 12 captions, 8 pictures each)."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One row; `holds` is None where nothing measured it."""

    text: str
    command: str
    stage: str
    result: str
    holds: bool | None


Again = Callable[[str], tuple[str, str]]


def claims(result: Results) -> list[Claim]:
    """Of one dataset, the weak ones included: whether each holds follows from the numbers alone."""
    name, value = result.name, result.value

    def again(stage: str) -> tuple[str, str]:
        return f"dvc repro -f -s {stage}@{name}", f"{stage}@{name}"

    parts = (_words, _latent, _pictures, _copies)
    return [*_data(result, again), *(claim for part in parts for claim in part(value, again))]


def judged(fact: dict[str, Any]) -> bool:
    """Whether prompts said more than one value of a fact: of a single kind, chance is as right as any model."""
    return sum(any(row) for row in fact["confusion"]) > 1


def _data(result: Results, again: Again) -> list[Claim]:
    images = result.images
    if not images:
        return []
    rejected = sum(images["rejected"].values())
    said = f"{images['read']} read = {images['written']} written + {rejected} rejected"
    holds = images["read"] == images["written"] + rejected
    if result.pairs:
        paired = {split: entry.get("images") for split, entry in result.pairs["splits"].items()}
        said += f"; {sum(count or 0 for count in paired.values())} with captions"
        holds = holds and paired == {split: entry["images"] for split, entry in images["splits"].items()}
    return [Claim("No image is lost without a reason", *again("images"), said, holds)]


def _words(value: dict[str, Any], again: Again) -> list[Claim]:
    """Facts and R-precision beyond chance, and the controls within it."""
    found: list[Claim] = []
    controls: list[tuple[str, float, dict[str, Any], Callable[[float], str]]] = []
    agreed, retrieval = value.get("agreement"), value.get("retrieval")
    for fact in (agreed or {}).get("facts", []):
        if agreed and fact["name"] in agreed["main_facts"] and judged(fact):
            holds = fact["matched"]["low"] > fact["chance"]["high"]
            said = f"right {span(fact['matched'], share)}; chance\N{NO-BREAK SPACE}{span(fact['chance'], share)}"
            found.append(Claim(f"The {fact['name']} follows the words beyond chance", *again("evaluate"), said, holds))
            controls.append((fact["name"], fact["shuffled"]["value"], fact["chance"], share))
    if retrieval:
        own, other = retrieval["generated"], retrieval["shuffled"]
        said = f"first of 100 {span(own, share)}; chance\N{NO-BREAK SPACE}{span(own['chance'], share)}"
        holds = own["low"] > own["chance"]["high"]
        found.append(Claim("Pictures find their own captions beyond chance", *again("evaluate"), said, holds))
        controls.append(("R-precision", other["value"], other["chance"], share))
    score = value.get("clip")
    if score:
        holds = score["generated"]["low"] > score["chance"]["high"]
        said = (
            f"{span(score['generated'])}; chance\N{NO-BREAK SPACE}{span(score['chance'])}; real {span(score['real'])}"
        )
        found.append(Claim("CLIP finds the words in the picture beyond chance", *again("evaluate"), said, holds))
        controls.append(("CLIP score", score["shuffled"]["value"], score["chance"], significant))
    if not found:
        return [Claim("The words decide the picture", *again("evaluate"), "not computed", None)]
    outcomes = []
    for name, right, chance, write in controls:
        low, high = widened(chance, len(controls), 1.0 if write is share else None)
        inside = low <= right <= high
        band = f"{write(right)} in\N{NO-BREAK SPACE}[{write(low)} to {write(high)}]".replace(" ", "\N{NO-BREAK SPACE}")
        outcomes.append((f"{name} {band}{'' if inside else ' (outside)'}", inside))
    text = "The control fails: with shuffled prompts all are within chance"
    said = f"{', '.join(said for said, _ in outcomes)}; bands of 95 % for all {len(controls)} together"
    return [*found, Claim(text, *again("evaluate"), said, all(inside for _, inside in outcomes))]


def _latent(value: dict[str, Any], again: Again) -> list[Claim]:
    """Does z change the picture, and leave alone what the words say?"""
    found = []
    spread = value.get("diversity")
    if spread:
        text = f"z changes the picture: samples of one prompt spread at least {VARIES:g} times as far as real images"
        said = (
            f"{span(spread)} of the spread of real images of that kind; 0: one picture a prompt,"
            f" {significant(OF_ONE_CAPTION)}: drawn pictures of one caption, of which the limit is half"
        )
        found.append(Claim(text, *again("evaluate"), said, spread["low"] >= VARIES))
    apart = value.get("apart")
    if apart and apart["kept"]:  # pictures in which no other fact is read tell nothing
        text = "The same z with another colour word changes the colour and little else"
        rows = separated(apart)
        said = ", ".join(f"{name} {row['text']}" for name, row in rows.items())
        holds = all(row["low"] >= APART and row["beyond"] for row in rows.values())
        found.append(Claim(text, *again("evaluate"), f"{said}; limit {share(APART)}", holds))
    return found


def separated(apart: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Share by what should be there or stay: with interval and chance, where evaluation measured them."""
    shares = {"colour_right": apart["colour_right"], **{f"{fact}_kept": right for fact, right in apart["kept"].items()}}
    rows = {}
    for name, right in shares.items():
        interval = apart.get("intervals", {}).get(name, {"value": right, "low": right, "high": right})
        chance = apart.get("chance", {}).get(name)
        text = span(interval, share) if name in apart.get("intervals", {}) else share(right)
        text += f" (chance {share(chance['value'])})" if chance else ""
        beyond = chance is None or interval["low"] > chance["high"]
        rows[name.replace("_", " ")] = {**interval, "chance": chance, "beyond": beyond, "text": text}
    return rows


def _pictures(value: dict[str, Any], again: Again) -> list[Claim]:
    """Every number that a collapse does not please better than every ruin; every kind alone as well."""
    found = []
    for number in value["numbers"]:
        holds = None if number["what"] in UNTOLD else beyond_all(number)
        if holds is not None:
            said = f"{span(number)}; floor {significant(number['floor'])}. {told(number)}"
            found.append(Claim(f"{called(number)}: better than every ruin", *again("evaluate"), said, holds))
    for kind, entry in (value.get("by_kind") or {}).items():
        number = of_kind(entry)
        holds = beyond_all(number)
        if holds is not None:
            said = f"{span(number)}; floor {significant(number['floor'])}. {told(number)}"
            text = f"{called(number)}, {kind} alone: better than every ruin"
            found.append(Claim(text, *again("evaluate"), said, holds))
    return found


def of_kind(entry: dict[str, Any]) -> dict[str, Any]:
    """One kind's KID in the form of a number of all kinds."""
    return {**entry, "value": entry["kid"], "what": "kid", "extractor": "lite2", "lower_is_better": True}


def _copies(value: dict[str, Any], again: Again) -> list[Claim]:
    """In features and in pixels: what the one misses, the other may see. And the search sees copies where there are."""
    copied = value.get("memorisation")
    if not copied:
        return []
    searched = [(name, one) for name, one in (("features", copied), ("pixels", copied.get("pixels"))) if one]
    said = [
        f"{name}: {share(one['nearer_than_test'])} nearer to a training image than 99 % of test images are"
        f" (1 % by luck, limit {share(COPIED)}), median distance {significant(one['ratio'])}"
        f" [{significant(one['ratio_low'])} to {significant(one['ratio_high'])}] × that of test images"
        for name, one in searched
    ]
    holds = all(one["nearer_than_test"] <= COPIED for _, one in searched)
    found = [Claim("Samples are not copies of training images", *again("evaluate"), "; ".join(said), holds)]
    planted = [(name, one["planted"], one.get("planted_hard")) for name, one in searched if one.get("planted")]
    if planted:
        said = [
            f"{name}: {share(one['found'])} of the planted found, {share(one['nearer_than_test'])} of all nearer"
            + (f"; of harder ones (JPEG {hard['jpeg_quality']}) {share(hard['found'])} found" if hard else "")
            for name, one, hard in planted
        ]
        text = f"Copies would be seen: {share(planted[0][1]['share'])} of the samples replaced by training images"
        holds = all(one["flagged"] for _, one, _ in planted)
        found.append(Claim(text, *again("evaluate"), "; ".join(said), holds))
    return found
