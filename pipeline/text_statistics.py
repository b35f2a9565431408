"""What the captions of a dataset are like: lengths, frequencies, entropy, unknown words, contradictions; as tables."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from textgan.facts.reading import contradictions, said
from textgan.text import UNK_ID, Vocabulary

ALL = "all"
"""Stands in the column `language` for every language together."""
FIRST_KEYS = 20
"""Keys of contradictory images that are listed; the rest is counted."""
PLOT_POINTS = 60
LONGEST = 99
"""Words of the longest captions that are plotted."""
READ_TOKENS = 200
"""Words of a caption that are looked at for contradictions."""


class Texts:
    """Counts over the captions of one split in one language, or in all."""

    def __init__(self) -> None:
        self.captions: Counter[str] = Counter()
        self.lengths: Counter[int] = Counter()
        self.tokens: Counter[str] = Counter()
        self.unknown = 0
        self.cut = 0

    def summary(self) -> dict[str, Any]:
        """Plain numbers; entropies are in bits."""
        total, count = sum(self.tokens.values()), sum(self.lengths.values())
        return {
            "captions": count,
            "distinct_captions": len(self.captions),
            "caption_entropy_bits": round(_entropy(self.captions), 4),
            "words": total,
            "distinct_words": len(self.tokens),
            "word_entropy_bits": round(_entropy(self.tokens), 4),
            "words_mean": round(total / max(count, 1), 4),
            "words_median": _quantile(self.lengths, 0.5),
            "words_95": _quantile(self.lengths, 0.95),
            "words_max": max(self.lengths, default=0),
            "unknown_words": self.unknown,
            "out_of_vocabulary_rate": round(self.unknown / max(total, 1), 6),
            "captions_cut": self.cut,
        }


class Statistics:
    """What is counted along while a split's pairs are made."""

    def __init__(self, vocabulary: Vocabulary, max_tokens: int) -> None:
        """`max_tokens`: with bos and eos; longer captions count as cut."""
        self.vocabulary, self.max_tokens = vocabulary, max_tokens
        self.languages: dict[str, Texts] = {ALL: Texts()}
        self.images = self.images_without_caption = self.contradictory = 0
        self.contradicted: Counter[str] = Counter()
        self.first_keys: list[str] = []

    def add(self, key: str, facts: Mapping[str, str], captions: Sequence[tuple[str, str, list[str]]]) -> None:
        """Count one image: its facts, and (language, text, words) of each caption."""
        self.images += 1
        self.images_without_caption += not captions
        for language, text, tokens in captions:
            unknown = sum(self.vocabulary.id_of(token) == UNK_ID for token in tokens)
            for texts in (self.languages[ALL], self.languages.setdefault(language, Texts())):
                texts.captions[text] += 1
                texts.lengths[len(tokens)] += 1
                texts.tokens.update(tokens)
                texts.unknown += unknown
                texts.cut += len(tokens) > self.max_tokens - 2
        against = contradictions(
            [{name: frozenset({value}) for name, value in facts.items()}]
            + [said(tokens[:READ_TOKENS]) for _language, _text, tokens in captions]
        )
        if against:
            self.contradictory += 1
            self.contradicted.update(against)
            if len(self.first_keys) < FIRST_KEYS:
                self.first_keys.append(key)

    def summary(self) -> dict[str, Any]:
        """What the manifest says of the split."""
        texts = self.languages[ALL].summary()
        return {
            "images": self.images,
            "images_without_caption": self.images_without_caption,
            **{name: value for name, value in texts.items() if not name.startswith("words_")},
            "words_per_caption": {name: texts[f"words_{name}"] for name in ("mean", "median", "max")},
            "contradictory": {
                "images": self.contradictory,
                "facts": dict(sorted(self.contradicted.items())),
                "first_keys": self.first_keys,
            },
        }

    def plots(self) -> dict[str, list[list[float]]]:
        """Points for the report: captions by length, and the count of a word by its rank (log 10 of both)."""
        texts = self.languages[ALL]
        counts = sorted(texts.tokens.values(), reverse=True)
        steps = range(PLOT_POINTS + 1) if counts else ()
        ranks = sorted({round(len(counts) ** (place / PLOT_POINTS)) for place in steps})
        longest = min(max(texts.lengths, default=0), LONGEST)
        return {
            "lengths": [[length, texts.lengths[length]] for length in range(longest + 1)],
            "rank_frequency": [[round(math.log10(n), 4), round(math.log10(counts[n - 1]), 4)] for n in ranks],
        }


def statistics_table(splits: Mapping[str, Statistics]) -> pd.DataFrame:
    """A row for each split and language."""
    rows = [
        {
            "split": split,
            "language": language,
            "images": statistics.images,
            "images_without_caption": statistics.images_without_caption,
            "images_with_contradictory_captions": statistics.contradictory,
            **texts.summary(),
        }
        for split, statistics in splits.items()
        for language, texts in sorted(statistics.languages.items())
    ]
    return pd.DataFrame(rows)


def length_table(splits: Mapping[str, Statistics]) -> pd.DataFrame:
    """How many captions have how many words: split, language, words, captions."""
    rows = [
        (split, language, length, count)
        for split, statistics in splits.items()
        for language, texts in sorted(statistics.languages.items())
        for length, count in sorted(texts.lengths.items())
    ]
    return pd.DataFrame(rows, columns=["split", "language", "words", "captions"])


def frequency_table(splits: Mapping[str, Statistics]) -> pd.DataFrame:
    """How often each word occurs in each split, the most frequent of all first."""
    counts = {split: statistics.languages[ALL].tokens for split, statistics in splits.items()}
    total: Counter[str] = Counter()
    for tokens in counts.values():
        total.update(tokens)
    ordered = sorted(total, key=lambda word: (-total[word], word))
    return pd.DataFrame({"word": ordered} | {split: [counts[split][word] for word in ordered] for split in counts})


def _entropy(counts: Counter[str]) -> float:
    total = sum(counts.values())
    return -sum(count / total * math.log2(count / total) for count in counts.values()) if total else 0.0


def _quantile(lengths: Counter[int], share: float) -> int:
    """The least length that this share of the captions does not pass; 0 of none."""
    total, seen = sum(lengths.values()), 0
    for length, count in sorted(lengths.items()):
        seen += count
        if seen >= share * total:
            return length
    return 0
