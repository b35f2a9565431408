"""The prompts that a snapshot is asked: of test captions, and of combinations that it never saw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from textgan.errors import UserError
from textgan.metrics.splits import Split
from textgan.sampling import Prompt, Snapshot, read_prompts
from textgan.seeds import derive_seed
from textgan.text import Vocabulary, encode_prompt


@dataclass(frozen=True, slots=True)
class Prompts:
    """Aligned lists: what is asked, in which language, what it says, and the seed of z."""

    texts: list[str]
    languages: list[str]
    facts: list[dict[str, str]]
    token_ids: list[list[int]]
    seeds: list[int]

    def __len__(self) -> int:
        return len(self.texts)


def read_by(snapshot: Snapshot, prompts: Prompts) -> Sequence[Prompt]:
    """The prompts as the snapshot's text encoder reads them."""
    return read_prompts(snapshot, prompts.texts, prompts.token_ids, prompts.languages, prompts.facts)


def of_split(split: Split, seed: int) -> Prompts:
    """One caption of each sample, chosen by seed and key: the mix of words that the split has."""
    picks = [
        derive_seed(seed, "caption", key) % len(texts) for key, texts in zip(split.keys, split.captions, strict=True)
    ]
    return Prompts(
        texts=[texts[pick] for texts, pick in zip(split.captions, picks, strict=True)],
        languages=[names[pick] for names, pick in zip(split.languages, picks, strict=True)],
        facts=split.said(),
        token_ids=[ids[pick] for ids, pick in zip(split.token_ids, picks, strict=True)],
        seeds=[derive_seed(seed, "z", key) for key in split.keys],
    )


def of_split_in_full(split: Split, languages: Sequence[str], count: int, seed: int) -> Prompts:
    """The first caption (which says every fact) of the same samples in each language, with the same z.

    Samples come in an order by hash: in that of the shards, all of one export would come first.
    """
    rows: list[tuple[str, str, dict[str, str], list[int], int]] = []
    samples = zip(split.keys, split.facts, split.captions, split.languages, split.token_ids, strict=True)
    for key, facts, texts, names, ids in sorted(samples, key=lambda row: derive_seed(seed, "agreement", row[0])):
        for language in languages:
            if language in names and len(rows) < count:
                place = names.index(language)
                z = derive_seed(seed, "agreement", key)
                rows.append((texts[place], language, json.loads(facts), ids[place], z))
    return _aligned(rows)


def heldout_prompts(
    vocabulary: Vocabulary, max_tokens: int, languages: Sequence[str], count: int, seed: int
) -> Prompts:
    """Held-out combinations in turn, each in every language with the same z: languages compare like with like."""
    from textgan.facts.heldout import heldout_facts
    from textgan.facts.wording import realise

    rows: list[tuple[str, str, dict[str, str], list[int], int]] = []
    for idx, facts in enumerate(heldout_facts(seed, -(-count // len(languages)))):
        for language in languages:
            text = realise(facts, language, derive_seed(seed, "wording", idx), 1)[0]
            ids = encode_prompt(text, vocabulary, max_tokens)
            rows.append((text, language, facts, ids, derive_seed(seed, "agreement", idx)))
    return _aligned(rows[:count])


def units(prompts: Prompts, protocol: str) -> list[int]:
    """Of each picture the unit that is independent of the others: its held-out combination (there are some forty, each
    asked many times); of test captions its sample, whose z and facts its languages share."""
    if protocol != "heldout":
        return prompts.seeds
    from textgan.facts.heldout import heldout

    combinations = [combination.items() for combination in heldout()]
    return [
        next(number for number, items in enumerate(combinations) if items <= facts.items()) for facts in prompts.facts
    ]


def by_lot(prompts: Prompts, first: Sequence[int], count: int, saying: str | None = None) -> list[int]:
    """Places of `count` prompts, no two of one z: the `first`, then others by lot (in their order all are of one kind).

    `saying`: of those alone that say this fact.
    """
    chosen: dict[int, int] = {}
    lots = [derive_seed(z, "apart", language) for z, language in zip(prompts.seeds, prompts.languages, strict=True)]
    for place in (*first, *sorted(range(len(prompts)), key=lots.__getitem__)):
        if (saying is None or saying in prompts.facts[place]) and len(chosen) < count:
            chosen.setdefault(prompts.seeds[place], place)
    return list(chosen.values())


def _aligned(rows: Sequence[tuple[str, str, dict[str, str], list[int], int]]) -> Prompts:
    if not rows:
        raise UserError("evaluate: no prompts; the captions have none of the languages in pairs.languages")
    texts, languages, facts, token_ids, seeds = (list(column) for column in zip(*rows, strict=True))
    return Prompts(texts, languages, facts, token_ids, seeds)  # type: ignore[arg-type]


def grid_prompts(prompts: Prompts, count: int) -> list[int]:
    """Places of `count` prompts that say different things, kinds and languages in turn, the same for every snapshot."""
    chosen: list[int] = []
    kinds = sorted({facts.get("kind", "") for facts in prompts.facts})
    languages = sorted(set(prompts.languages))
    seen: set[tuple[str, ...]] = set()
    for number in range(count):
        kind, language = kinds[number % len(kinds)], languages[(number // len(kinds)) % len(languages)]
        for place, facts in enumerate(prompts.facts):
            look = {(name, facts[name]) for name in ("colour", "background") if name in facts}
            if place in chosen or facts.get("kind", "") != kind or prompts.languages[place] != language:
                continue
            if not look & seen:
                chosen.append(place)
                seen |= look
                break
        else:
            rest = [place for place in range(len(prompts)) if place not in chosen]
            chosen += rest[:1]
    return chosen
