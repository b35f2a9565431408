"""The paper's tables of results: pictures beside every ruin, words beside chance, z, copies, kinds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from textgan.report.ceilings import CEILINGS
from textgan.report.claims import separated
from textgan.report.latex import NOTHING, booktabs, code, interval, local, share
from textgan.report.paper_words import word
from textgan.report.results import Results

NOT_COMPUTED = "% not computed\n"


def results_tables(result: Results, language: str) -> list[str]:
    """All of them, in the order of the page."""
    value = result.value
    return [
        image_table(value, language),
        kinds_table(value, language),
        agreement_table(value, language),
        language_table(value, language),
        retrieval_table(value, language),
        latent_table(value, language),
        copies_table(value, language),
        supplied_table(value, language),
    ]


def _head(language: str, *keys: str) -> list[str]:
    return [word(key, language) for key in keys]


def image_table(value: dict[str, Any], language: str) -> str:
    """Image metrics with deviation, interval, floor and every ruin."""
    head = _head(language, "metric", "value", "deviation", "interval", "floor", *CEILINGS)
    rows = [
        [
            f"{word(entry['what'], language)} ({word(entry['extractor'], language)})",
            local(entry["value"], language),
            _number(entry["deviation"], language),
            interval(entry, language),
            local(entry["floor"], language),
            *(_number(entry["ceilings"].get(name), language) for name in CEILINGS),
        ]
        for entry in value["numbers"]
    ]
    return booktabs(head, rows, "l" + "r" * (len(head) - 1))


def kinds_table(value: dict[str, Any], language: str) -> str:
    """KID of each kind alone."""
    kinds = value.get("by_kind")
    if not kinds:
        return NOT_COMPUTED
    rows = [
        [
            word(kind, language),
            local(one["kid"], language),
            local(one["deviation"], language),
            interval(one, language),
            local(one["floor"], language),
            *(_number(one["ceilings"].get(name), language) for name in CEILINGS),
            str(one["images"]),
        ]
        for kind, one in kinds.items()
    ]
    head = [word("kind", language), f"KID ({word('lite2', language)})"]
    head += _head(language, "deviation", "interval", "floor", *CEILINGS, "images")
    return booktabs(head, rows, "l" + "r" * (len(head) - 1))


def agreement_table(value: dict[str, Any], language: str) -> str:
    """Facts measured again, with the control."""
    agreed = value.get("agreement")
    if not agreed:
        return NOT_COMPUTED
    rows = [
        [
            word(fact["name"], language),
            share(fact["matched"]["value"], language),
            interval(fact["matched"], language, share),
            share(fact["shuffled"]["value"], language),
            interval(fact["chance"], language, share),
            share(fact["base_rate"], language),
            share(agreed["real"][fact["name"]]["value"], language) if fact["name"] in agreed["real"] else NOTHING,
            str(fact["count"]),
        ]
        for fact in agreed["facts"]
    ]
    everything = agreed["main_all_right"]
    own = [word("all_right", language), share(everything["value"], language), interval(everything, language, share)]
    control = [share(everything["shuffled"], language), interval(everything["chance"], language, share)]
    rows.append([*own, *control, NOTHING, NOTHING, str(everything["count"])])
    head = _head(language, "fact", "right", "interval", "shuffled", "chance", "base", "real", "n")
    return booktabs(head, rows, "lrrrrrrr")


def language_table(value: dict[str, Any], language: str) -> str:
    """The same by the language of the prompt."""
    spoken = (value.get("agreement") or {}).get("by_language")
    if not spoken:
        return NOT_COMPUTED
    rows = [
        [
            word(tongue, language),
            word(name, language),
            share(right["value"], language),
            interval(right, language, share),
            interval(right["chance"], language, share),
        ]
        for tongue, facts in spoken.items()
        for name, right in facts.items()
    ]
    return booktabs(_head(language, "language", "fact", "right", "interval", "chance"), rows, "llrrr")


def retrieval_table(value: dict[str, Any], language: str) -> str:
    """R-precision between real pairs and shuffled prompts, each with its chance."""
    found = value.get("retrieval")
    if not found:
        return NOT_COMPUTED
    rows = [
        [
            word(label, language),
            share(found[key]["value"], language),
            interval(found[key], language, share),
            interval(found[key]["chance"], language, share),
        ]
        for key, label in (("real", "real"), ("generated", "generated_pairs"), ("shuffled", "shuffled_pairs"))
    ]
    return booktabs(_head(language, "pairs", "rprecision", "interval", "chance"), rows, "lrrr")


def latent_table(value: dict[str, Any], language: str) -> str:
    """What z does and what words leave alone."""
    rows = list(_latent_rows(value, language))
    head = _head(language, "measure", "value", "interval", "reference")
    return booktabs(head, rows, "lrrl") if rows else NOT_COMPUTED


def _latent_rows(value: dict[str, Any], language: str) -> Iterator[list[str]]:
    walked = value["interpolation"]
    measured = {"diversity": value["diversity"], **{name: walked[name] for name in ("unevenness", "ends_apart")}}
    for name, one in measured.items():
        if one:
            reference = word(f"{name}_is", language).format(steps=walked["steps"])
            yield [word(name, language), local(one["value"], language), interval(one, language), reference]
    apart = value.get("apart")
    for name, row in (separated(apart) if apart else {}).items():
        spread = interval(row, language, share) if apart and apart.get("intervals") else NOTHING
        chance = row["chance"]
        reference = f"{word('chance', language)}: {interval(chance, language, share)}" if chance else NOTHING
        yield [word(name.replace(" ", "_"), language), share(row["value"], language), spread, reference]


def copies_table(value: dict[str, Any], language: str) -> str:
    """Nearest training images in features and in pixels, with the planted control."""
    copied = value.get("memorisation")
    if not copied:
        return NOT_COMPUTED
    rows = []
    for name, one in (("features", copied), ("pixels", copied.get("pixels"))):
        if one:
            planted = one.get("planted")
            rows.append(
                [
                    word(name, language),
                    local(one["ratio"], language),
                    f"[{local(one['ratio_low'], language)}; {local(one['ratio_high'], language)}]",
                    share(one["nearer_than_test"], language),
                    interval(one, language, share) if "low" in one else NOTHING,
                    share(0.01, language),
                    share(planted["nearer_than_test"], language) if planted else NOTHING,
                    str(one["train_images"]),
                ]
            )
    head = _head(language, "searched", "ratio", "interval", "nearer", "interval", "luck", "planted", "train_images")
    return booktabs(head, rows, "lrrrrrrr")


def supplied_table(value: dict[str, Any], language: str) -> str:
    """What only weights of the user's give: FID of all images with its floor, CLIP score with chance."""
    rows = []
    full, clip = value.get("full"), value.get("clip")
    if full:
        own = [code(full["name"]), local(full["value"], language), interval(full, language)]
        rows.append([*own, f"{word('floor', language)}: {local(full['floor'], language)}"])
    if clip:
        chance = f"{word('chance', language)}: {interval(clip['chance'], language)}"
        for key, label in (("real", "real"), ("generated", "generated_pairs"), ("shuffled", "shuffled_pairs")):
            one = clip[key]
            name = f"CLIP ({word(label, language)})"
            rows.append(
                [name, local(one["value"], language), interval(one, language), chance if key != "real" else NOTHING]
            )
    return booktabs(_head(language, "metric", "value", "interval", "reference"), rows, "lrrl") if rows else NOT_COMPUTED


def _number(value: float | None, language: str) -> str:
    return NOTHING if value is None else local(value, language)
