"""What a caption says, read back from its words: the facts that the words of the two grammars tell.

Made for finding captions of one image that cannot all be true. A colour counts where it stands at its noun or at
`background`: `a white cat on a red sofa` says that the cat is white, and nothing of red.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from types import ModuleType

from textgan.facts import grammar_en, grammar_es

Said = dict[str, frozenset[str]]
"""Fact -> the values that a caption gives it; several where it says `black and white`."""
Meaning = tuple[str, str]
"""Fact and value."""
_PHRASED = ("side", "facing", "pose", "light", "framing")
"""Facts that have a phrase of their own, wherever it stands."""
_BACKGROUND = frozenset({"background", "fondo"})
_BEFORE = frozenset({"and", "light", "mid-toned", "dark"})
"""English: may stand between a colour and its noun."""
_AFTER = frozenset({"y", "de", "color", "tonos"})
"""Spanish: may stand between a noun and its colour."""


def said(tokens: Sequence[str]) -> Said:
    """The facts that a caption's words (`textgan.text.words`) tell."""
    found: dict[str, set[str]] = {}
    idx, phrases = 0, _phrases()
    while idx < len(tokens):
        size = 1
        for phrase, (fact, value) in phrases.get(tokens[idx], ()):
            if tuple(tokens[idx : idx + len(phrase)]) == phrase:
                found.setdefault(fact, set()).add(value)
                size = len(phrase)
                break
        idx += size
    nouns = _nouns()
    for place, token in enumerate(tokens):
        if token in nouns or token in _BACKGROUND:
            for fact, value in (*nouns.get(token, ()), *_beside(tokens, place)):
                if token not in _BACKGROUND:
                    found.setdefault(fact, set()).add(value)
                elif fact == "colour":
                    found.setdefault("background", set()).add(value)
    return {fact: frozenset(values) for fact, values in found.items()}


def contradictions(several: Iterable[Said]) -> list[str]:
    """Facts of which two captions of one image share no value, sorted."""
    values: dict[str, set[frozenset[str]]] = {}
    for one in several:
        for fact, given in one.items():
            values.setdefault(fact, set()).add(given)
    return sorted(
        fact
        for fact, given in values.items()
        if len(given) > 1 and any(a.isdisjoint(b) for a, b in itertools.combinations(given, 2))
    )


def _beside(tokens: Sequence[str], place: int) -> list[Meaning]:
    """Colours and patterns of the noun at a place: before it in English, behind it in Spanish, or `that is red`."""
    found: list[Meaning] = []
    english, spanish = _adjectives("en"), _adjectives("es")
    for token in reversed(tokens[:place]):
        if token not in english and token not in _BEFORE:
            break
        found += english.get(token, ())
    rest = list(tokens[place + 1 :])
    if rest[:2] == ["that", "is"]:
        return found + list(english.get(rest[2], ())) if len(rest) > 2 else found
    for token in rest:
        if token not in spanish and token not in _AFTER:
            break
        found += spanish.get(token, ())
    return found


def _lexicon(grammar: ModuleType, fact: str) -> Iterable[tuple[str, list[str]]]:
    """(value, words) of every way to say a fact."""
    for values in grammar.LEXICON[fact].values():
        for value, ways in values.items():
            for way in ways:
                yield value, way.split()


@functools.cache
def _phrases() -> dict[str, list[tuple[tuple[str, ...], Meaning]]]:
    """Phrases by their first word, the longest first."""
    phrases: dict[str, dict[tuple[str, ...], Meaning]] = {}
    for grammar in (grammar_en, grammar_es):
        for fact in _PHRASED:
            for value, words in _lexicon(grammar, fact):
                phrases.setdefault(words[0], {})[tuple(words)] = (fact, value)
    return {first: sorted(ways.items(), key=lambda item: -len(item[0])) for first, ways in phrases.items()}


@functools.cache
def _nouns() -> dict[str, tuple[Meaning, ...]]:
    """Noun -> the kind, and the body where it tells one."""
    nouns: dict[str, tuple[Meaning, ...]] = {}
    for grammar in (grammar_en, grammar_es):
        nouns |= {words[0]: (("kind", value),) for value, words in _lexicon(grammar, "kind")}
        for value, words in _lexicon(grammar, "body"):  # `pickup truck` is two nouns
            nouns |= {word: (("kind", "car"), ("body", value)) for word in words}
    return nouns


@functools.cache
def _adjectives(language: str) -> dict[str, tuple[Meaning, ...]]:
    """Words that stand at a noun; those that tell nothing by themselves (`puntas`, `oscuras`, `claro`) too."""
    grammar = {"en": grammar_en, "es": grammar_es}[language]
    adjectives: dict[str, tuple[Meaning, ...]] = {}
    for _value, words in _lexicon(grammar, "background_tone"):
        adjectives |= {word: () for word in words}
    for value, words in _lexicon(grammar, "pattern"):
        adjectives |= {word: () for word in words}
        adjectives[words[0] if len(words) == 1 else words[1]] = (("pattern", value),)
    adjectives.pop("de", None)
    for value, words in _lexicon(grammar, "colour"):
        adjectives[words[0]] = (("colour", value),)
    return adjectives
