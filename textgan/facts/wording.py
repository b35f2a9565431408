"""Facts to sentences: one NLTK grammar for each language says what is known and nothing else.

The grammar is a CFG whose slots (`colour/fs`) expand to the words of the value in hand. Sentences of
the same shape (the same facts, with values of the same grammatical class) come from one pool of
sampled derivations, so that wording millions of images costs a choice and a fill each.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

from textgan.facts import grammar_en, grammar_es
from textgan.facts.schema import LANGUAGES as LANGUAGES
from textgan.seeds import derive_seed

if TYPE_CHECKING:
    from nltk import CFG

ALWAYS = frozenset({"kind", "colour", "background", "side"})
"""Every caption says these where they are known; the first caption says all."""
MINOR_ODDS = 0.7
"""Chance of each minor fact in a caption after the first."""
POOL = 64
"""Sentence shapes sampled for each set of facts."""

_GRAMMARS: dict[str, ModuleType] = {"en": grammar_en, "es": grammar_es}
Shape = tuple[str, ...]
"""Facts with each value replaced by the forms it has (`colour/any+c`): what decides the structure of a sentence."""


class Choices:
    """A small linear congruential generator: a hundred times cheaper to seed than random.Random."""

    def __init__(self, seed: int) -> None:
        self.state = (seed * 0x9E3779B97F4A7C15 + 1) & 0xFFFFFFFFFFFFFFFF

    def below(self, n: int) -> int:
        """A number in 0..n-1."""
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        return ((self.state >> 33) * n) >> 31


@dataclass(frozen=True, slots=True)
class Sentence:
    """A derivation of the grammar, stopped at the slots: `text` has a %s for each of `slots` (fact, form), in order."""

    text: str
    slots: tuple[tuple[str, str], ...]


def realise(facts: dict[str, str], language: str, seed: int, count: int) -> list[str]:
    """`count` captions of the facts; the same arguments give the same captions.

    Each states kind, colour, background and side where known, the first one every fact. Repeats occur
    only where the facts allow fewer sentences than `count`. Without a kind there is nothing to speak
    of, and the list is empty.
    """
    if "kind" not in facts:
        return []
    facts = dict(sorted(facts.items()))
    choices = Choices(seed)
    captions: list[str] = []
    for caption_idx in range(count):
        plan = facts if caption_idx == 0 else _some(facts, choices)
        for _attempt in range(4):
            caption = _fill(plan, language, choices)
            if caption not in captions:
                break
        captions.append(caption)
    return captions


def vocabulary_of_grammar(language: str) -> list[str]:
    """Every word that the grammar of a language can say, sorted."""
    words: set[str] = set()
    for production in grammar(language).productions():
        for symbol in production.rhs():
            if isinstance(symbol, str):
                words.update(symbol.split())
    return sorted(words)


@functools.cache
def grammar(language: str) -> CFG:
    """The whole grammar of a language, over all facts and values."""
    from nltk import CFG

    module = _GRAMMARS[language]
    lines = [module.RULES]
    for fact, forms in module.LEXICON.items():
        for form, values in forms.items():
            if values:
                lines.append(f"{fact}/{form} -> " + " | ".join(f"{fact}/{form}/{value}" for value in values))
            for value, ways in values.items():
                lines.append(f"{fact}/{form}/{value} -> " + " | ".join(f'"{way}"' for way in ways))
    return CFG.fromstring("\n".join(lines))


def _some(facts: dict[str, str], choices: Choices) -> dict[str, str]:
    """The facts of a later caption: all that are always said, and some of the others."""
    odds = int(MINOR_ODDS * 1000)
    return {name: value for name, value in facts.items() if name in ALWAYS or choices.below(1000) < odds}


def _fill(plan: dict[str, str], language: str, choices: Choices) -> str:
    names, lexicon = _form_names(language), _GRAMMARS[language].LEXICON
    pool = _pool(tuple([names[fact][value] for fact, value in plan.items()]), language)
    sentence = pool[choices.below(len(pool))]
    said = []
    for fact, form in sentence.slots:
        ways = lexicon[fact][form][plan[fact]]
        said.append(ways[choices.below(len(ways))] if len(ways) > 1 else ways[0])
    return sentence.text % tuple(said)


@functools.cache
def _form_names(language: str) -> dict[str, dict[str, str]]:
    """Fact -> value -> the fact with the forms that the value has, e.g. `colour/any+v` for orange."""
    names: dict[str, dict[str, str]] = {}
    for fact, forms in _GRAMMARS[language].LEXICON.items():
        values = sorted({value for ways in forms.values() for value in ways})
        having = {value: sorted(form for form, ways in forms.items() if value in ways) for value in values}
        names[fact] = {value: f"{fact}/{'+'.join(found)}" for value, found in having.items()}
    return names


@functools.lru_cache(maxsize=1 << 14)
def _pool(shape: Shape, language: str) -> tuple[Sentence, ...]:
    """Up to POOL different derivations, stopped at the slots; each says every fact of the shape once."""
    forms = {fact: found.split("+") for fact, _, found in (name.partition("/") for name in shape)}
    rules = _restricted(forms, language)
    if "S" not in rules:
        raise ValueError(f"the {language} grammar has no sentence for {list(shape)}")
    choices = Choices(derive_seed(0, "wording", language, *shape))
    return tuple(dict.fromkeys(_sentence(rules, choices) for _idx in range(POOL)))


Rules = dict[str, list[tuple[tuple[bool, str], ...]]]
"""Symbol -> its productions, each as (is a symbol, text of symbol or word) in order."""


def _restricted(forms: dict[str, list[str]], language: str) -> Rules:
    """The productions for these facts: of a symbol's productions, those that say the most of them."""
    reach = {f"{fact}/{form}": frozenset({fact}) for fact, found in forms.items() for form in found}
    if "body" in forms:  # a body word says the kind
        reach = {slot: facts for slot, facts in reach.items() if not slot.startswith("kind/")}
    rules: Rules = {}
    for symbol, options in _structure(language).items():
        can = [rhs for rhs in options if all(not is_symbol or text in reach for is_symbol, text in rhs)]
        says = [frozenset().union(*(reach[text] for is_symbol, text in rhs if is_symbol)) for rhs in can]
        most = max(map(len, says), default=0)
        if can:
            rules[symbol] = [rhs for rhs, facts in zip(can, says, strict=True) if len(facts) == most]
            reach[symbol] = next(facts for facts in says if len(facts) == most)
    return rules


@functools.cache
def _structure(language: str) -> Rules:
    """The productions above the slots, by symbol; each symbol stands behind those that it is made of."""
    slots = {f"{fact}/{form}" for fact, forms in _GRAMMARS[language].LEXICON.items() for form in forms}
    rules: Rules = {}
    for production in grammar(language).productions():
        symbol = str(production.lhs())
        if symbol not in slots and symbol.rpartition("/")[0] not in slots:
            rhs = tuple((not isinstance(child, str), str(child)) for child in production.rhs())
            rules.setdefault(symbol, []).append(rhs)
    ordered: Rules = {}
    while len(ordered) < len(rules):  # the grammar has no recursion: each round settles some
        for symbol in [symbol for symbol in rules if symbol not in ordered]:
            below = {text for rhs in rules[symbol] for is_symbol, text in rhs if is_symbol}
            if (below & rules.keys()) <= ordered.keys():
                ordered[symbol] = rules[symbol]
    return ordered


def _sentence(rules: Rules, choices: Choices) -> Sentence:
    parts: list[str] = []
    slots: list[tuple[str, str]] = []
    waiting = [(True, "S")]
    while waiting:
        is_symbol, text = waiting.pop()
        options = rules.get(text) if is_symbol else None
        if options is not None:
            waiting.extend(options[choices.below(len(options))][::-1])
        elif is_symbol:  # only slots have no structural rule
            fact, _, form = text.partition("/")
            slots.append((fact, form))
            parts.append("%s")
        else:
            parts.append(text)
    return Sentence(" ".join(parts).replace(" ,", ","), tuple(slots))
