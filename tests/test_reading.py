"""Captions read back: what a grammar says is what is read, and captions that cannot both be true are found."""

from __future__ import annotations

import itertools
import random

import pytest

from textgan.facts.reading import contradictions, said
from textgan.facts.schema import LANGUAGES, VALUES
from textgan.facts.wording import realise
from textgan.text import words


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_said_is_read(language):
    """Every value of every fact, in random company: nothing false is read, and kind, colour, background, side are."""
    rng = random.Random(0)
    for fact, values in VALUES.items():
        for value, repeat in itertools.product(values, range(12)):
            facts = {name: rng.choice(others) for name, others in VALUES.items() if rng.random() < 0.7}
            facts |= {"kind": "cat", fact: value}
            if "body" in facts:
                facts = {name: facts[name] for name in facts if name != "pattern"} | {"kind": "car"}
            for caption in realise(facts, language, repeat, 3):
                found = said(words(caption))
                assert all({facts[name]} == read for name, read in found.items() if name in facts), (caption, found)
                assert set(found) <= set(facts), (caption, found)
                assert {"kind", "colour", "background", "side"} & facts.keys() <= found.keys(), (caption, found)


@pytest.mark.parametrize(
    ("captions", "facts"),
    [
        (["a red cat", "un gato rojo"], []),
        (["a red cat", "un gato azul"], ["colour"]),
        (["a white cat on a red sofa", "a red sofa with a white cat"], []),
        (["a black and white cat", "a white cat"], []),
        (["a black and white cat", "an orange cat"], ["colour"]),
        (["a cat", "a car"], ["kind"]),
        (["a cat on the left", "a cat facing right"], []),
        (["a cat on the left, facing right", "un gato a la derecha"], ["side"]),
        (["a cat on a blue background", "un gato sobre un fondo de tonos verdes"], ["background"]),
        (["a red cat on blue", "un gato rojo sobre azul", "a red cat on a green background"], []),
        (["un gato rojo sobre azul", "a blue cat"], ["colour"]),
        (["my Tom", "sleeps"], []),
    ],
)
def test_contradictions(captions, facts):
    """Only what cannot both be true, across languages; colours of other things are no colour of the cat."""
    assert contradictions(said(words(caption)) for caption in captions) == facts
