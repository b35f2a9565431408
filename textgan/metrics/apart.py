"""Words and z apart: the same z with another colour word must change the colour, and leave what else is seen.

Of each row (one z, one sentence, each colour in turn): the share of pictures with the new colour, and for every other
fact the share of its commonest value. A fact that is not seen counts as wrong and is no value that could be kept: a
row in which nothing is seen keeps nothing. Beside each stand an interval over rows and what chance gives: rows
of as many pictures, dealt from all of them at random, have a commonest value too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from textgan.metrics.agreement import Facts
from textgan.metrics.chance import DEALS
from textgan.metrics.intervals import Interval, share_of_units
from textgan.metrics.measuring import Measurer
from textgan.metrics.prompts import Prompts, by_lot
from textgan.metrics.sheets import Sheets
from textgan.params import DatasetParams
from textgan.sampling import Prompt, Snapshot, generate, read_prompts
from textgan.seeds import derive_seed
from textgan.text import Vocabulary, encode_prompt

COLOURS = 8
ROWS = 16
"""Sentences, each with a z of its own, where the prompts have as many; those of the grid come first."""
KEPT = ("kind", "side", "background")


def words_apart(
    snapshot: Snapshot,
    vocabulary: Vocabulary,
    params: DatasetParams,
    asked: Prompts,
    grid: Sequence[int],  # places of the prompts whose rows are shown
    measurer: Measurer,
    readable: set[str],  # facts that the measurer says of real pictures
    sheets: Sheets,
) -> dict[str, Any] | None:
    """Colours right and other facts kept, each with interval and chance; None where no colour can be changed."""
    from textgan.facts.wording import realise

    colours = sorted({facts["colour"] for facts in asked.facts if "colour" in facts})[:COLOURS]
    places = by_lot(asked, grid, ROWS, saying="colour")
    if len(colours) < 2 or not places:
        return None
    rows = []
    for place in places:
        facts, language = asked.facts[place], asked.languages[place]
        prompts: list[Prompt] = []
        for colour in colours:
            changed = {**facts, "colour": colour}
            text = realise(changed, language, derive_seed(params.evaluate.seed, "apart", place), 1)[0]
            ids = encode_prompt(text, vocabulary, params.pairs.max_tokens)
            prompts += read_prompts(snapshot, [text], [ids], [language], [changed])
        rows.append(generate(snapshot, prompts, [asked.seeds[place]] * len(prompts)))
    shown = [number for number, place in enumerate(places) if place in set(grid)]
    sheets.rows(
        "apart",
        [rows[number] for number in shown],
        [asked.texts[places[number]] for number in shown],
        [asked.languages[places[number]] for number in shown],
    )
    measured = measurer.measure(np.concatenate(rows))
    seen = [measured[start : start + len(colours)] for start in range(0, len(measured), len(colours))]
    return judged(colours, seen, readable, params.evaluate.seed)


def judged(colours: Sequence[str], rows: Sequence[Sequence[Facts]], readable: set[str], seed: int) -> dict[str, Any]:
    """What is seen in rows of pictures, one of each colour: shares by fact (`kept`), intervals and chance by name."""
    pairs = [list(zip(row, colours, strict=True)) for row in rows]
    right = {"colour_right": [sum(seen.get("colour") == colour for seen, colour in row) for row in pairs]}  # [R]
    chance = {"colour_right": _colour_by_chance(colours, rows, seed)}
    for name in KEPT:
        if name in readable:
            values = [[seen.get(name) for seen in row] for row in rows]
            right[f"{name}_kept"] = [_commonest(row) for row in values]
            chance[f"{name}_kept"] = _kept_by_chance(values, derive_seed(seed, "apart", name))
    sizes = [len(row) for row in rows]
    intervals = {name: share_of_units(own, sizes, seed, f"apart {name}") for name, own in right.items()}
    return {
        "colours": list(colours),
        "colour_right": intervals["colour_right"].value,
        "kept": {name: intervals[f"{name}_kept"].value for name in KEPT if f"{name}_kept" in intervals},
        "intervals": {name: asdict(interval) for name, interval in intervals.items()},
        "chance": {name: asdict(interval) for name, interval in chance.items()},
        "rows": len(rows),
        "pictures": sum(map(len, rows)),
    }


def _commonest(values: Sequence[str | None]) -> int:
    """Pictures with the commonest value; None is none."""
    return max(Counter(value for value in values if value is not None).values(), default=0)


def _kept_by_chance(rows: Sequence[Sequence[str | None]], seed: int) -> Interval:
    """The mean over rows of the commonest value's share, where the same pictures lie in rows at random."""
    names = sorted({value for row in rows for value in row if value is not None})
    numbers = {name: number for number, name in enumerate(names)}
    found = np.asarray([numbers[value] if value is not None else -1 for row in rows for value in row])
    rng, shape = np.random.default_rng(seed), (len(rows), len(rows[0]))
    means = np.zeros(DEALS)
    for deal in range(DEALS if names else 0):
        dealt = rng.permutation(found).reshape(shape)
        means[deal] = (dealt[:, :, None] == np.arange(len(names))).sum(axis=1).max(axis=1).mean() / shape[1]
    return _spread(means)


def _colour_by_chance(colours: Sequence[str], rows: Sequence[Sequence[Facts]], seed: int) -> Interval:
    """Share of pictures with the colour of a word that is dealt to them at random within their row."""
    found = np.asarray([[seen.get("colour", "") for seen in row] for row in rows])  # [R,C]
    rng, words = np.random.default_rng(derive_seed(seed, "apart", "colour")), np.asarray(colours)
    rows_of_words = np.tile(words, (len(rows), 1))
    return _spread(np.asarray([(rng.permuted(rows_of_words, axis=1) == found).mean() for _ in range(DEALS)]))


def _spread(values: np.ndarray) -> Interval:
    low, high = np.quantile(values, (0.025, 0.975))
    return Interval(float(values.mean()), float(low), float(high))


def separation(apart: dict[str, Any] | None) -> dict[str, float]:
    """What has a name of its own: each share, and what chance gives."""
    if apart is None:
        return {}
    names = {what: f"separation_{what}_{apart['pictures']}" for what in apart["intervals"]}
    shares = {name: apart["intervals"][what]["value"] for what, name in names.items()}
    return shares | {f"{name}_chance": apart["chance"][what]["value"] for what, name in names.items()}
