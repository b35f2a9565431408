"""The English form of a text: what a sentence encoder that knows no Spanish is given.

English is its own form. Spanish goes by way of its facts: what its words tell, realised in English, always
in the same words, so that two Spanish captions of the same facts are the same sentence.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from textgan.facts import grammar_es
from textgan.facts.reading import said
from textgan.facts.wording import realise, vocabulary_of_grammar
from textgan.text import TextError, clean, words

_ENGLISH = frozenset("the an of in at on with without by for and or that is are its this under between there".split())
_SPANISH = frozenset(
    "el la los las una unos unas del al en con sin por para y o que es está su bajo entre hay como muy".split()
)
"""Words that neither grammar may have and that tell a language."""
_OF_CATS, _OF_CARS = ("pattern", "pose"), ("body",)
"""Facts that only one kind has: a text that mixes them is not worded with them."""


def language_of(text: str) -> str:
    """`es` where as many words are Spanish alone as English alone (Spanish borrows more), and one is; else `en`.

    A text of neither is Spanish where it has a Spanish letter.
    """
    only_english, only_spanish = _telling()
    tokens = words(text)
    english, spanish = (sum(token in those for token in tokens) for those in (only_english, only_spanish))
    if english == spanish == 0:
        return "es" if any(letter in "áéíóúñ¿¡" for letter in clean(text)) else "en"
    return "es" if spanish >= english else "en"


def english_form(text: str, language: str | None = None, known: Mapping[str, str] | None = None) -> str:
    """The text where it is English, else its facts in English; `known` where a Spanish text tells none.

    `language` is guessed where it is not given. Raises TextError for a Spanish text that tells no facts.
    """
    if (language or language_of(text)) == "en":
        if not words(text):
            raise TextError(f"prompt {text[:80]!r} has no word in it")
        return clean(text)
    facts = told(text)
    if "kind" not in facts:
        facts = dict(known or {})
    if "kind" not in facts:
        raise TextError(
            f"prompt {text[:80]!r} is Spanish and names no cat or car; minilm knows English alone: say it in English"
        )
    return _worded(tuple(sorted(facts.items())))


def told(text: str) -> dict[str, str]:
    """The facts of a text, without those that it gives several values."""
    tokens = words(text)
    facts = {fact: next(iter(values)) for fact, values in said(tokens).items() if len(values) == 1}
    tone = _tone_of_background(tokens)
    if tone is not None:
        facts["background_tone"] = tone
    foreign = _OF_CARS if facts.get("kind") == "cat" else _OF_CATS
    return {fact: value for fact, value in facts.items() if fact not in foreign}


def _tone_of_background(tokens: Sequence[str]) -> str | None:
    """What `said` leaves out: `oscuro` in `un fondo azul oscuro`."""
    if "fondo" not in tokens:
        return None
    tones, others = _spanish_words("background_tone"), _spanish_words("background").keys() | {"de", "tonos", "color"}
    for token in tokens[list(tokens).index("fondo") + 1 :]:
        if token in tones:
            return tones[token]
        if token not in others:
            break
    return None


@functools.cache
def _spanish_words(fact: str) -> dict[str, str]:
    """Word -> value, of a fact whose ways are single words."""
    forms = grammar_es.LEXICON[fact].values()
    return {way: value for values in forms for value, ways in values.items() for way in ways}


@functools.lru_cache(maxsize=1 << 16)
def _worded(facts: tuple[tuple[str, str], ...]) -> str:
    return realise(dict(facts), "en", 0, 1)[0]


@functools.cache
def _telling() -> tuple[frozenset[str], frozenset[str]]:
    """Words of one language alone."""
    english = _ENGLISH.union(vocabulary_of_grammar("en"))
    spanish = _SPANISH.union(vocabulary_of_grammar("es"))
    return english - spanish, spanish - english
