"""The English form of a text: what a sentence encoder that knows no Spanish is given.

English is its own form. Spanish goes by way of its facts: what its words tell, realised in English, always
in the same words, so that two Spanish texts of the same facts are the same sentence. Every word is understood or named.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from textgan.facts import grammar_es
from textgan.facts.schema import VALUES
from textgan.facts.wording import realise, vocabulary_of_grammar
from textgan.text import TextError, clean, words

_ENGLISH = frozenset("the an of in at on with without by for and or that is are its this under between there".split())
_SPANISH = frozenset(
    "el la los las una unos unas del al en con sin por para y o que es está su bajo entre hay como muy".split()
)
"""Words that neither grammar may have and that tell a language."""
_SILENT = frozenset(
    "un una el la hay de del en y con que es esta color colores tono tonos foto fotografia imagen".split()
)
"""Spanish words, without accents, that tell nothing where they are in no phrase."""
_ON = frozenset({"sobre", "ante"})
"""What follows is not the cat's or the car's: of `sobre azul` neither grammar says what is blue."""
_NOUNS = {"gata": "cat", "carro": "car", "automovil": "car"}
_COLOURS = {
    "anaranjado": "orange", "anaranjada": "orange", "rosado": "pink", "rosada": "pink", "violeta": "purple",
    "purpura": "purple",
}  # fmt: skip
"""What people say and the grammar does not."""
_PHRASED = ("side", "facing", "pose", "light", "framing")
_ADDED = ("colour", "background")
"""Facts that a text may give several values: `un gato blanco y negro` is both."""
_OF = {"pattern": "cat", "pose": "cat", "body": "car"}
"""Facts that only one kind has."""


@dataclass(slots=True)
class Spanish:
    """What a Spanish text tells, and what of it was not understood."""

    facts: dict[str, list[str]] = field(default_factory=dict)
    """Values in the order of `schema.VALUES`."""
    nouns: list[str] = field(default_factory=list)
    """Of cats and cars, one for each that is spoken of."""
    plural: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    misplaced: list[str] = field(default_factory=list)
    """Words that tell something elsewhere: `oscuro` is understood of backgrounds alone."""

    @property
    def trouble(self) -> str | None:
        """Why its English would say less than the text, or something else; None where it says the same."""
        if "kind" not in self.facts or len(self.nouns) > 1:
            what = "names no cat or car" if not self.nouns else f"names several things: {_listed(self.nouns)}"
            return f"{what}{f'; not understood: {_listed(self.unknown)}' if self.unknown else ''}"
        if self.plural:
            return f"speaks of more than one: {_listed(self.plural)}; one cat or car is drawn"
        if self.unknown:
            return f"has words that are not understood: {_listed(self.unknown)}"
        if self.misplaced:
            return f"has words that are not understood where they stand: {_listed(self.misplaced)}"
        for fact, values in self.facts.items():
            if len(values) > 1 and fact not in _ADDED:
                return f"gives {fact} several values: {', '.join(values)}"
            if _OF.get(fact, self.facts["kind"][0]) != self.facts["kind"][0]:
                return f"says {fact} ({values[0]}) of a {self.facts['kind'][0]}; only a {_OF[fact]} has one"
        return None

    def plain(self) -> dict[str, str]:
        """The facts as the grammars word them: without those of the other kind or with several values, unless added."""
        kind = self.facts.get("kind", [""])
        return {
            fact: "+".join(values)
            for fact, values in self.facts.items()
            if (len(values) == 1 or fact in _ADDED) and [_OF.get(fact, kind[0])] == kind
        }


def language_of(text: str) -> str:
    """`es` where more words are Spanish alone than English alone; where as many, by articles and the like; else `en`.

    A text of neither is Spanish where it has a Spanish letter.
    """
    only_english, only_spanish = _telling()
    tokens = words(text)
    english, spanish = (sum(token in those for token in tokens) for those in (only_english, only_spanish))
    if english == spanish == 0:
        return "es" if any(letter in "áéíóúñ¿¡" for letter in clean(text)) else "en"
    if english == spanish:
        english, spanish = (sum(token in those for token in tokens) for those in (_ENGLISH, _SPANISH | {"un"}))
    return "es" if spanish > english else "en"


def english_form(text: str, language: str | None = None, known: Mapping[str, str] | None = None) -> str:
    """The text where it is English, else its facts in English.

    `language` is guessed where it is not given. Raises TextError where the English would say less than the Spanish,
    naming the words; unless `known`, what is known of the picture, is given: then it says what was understood, or
    all that is known where that names no cat or car.
    """
    if (language or language_of(text)) == "en":
        if not words(text):
            raise TextError(f"prompt {text[:80]!r} has no word in it")
        return clean(text)
    told = read_spanish(text)
    if known is None and told.trouble:
        raise TextError(
            f"prompt {text[:80]!r} is Spanish and {told.trouble}; minilm knows English alone: leave that out, or say"
            " all of it in English"
        )
    facts = told.plain()
    if "kind" not in facts or len(told.nouns) > 1:
        facts = dict(known or {})
    if "kind" not in facts:
        raise TextError(f"caption {text[:80]!r} is Spanish and {told.trouble}; nor is the kind known otherwise")
    return _worded(tuple(sorted(facts.items())))


def read_spanish(text: str) -> Spanish:
    """A Spanish text word by word: phrases wherever they stand, adjectives of the last noun before them."""
    tokens = words(text)
    plain = [_unaccented(token) for token in tokens]
    told, found = Spanish(), dict[str, set[str]]()
    of: str | None = None  # what adjectives belong to
    last_noun, place = -2, 0
    while place < len(tokens):
        size, meaning = _phrase_at(plain, place)
        word = plain[place]
        if meaning:
            if of == "background" and meaning[0] == "pattern":
                told.misplaced.append(tokens[place])
            found.setdefault(meaning[0], set()).add(meaning[1])
        elif word in _nouns() or word in _plurals():
            of = "colour"
            told.plural += [tokens[place]] if word in _plurals() else []
            for one in _nouns()[_plurals().get(word, word)]:
                found.setdefault(one[0], set()).add(one[1])
            if last_noun != place - 1:  # `coche todoterreno` is one thing
                told.nouns.append(tokens[place])
            last_noun = place
        elif word == "fondo":
            of = "background"
        elif word in _colours() or word in _tones():
            value, told_of = (_colours()[word], of) if word in _colours() else (_tones()[word], "background_tone")
            if told_of is None or (word in _tones() and of != "background"):
                told.misplaced.append(tokens[place])
            else:
                found.setdefault(told_of, set()).add(value)
        elif word in _ON:
            of = None
        elif word not in _SILENT:
            of = None  # `sobre un sofá rojo`: the cat is not red
            told.unknown.append(tokens[place])
        place += size
    told.facts = {fact: sorted(values, key=VALUES[fact].index) for fact, values in found.items()}
    return told


def _phrase_at(tokens: Sequence[str], place: int) -> tuple[int, tuple[str, str] | None]:
    """How many words the phrase at a place has, and its fact and value; one word and None where there is none."""
    for phrase, meaning in _phrases().get(tokens[place], ()):
        if tuple(tokens[place : place + len(phrase)]) == phrase:
            return len(phrase), meaning
    return 1, None


def _listed(tokens: Iterable[str]) -> str:
    return ", ".join(repr(token) for token in dict.fromkeys(tokens))


def _unaccented(word: str) -> str:
    """Many type `sedan` and `marron`; ñ stays itself."""
    return "".join("ñ" if one == "ñ" else unicodedata.normalize("NFD", one)[0] for one in word)


def _ways(fact: str) -> Iterable[tuple[tuple[str, ...], str]]:
    """(words without accents, value) of every Spanish way to say a fact."""
    for forms in grammar_es.LEXICON[fact].values():
        for value, ways in forms.items():
            yield from ((tuple(_unaccented(word) for word in way.split()), value) for way in ways)


@functools.cache
def _phrases() -> dict[str, list[tuple[tuple[str, ...], tuple[str, str]]]]:
    """Phrases by their first word, the longest first."""
    phrases = {way: (fact, value) for fact in (*_PHRASED, "pattern") for way, value in _ways(fact)}
    longest = sorted(phrases, key=lambda way: (-len(way), way))
    return {way[0]: [(one, phrases[one]) for one in longest if one[0] == way[0]] for way in longest}


@functools.cache
def _nouns() -> dict[str, list[tuple[str, str]]]:
    """Noun -> its kind, and the body where it tells one."""
    kinds = {**{way[0]: value for way, value in _ways("kind")}, **_NOUNS}
    bodies = {way[0]: value for way, value in _ways("body")}
    return {noun: [("kind", kind)] for noun, kind in kinds.items()} | {
        noun: [("kind", "car"), ("body", body)] for noun, body in bodies.items()
    }


@functools.cache
def _colours() -> dict[str, str]:
    return {**{way[0]: value for way, value in _ways("colour")}, **_COLOURS}


@functools.cache
def _tones() -> dict[str, str]:
    return {way[0]: value for way, value in _ways("background_tone")}


@functools.lru_cache(maxsize=1 << 16)
def _worded(facts: tuple[tuple[str, str], ...]) -> str:
    """One sentence; the grammar has words for the first of several colours, the others follow that."""
    first = {fact: values.split("+")[0] for fact, values in facts}
    sentence = realise(first, "en", 0, 1)[0]
    for fact, values in facts:
        several = values.split("+")
        if len(several) > 1:
            said = f"{', '.join(several[:-1])} and {several[-1]}"
            behind = r"(?= background\b)" if fact == "background" else r"(?! background\b)"
            sentence = re.sub(rf"\b{several[0]}\b{behind}", said, sentence, count=1)
    return sentence


@functools.cache
def _telling() -> tuple[frozenset[str], frozenset[str]]:
    """Words of one language alone."""
    english = _ENGLISH.union(vocabulary_of_grammar("en"))
    spanish = _SPANISH.union(vocabulary_of_grammar("es"), _plurals(), _NOUNS, _COLOURS)
    return english - spanish, spanish - english


@functools.cache
def _plurals() -> dict[str, str]:
    """Plural -> noun."""
    return {f"{noun}{'s' if noun[-1] in 'aeiou' else 'es'}": noun for noun in _nouns()}
