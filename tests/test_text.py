"""One text path: cleaning, splitting, ids, and what happens to odd input."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgan.errors import UserError
from textgan.text import (
    BOS_ID,
    EOS_ID,
    RESERVED,
    UNK_ID,
    TextError,
    Vocabulary,
    _split,
    clean,
    encode_prompt,
    unknown_words,
    words,
)

VOCABULARY = Vocabulary.from_counts({"red": 3, "grey": 2, "cat": 5, "gato": 1, "rare": 1})


@settings(deadline=None)
@given(st.text(alphabet="abcdntogiwm áéñ,-", max_size=60))
def test_the_plain_path_equals_the_tokenizer(text):
    """Remembered words give what NLTK's tokenizer gives for the whole text."""
    assert words(text) == _split(clean(text))


@pytest.mark.parametrize(
    "text",
    [
        "i cannot see",
        "gonna be red",
        "wanna cat",
        "more'n one",
        "a cat, red , and blue",
        "a mid-toned one",
        "a -b c- d--e",
    ],
)
def test_contractions_split_alike(text):
    """NLTK's contractions come out the same on both paths."""
    assert words(text) == _split(clean(text))


@settings(deadline=None)
@given(st.text(max_size=300))
def test_words_of_any_text_are_clean(text):
    """No control or direction character, no white space, nothing empty; splitting again changes nothing much."""
    for word in words(text):
        assert word and not any(character.isspace() or ord(character) < 32 for character in word)
        assert not set(word) & set("\u200e\u200f\u202a\u202e\ufeff")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("A <b>red</b> cat &amp; a dog.", ["a", "red", "cat", "a", "dog"]),
        ("¿Qué gato? ¡Rojo!", ["qué", "gato", "rojo"]),
        ("cafe\u0301 cat", ["café", "cat"]),
        ("a cat. a car.", ["a", "cat", "a", "car"]),
        ("\u202ered\u202c \x00cat", ["red", "cat"]),
        ("red 😀", ["red", "😀"]),
        ("1,000 cats,red", ["1,000", "cats", "red"]),
        ("חתול אדום", ["חתול", "אדום"]),
        ("a mid-toned background", ["a", "mid-toned", "background"]),
    ],
)
def test_odd_text(text, wanted):
    """HTML, accents, right-to-left, emoji, control characters, Spanish marks."""
    assert words(text) == wanted


def test_long_text_is_cut():
    """10,000 words are cut to a bounded number; ids to max_tokens, ending in eos."""
    text = "red cat " * 5000
    assert len(words(text)) < 2000
    token_ids = encode_prompt(text, VOCABULARY, 16)
    assert len(token_ids) == 16 and token_ids[0] == BOS_ID and token_ids[-1] == EOS_ID


@pytest.mark.parametrize("text", ["", "   ", "<br>", "...", "\x00\u200b"])
def test_a_prompt_without_words_is_refused(text):
    """TextError, a user's error of one line."""
    with pytest.raises(TextError, match="no word"):
        encode_prompt(text, VOCABULARY, 16)


def test_ids_round_trip():
    """decode(encode(words)) is the words for all in-vocabulary text; others become unk."""
    tokens = list(VOCABULARY.words[len(RESERVED) :])
    assert VOCABULARY.decode(VOCABULARY.encode(tokens, 99)) == tokens
    assert VOCABULARY.encode(["zebra"], 8) == [BOS_ID, UNK_ID, EOS_ID]


def test_order_and_min_count():
    """Frequent words come first, equals alphabetically, rare ones not at all."""
    assert VOCABULARY.words == (*RESERVED, "cat", "red", "grey", "gato", "rare")
    assert Vocabulary.from_counts({"a": 1, "b": 2}, min_count=2).words == (*RESERVED, "b")


def test_unknown_words_get_neighbours():
    """A user who types an unknown word hears of known ones near it."""
    assert unknown_words("a gray cta", VOCABULARY) == {"a": [], "gray": ["grey"], "cta": ["cat"]}


def test_a_changed_vocabulary_is_refused(tmp_path):
    """The file carries the hash of its words."""
    path = tmp_path / "vocabulary.json"
    path.write_text(VOCABULARY.to_json())
    assert Vocabulary.load(path) == VOCABULARY
    value = json.loads(path.read_text())
    value["words"][5] = "blue"
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match="sha256"):
        Vocabulary.load(path)
    path.write_text("[]")
    with pytest.raises(UserError, match="no vocabulary"):
        Vocabulary.load(path)


def test_stemming_joins_forms():
    """With stemmers, the forms of a word share an id, in both languages, and the hash tells it."""
    vocabulary = Vocabulary.from_counts({"gato": 2, "gatos": 1, "roja": 1, "sitting": 4}, stemmed=("en", "es"))
    assert len(vocabulary) == len(RESERVED) + 3
    assert vocabulary.id_of("rojas") == vocabulary.id_of("roja") != UNK_ID
    assert vocabulary.id_of("sits") == vocabulary.id_of("sitting") != UNK_ID
    assert vocabulary.sha256 != Vocabulary(vocabulary.words, vocabulary.counts).sha256
