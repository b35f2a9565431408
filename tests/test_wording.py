"""Sentences say what is known, agree, and are the same for the same seed."""

from __future__ import annotations

import itertools

import pytest
from nltk import Nonterminal
from nltk.parse.generate import generate

from textgan.facts.grammar_es import _COLOURS
from textgan.facts.schema import VALUES
from textgan.facts.wording import LANGUAGES, _structure, grammar, realise, vocabulary_of_grammar

CAT = {
    "kind": "cat", "colour": "orange", "pattern": "tabby", "pose": "sitting", "facing": "left", "side": "right",
    "framing": "closeup", "background": "blue", "background_tone": "dark", "light": "bright",
}  # fmt: skip
CAR = {"kind": "car", "body": "pickup", "colour": "red", "facing": "right", "side": "left", "background": "orange"}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("facts", [CAT, CAR, {"kind": "car"}], ids=["cat", "car", "kind"])
def test_same_seed_same_captions(language, facts):
    """The captions are a function of facts, language, seed and count."""
    first = realise(facts, language, 7, 4)
    assert first == realise(dict(reversed(facts.items())), language, 7, 4)
    assert len(first) == 4
    assert all(realise(facts, language, seed, 1) for seed in range(50))


def test_every_caption_states_kind_colour_background_and_side():
    """The facts that are always said stand in each caption, in each language."""
    said = {
        "en": [{"cat"}, {"orange"}, {"blue"}, {"right"}],
        "es": [{"gato"}, {"naranja"}, {"azul", "azules"}, {"derecha", "derecho"}],
    }
    for language, wanted in said.items():
        for seed in range(40):
            for caption in realise(CAT, language, seed, 4):
                tokens = set(caption.replace(",", "").split())
                assert all(tokens & ways for ways in wanted), caption


def test_nothing_is_said_that_is_not_known():
    """No colour, side, light or pose word without the fact."""
    for seed in range(40):
        for caption in realise({"kind": "cat", "side": "left"}, "en", seed, 3):
            assert set(caption.replace(",", "").split()) <= {"there", "is", "a", "cat", "on", "the", "left", "side"}


def test_no_kind_no_caption():
    """Without a kind there is nothing to speak of."""
    assert realise({"colour": "red"}, "en", 0, 3) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_combination_of_facts_has_sentences(language):
    """Any subset of facts and any value of each can be worded."""
    optional = [name for name in VALUES if name != "kind"]
    for present in itertools.product([False, True], repeat=len(optional)):
        facts = {"kind": "cat"} | {
            name: VALUES[name][-1] for name, is_present in zip(optional, present, strict=True) if is_present
        }
        if "body" in facts:
            facts |= {"kind": "car"}
            facts.pop("pattern", None)
        assert realise(facts, language, 0, 1)
    for name, values in VALUES.items():
        for value in values:
            kind = "car" if name == "body" else "cat"
            assert realise({"kind": kind, name: value}, language, 0, 1)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_vocabulary_is_closed(language):
    """Captions use the listed words only."""
    known = set(vocabulary_of_grammar(language))
    for seed in range(200):
        for facts in (CAT, CAR):
            for caption in realise(facts, language, seed, 3):
                assert set(caption.replace(",", " ,").split()) <= known


FEMININE = {"camioneta", "furgoneta", "berlina"}
GENDERED = {
    "negr", "blanc", "platead", "roj", "amarill", "morad", "lis", "atigrad", "sentad", "tumbad", "acostad",
    "orientad", "vist",
}  # fmt: skip


def test_spanish_agrees():
    """Article, colour, pattern and participles have the gender of the noun, whatever the facts."""
    for colour, body, pose in itertools.product(VALUES["colour"], (None, *VALUES["body"]), (None, *VALUES["pose"])):
        facts = {"kind": "car", "colour": colour, "pattern": "tabby", "framing": "far", "facing": "left"}
        facts |= ({"body": body} if body else {}) | ({"pose": pose} if pose else {})
        for caption in realise(facts, "es", 1, 6):
            tokens = (
                caption.removeprefix("un primer plano de ")
                .removeprefix("una vista lejana de ")
                .replace(",", "")
                .split()
            )
            if tokens[0] == "hay":
                tokens = tokens[1:]
                tokens = tokens[4:] if tokens[:2] == ["una", "vista"] or tokens[:2] == ["un", "primer"] else tokens
            feminine = tokens[1] in FEMININE
            assert tokens[0] == ("una" if feminine else "un"), caption
            for before, token in zip(tokens, tokens[1:], strict=False):
                if token[:-1] in GENDERED and before != "color":
                    assert token.endswith("a" if feminine else "o"), caption


MASCULINE = {"gato", "coche", "auto", "sedán", "todoterreno", "descapotable", "cupé", "compacto"}
COLOUR_FORMS = {form: {way for ways in values.values() for way in ways} for form, values in _COLOURS.items()}


def _generated(symbol: str) -> list[list[str]]:
    """Every sentence that NLTK derives from a symbol of the Spanish grammar, as words."""
    sentences = generate(grammar("es"), start=Nonterminal(symbol))
    return [" ".join(parts).replace(",", "").split() for parts in sentences]


@pytest.mark.parametrize(("gender", "ending", "article"), [("m", "o", "un"), ("f", "a", "una")])
def test_spanish_agrees_in_every_noun_phrase(gender, ending, article):
    """All noun phrases, postures and framings of a gender, with every word of every fact: article, gender, number."""
    phrases = _generated(f"np/{gender}")
    assert len(phrases) > 500
    for tokens in phrases:
        assert tokens[0] == article and tokens[1] in (MASCULINE if gender == "m" else FEMININE), tokens
        for before, token in itertools.pairwise(tokens[1:]):
            if token[:-1] in GENDERED:
                assert token[-1] == ("o" if before == "color" else ending), tokens
            if token in set().union(*COLOUR_FORMS.values()):
                assert token in COLOUR_FORMS["ms" if before == "color" else f"{gender}s"], tokens
    for symbol in (f"posture/{gender}", f"framing/{gender}"):
        for tokens in _generated(symbol):
            assert all(token[-1] == ending for token in tokens if token[:-1] in GENDERED), tokens


def test_spanish_agrees_in_every_background():
    """`fondo` is masculine and singular, `tonos` masculine and plural, with every colour and tone."""
    grounds = _generated("ground")
    assert len(grounds) > 150
    tones = {"ms": {"claro", "medio", "oscuro"}, "mp": {"claros", "medios", "oscuros"}}
    for tokens in grounds:
        assert tokens[1:3] == ["un", "fondo"], tokens
        form = "mp" if "tonos" in tokens else "ms"
        described = tokens[5:] if form == "mp" else tokens[3:]
        assert described and set(described) <= COLOUR_FORMS[form] | tones[form], tokens


def test_spanish_sentences_join_what_agrees():
    """Symbols of one gender are made of that gender only: what agrees in parts agrees in every sentence."""
    for symbol, options in _structure("es").items():
        gender = symbol.rpartition("/")[2]
        if gender in ("m", "f"):
            for rhs in options:
                for is_symbol, child in rhs:
                    form = child.rpartition("/")[2]
                    after_color = (False, "color") in rhs and child == "colour/ms"
                    assert not is_symbol or after_color or form in (gender, f"{gender}s", "shot"), (symbol, rhs)
    mixing = {symbol for symbol, options in _structure("es").items() if any((True, "core/m") in rhs for rhs in options)}
    assert mixing == {"core"}
    shots = {" ".join(tokens) for tokens in _generated("framing/shot")}
    assert shots == {"un primer plano", "una vista lejana"}


def test_the_grammar_is_a_cfg_of_nltk():
    """The grammar is NLTK's own kind, and covers every value of every fact."""
    for language in LANGUAGES:
        symbols = {str(production.lhs()) for production in grammar(language).productions()}
        for name, values in VALUES.items():
            for value in values:
                assert any(symbol.startswith(f"{name}/") and symbol.endswith(f"/{value}") for symbol in symbols)
