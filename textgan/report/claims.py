"""What the page claims, each with the command that makes it again, its result, and whether it holds.

Seconds of the stages are facts of a machine: the page has places for them, and `assemble` fills them in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from textgan.report.digits import significant
from textgan.report.results import EXTRACTORS, LABELS, Results

SECONDS = "<!-- seconds of {} -->"
COPIED = 0.02
"""From this share of samples nearer to training than 99 % of test images on, copying is suspected; 0.01 by luck."""

APART = 0.8
"""From this share on, of the changed word and of each fact that should stay, words and z count as apart."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One row; `holds` is None where nothing measured it."""

    text: str
    command: str
    stage: str
    result: str
    holds: bool | None


def claims(result: Results) -> list[Claim]:
    """Of one dataset, the weak ones included: whether each holds follows from the numbers alone."""
    name, value = result.name, result.value

    def again(stage: str) -> tuple[str, str]:
        return f"dvc repro -f -s {stage}@{name}", f"{stage}@{name}"

    found = list(_data(result, again))
    found += _words(value, again)
    for number in value["numbers"]:
        blurred = number["ceilings"].get("blurred")
        if number["what"] in ("kid", "fd") and blurred is not None:
            seen_by = EXTRACTORS.get(number["extractor"], number["extractor"])
            text = f"{LABELS[number['what']]} on {seen_by}: samples are nearer to real images than blurred ones are"
            told = f"{_span(number, significant)}; floor {significant(number['floor'])}, blurred {significant(blurred)}"
            found.append(Claim(text, *again("evaluate"), told, number["high"] < blurred))
    copied = value.get("memorisation")
    if copied:
        near, ratio = copied["nearer_than_test"], copied["ratio"]
        told = (
            f"{_share(near)} nearer to a training image than 99 % of test images are (1 % by luck);"
            f" median distance {significant(ratio)} × that of test images"
        )
        holds = near <= COPIED
        found.append(Claim("Samples are not copies of training images", *again("evaluate"), told, holds))
    apart = value.get("apart")
    if apart and apart["kept"]:  # pictures in which no other fact is read tell nothing
        kept = ", ".join(f"{fact} in {_share(share)}" for fact, share in apart["kept"].items())
        told = f"new colour right in {_share(apart['colour_right'])}; kept: {kept}"
        holds = min([apart["colour_right"], *apart["kept"].values()]) >= APART
        text = "The same z with another colour word changes the colour and little else"
        found.append(Claim(text, *again("evaluate"), told, holds))
    return found


Again = Callable[[str], tuple[str, str]]


def _data(result: Results, again: Again) -> list[Claim]:
    images = result.images
    if not images:
        return []
    rejected = sum(images["rejected"].values())
    told = f"{images['read']} read = {images['written']} written + {rejected} rejected"
    holds = images["read"] == images["written"] + rejected
    return [Claim("No image is lost without a reason", *again("images"), told, holds)]


def _words(value: dict[str, Any], again: Again) -> list[Claim]:
    """Facts and R-precision beyond chance, and the controls within it."""
    found, controls = [], []
    agreed, retrieval = value.get("agreement"), value.get("retrieval")
    for fact in (agreed or {}).get("facts", []):
        if agreed and fact["name"] in agreed["main_facts"]:
            holds = fact["matched"]["low"] > fact["chance"]["high"]
            told = f"right {_span(fact['matched'], _share)}; chance\N{NO-BREAK SPACE}{_span(fact['chance'], _share)}"
            found.append(Claim(f"The words decide the {fact['name']}", *again("evaluate"), told, holds))
            inside = fact["chance"]["low"] <= fact["shuffled"]["value"] <= fact["chance"]["high"]
            controls.append((fact["name"], fact["shuffled"]["value"], inside))
    if retrieval:
        own, other = retrieval["generated"], retrieval["shuffled"]
        told = f"first of 100 {_span(own, _share)}; chance\N{NO-BREAK SPACE}{_span(own['chance'], _share)}"
        holds = own["low"] > own["chance"]["high"]
        found.append(Claim("Pictures find their own captions", *again("evaluate"), told, holds))
        inside = other["chance"]["low"] <= other["value"] <= other["chance"]["high"]
        controls.append(("R-precision", other["value"], inside))
    if controls:
        told = ", ".join(f"{name} {_share(share)}{'' if inside else ' (outside)'}" for name, share, inside in controls)
        text = "The control fails: with shuffled prompts all are within chance"
        found.append(Claim(text, *again("evaluate"), told, all(inside for _, _, inside in controls)))
    if not found:
        return [Claim("The words decide the picture", *again("evaluate"), "not computed", None)]
    return found


def _span(entry: dict[str, Any], write: Callable[[float], str]) -> str:
    return f"{write(entry['value'])} [{write(entry['low'])} to {write(entry['high'])}]".replace(
        " ", "\N{NO-BREAK SPACE}"
    )


def _share(value: float) -> str:
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"
