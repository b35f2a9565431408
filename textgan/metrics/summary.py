"""What evaluation prints: a line for each number that a claim of the page rests on."""

from __future__ import annotations

from typing import Any

PRINTED = ("kid", "fd", "recall", "coverage")


def summary(result: dict[str, Any]) -> list[str]:
    """The main numbers, a line each, and what was not computed."""
    lines = [_distance(number) for number in result["numbers"] if number["what"] in PRINTED]
    lines += _agreement(result["agreement"]) + _retrieval(result["retrieval"])
    copied = result["memorisation"]
    lines += [_copies("Lite2", copied), _copies(f"pixels {copied['pixels']['side_px']}", copied["pixels"])]
    lines += _apart(result["apart"]) + _of_z(result["diversity"], result["interpolation"])
    return lines + [f"{name}: not computed. {reason}" for name, reason in result["not_computed"].items()]


def _distance(number: dict[str, Any]) -> str:
    values = f"{number['value']:.4g} {_span(number, '.4g')}, floor {number['floor']:.4g}"
    blurred = number["ceilings"].get("blurred")
    return f"{number['name']}: {values}" + ("" if blurred is None else f", blurred {blurred:.4g}")


def _agreement(agreed: dict[str, Any] | None) -> list[str]:
    if not agreed:
        return []
    lines = []
    for fact in agreed["facts"]:
        control = f"exactly {fact['shuffled_exact']:.1%}, prompt base rate {fact['base_rate']:.1%}"
        lines.append(
            f"agreement {fact['name']}: {fact['matched']['value']:.1%} {_span(fact['matched'])} of {fact['count']};"
            f" chance {_span(fact['chance'])}, shuffled prompts {fact['shuffled']['value']:.1%} ({control})"
        )
    both = agreed["main_all_right"]
    control = f"chance {_span(both['chance'])}, shuffled prompts {both['shuffled']:.1%}"
    together = f"{' and '.join(agreed['main_facts'])} all right: {both['value']:.1%} {_span(both)} of {both['count']}"
    return [*lines, f"agreement, {together}; {control}"]


def _retrieval(found: dict[str, Any] | None) -> list[str]:
    if not found:
        return []
    own = found["generated"]
    compared = f"{own['distinct']} different captions, {own['fact_sets']} sets of facts, {own['masked']:.2g} masked"
    return [
        f"{found['name']}: {own['value']:.1%} {_span(own)}, chance {_span(own['chance'])}; real"
        f" {found['real']['value']:.1%}, shuffled {found['shuffled']['value']:.1%} ({compared} of each picture)"
    ]


def _copies(how: str, found: dict[str, Any]) -> str:
    planted, searched = found["planted"], "all " if found["all_of_train"] else ""
    return (
        f"copies by {how}: {found['nearer_than_test']:.1%} {_span(found)} nearer to one of {searched}"
        f"{found['train_images']} training images than 99 % of test images are, ratio of medians {found['ratio']:.3g};"
        f" {'SUSPECTED' if found['flagged'] else 'not suspected'} (from {found['suspected_from']:.0%} on);"
        f" with {planted['share']:.0%} planted {planted['nearer_than_test']:.1%},"
        f" {'flagged' if planted['flagged'] else 'NOT FLAGGED'};"
        f" copies of JPEG quality {found['planted_hard']['jpeg_quality']} found in {found['planted_hard']['found']:.0%}"
    )


def _apart(apart: dict[str, Any] | None) -> list[str]:
    lines = []
    for name, own in (apart or {}).get("intervals", {}).items():
        chance = apart["chance"][name]  # type: ignore[index]
        lines.append(
            f"the same z, another colour word: {name.replace('_', ' ')} {own['value']:.1%} {_span(own)}, chance"
            f" {_span(chance)}, {apart['pictures']} pictures"  # type: ignore[index]
        )
    return lines


def _of_z(spread: dict[str, Any] | None, walked: dict[str, Any]) -> list[str]:
    lines = []
    if spread:
        value = f"{spread['value']:.3g} {_span(spread, '.3g')} of that of real images, {spread['prompts']} prompts"
        lines.append(f"spread of one prompt's samples: {value}")
    uneven, ends = walked["unevenness"], walked["ends_apart"]
    if uneven:
        lines.append(
            f"between two z: largest step {uneven['value']:.3g} {_span(uneven, '.3g')} times the mean one (1: even,"
            f" {walked['steps']}: one jump); the ends lie {ends['value']:.3g} {_span(ends, '.3g')} times as far apart"
            f" as real images; {walked['still']} of {walked['walks']} walks do not move"
        )
    return lines


def _span(entry: dict[str, Any], form: str = ".1%") -> str:
    return f"[{entry['low']:{form}}, {entry['high']:{form}}]"
