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
from textgan.seeds import derive_seed

if TYPE_CHECKING:
    from nltk import CFG
    from nltk.grammar import Nonterminal

LANGUAGES = ("en", "es")
ALWAYS = frozenset({"kind", "colour", "background", "side"})
"""Every caption says these where they are known; the first caption says all."""
MINOR_ODDS = 0.7
"""Chance of each minor fact in a caption after the first."""
POOL = 64
"""Sentence shapes sampled for each set of facts."""

_GRAMMARS: dict[str, ModuleType] = {"en": grammar_en, "es": grammar_es}
Facts = tuple[tuple[str, str], ...]
Shape = tuple[tuple[str, frozenset[str]], ...]
"""Facts with each value replaced by the forms it has: what decides the structure of a sentence."""


class Choices:
    """A small linear congruential generator: a hundred times cheaper to seed than random.Random."""

    def __init__(self, seed: int) -> None:
        self.state = (seed * 0x9E3779B97F4A7C15 + 1) & 0xFFFFFFFFFFFFFFFF

    def below(self, n: int) -> int:
        """A number in 0..n-1."""
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        return ((self.state >> 33) * n) >> 31


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a sentence that a fact's value fills."""

    fact: str
    form: str


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
    pool = _pool(_shape(tuple(sorted(plan.items())), language), language)
    lexicon = _GRAMMARS[language].LEXICON
    parts = []
    for part in pool[choices.below(len(pool))]:
        if isinstance(part, Slot):
            ways = lexicon[part.fact][part.form][plan[part.fact]]
            parts.append(ways[choices.below(len(ways))] if len(ways) > 1 else ways[0])
        else:
            parts.append(part)
    return " ".join(parts).replace(" ,", ",")


@functools.lru_cache(maxsize=1 << 16)
def _shape(plan: Facts, language: str) -> Shape:
    lexicon = _GRAMMARS[language].LEXICON
    return tuple(
        (fact, frozenset(form for form, values in lexicon[fact].items() if value in values)) for fact, value in plan
    )


@functools.lru_cache(maxsize=1 << 14)
def _pool(shape: Shape, language: str) -> tuple[tuple[str | Slot, ...], ...]:
    """Up to POOL different derivations, stopped at the slots; each says every fact of the shape once."""
    names = [f"{fact}/{'+'.join(sorted(forms))}" for fact, forms in shape]
    rules = _restricted(dict(shape), language)
    if "S" not in rules:
        raise ValueError(f"the {language} grammar has no sentence for {names}")
    choices = Choices(derive_seed(0, "wording", language, *names))
    return tuple(dict.fromkeys(tuple(_derive("S", rules, choices)) for _idx in range(POOL)))


Rules = dict[str, list[tuple["str | Nonterminal", ...]]]


def _restricted(forms: dict[str, frozenset[str]], language: str) -> Rules:
    """The productions for these facts: of a symbol's productions, those that say the most of them."""
    reach = {f"{fact}/{form}": frozenset({fact}) for fact, found in forms.items() for form in found}
    if "body" in forms:  # a body word says the kind
        reach = {slot: facts for slot, facts in reach.items() if not slot.startswith("kind/")}
    rules: Rules = {}
    pending = dict(_structure(language))
    while pending:  # a symbol is settled when all symbols below it are: the grammar has no recursion
        for symbol, options in list(pending.items()):
            below = {str(child) for rhs in options for child in rhs if not isinstance(child, str)}
            if below.isdisjoint(pending):
                del pending[symbol]
                can = [rhs for rhs in options if all(isinstance(child, str) or str(child) in reach for child in rhs)]
                says = [
                    frozenset().union(*(reach[str(child)] for child in rhs if not isinstance(child, str)))
                    for rhs in can
                ]
                most = max(map(len, says), default=0)
                if can:
                    rules[symbol] = [rhs for rhs, facts in zip(can, says, strict=True) if len(facts) == most]
                    reach[symbol] = next(facts for facts in says if len(facts) == most)
    return rules


@functools.cache
def _structure(language: str) -> dict[str, list[tuple[str | Nonterminal, ...]]]:
    """The productions above the slots, by symbol."""
    slots = {f"{fact}/{form}" for fact, forms in _GRAMMARS[language].LEXICON.items() for form in forms}
    rules: Rules = {}
    for production in grammar(language).productions():
        symbol = str(production.lhs())
        if symbol not in slots and symbol.rpartition("/")[0] not in slots:
            rules.setdefault(symbol, []).append(production.rhs())
    return rules


def _derive(symbol: str, rules: Rules, choices: Choices) -> list[str | Slot]:
    options = rules.get(symbol)
    if options is None:  # only slots have no structural rule
        fact, form = symbol.split("/")
        return [Slot(fact, form)]
    parts: list[str | Slot] = []
    for child in options[choices.below(len(options))]:
        if isinstance(child, str):
            parts.append(child)
        else:
            parts.extend(_derive(str(child), rules, choices))
    return parts
