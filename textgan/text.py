"""Text to token ids: one path for the captions of a dataset and for the prompts of its users.

`words()` cleans and splits, `Vocabulary` gives ids, `encode_prompt()` joins the two. NLTK is imported
where it is first used, so that training, which reads token ids, needs none of it.
"""

from __future__ import annotations

import functools
import hashlib
import html
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from textgan.errors import UserError
from textgan.files import to_json

if TYPE_CHECKING:
    from nltk.stem.snowball import SnowballStemmer
    from nltk.tokenize import NLTKWordTokenizer

PAD_ID, UNK_ID, BOS_ID, EOS_ID = 0, 1, 2, 3
RESERVED = ("<pad>", "<unk>", "<bos>", "<eos>")
MAX_CHARACTERS = 4000
"""Longer text is cut here before it is split: no caption carries more than a few sentences."""
MAX_WORD = 64
"""Longer words are cut; they are noise, and a vocabulary must stay readable."""

_TAG = re.compile(r"<[^<>]{0,500}>")
_STOP = re.compile(r"\.(?=\s|$)")  # NLTK's tokenizer sees one sentence: it would leave a full stop inside on its word
_APART = re.compile(r"([¿¡«»…·/]|(?<!\d),|,(?!\d))")  # NLTK leaves Spanish marks and the second of two commas on words
_LETTERS = "a-záéíóúüñ"
_SIMPLE = re.compile(rf"[{_LETTERS}, ]*(?:(?<=[{_LETTERS}])-[{_LETTERS}][{_LETTERS}, ]*)*")


class TextError(UserError):
    """A text that says nothing."""


def clean(text: str) -> str:
    """NFC, lower case, one line; without HTML, control and direction characters; at most MAX_CHARACTERS long."""
    text = _TAG.sub(" ", html.unescape(text[: 4 * MAX_CHARACTERS]))
    text = unicodedata.normalize("NFC", text).lower()
    kept = []
    for character in text:
        category = unicodedata.category(character)
        if category in ("Cc", "Zs", "Zl", "Zp"):
            kept.append(" ")
        elif category not in ("Cf", "Cs", "Co", "Cn"):
            kept.append(character)
    return " ".join("".join(kept)[:MAX_CHARACTERS].split())


def words(text: str) -> list[str]:
    """Lower-case words, split by NLTK's word tokenizer; punctuation by itself is left out.

    Plain text (letters, spaces, commas, hyphens inside words) is split word by word with remembered results, which
    a test holds equal to the tokenizer's own: captions of the grammar are plain, and there are millions of them.
    """
    if _SIMPLE.fullmatch(text) and len(text) <= MAX_CHARACTERS:
        return [part for word in text.replace(",", " ").split() for part in _split_word(word)]
    return _split(clean(text))


@functools.lru_cache(maxsize=1 << 16)
def _split_word(word: str) -> tuple[str, ...]:
    return tuple(_split(word))


def _split(text: str) -> list[str]:
    text = _APART.sub(r" \1 ", _STOP.sub(" . ", text))
    return [token[:MAX_WORD] for token in _tokenizer().tokenize(text) if _says_something(token)]


def _says_something(token: str) -> bool:
    return any(character.isalnum() or unicodedata.category(character) == "So" for character in token)


@functools.cache
def _tokenizer() -> NLTKWordTokenizer:
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer()


STEMMERS = {"en": "english", "es": "spanish"}


@functools.lru_cache(maxsize=1 << 16)
def stem(word: str, languages: tuple[str, ...]) -> str:
    """The word through Snowball's stemmer of each language in turn.

    A prompt does not say its language, so all of a vocabulary's stemmers see every word.
    """
    for language in languages:
        word = _stemmer(language).stem(word)
    return word


@functools.cache
def _stemmer(language: str) -> SnowballStemmer:
    from nltk.stem.snowball import SnowballStemmer

    return SnowballStemmer(STEMMERS[language])


@dataclass(frozen=True)
class Vocabulary:
    """An ordered list of words; id = position; ids 0 to 3 are pad, unk, bos, eos."""

    words: tuple[str, ...]
    counts: tuple[int, ...]
    """How often each word was seen in the train split; 0 for the reserved ones."""
    stemmed: tuple[str, ...] = ()
    """Languages whose stemmers words go through before they are looked up; then `words` are stems."""
    ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.words[: len(RESERVED)] != RESERVED:
            raise UserError(f"vocabulary: begins with {self.words[:4]}; it must begin with {RESERVED}")
        if len(set(self.words)) != len(self.words) or len(self.words) != len(self.counts):
            raise UserError("vocabulary: each word must be there once, with a count")
        object.__setattr__(self, "ids", {word: idx for idx, word in enumerate(self.words)})

    @classmethod
    def from_counts(cls, seen: Mapping[str, int], min_count: int = 1, stemmed: tuple[str, ...] = ()) -> Vocabulary:
        """Words seen at least `min_count` times, the most frequent first, equals in alphabetical order."""
        counts: Counter[str] = Counter()
        for word, count in seen.items():
            counts[stem(word, stemmed)] += count
        kept = sorted((word for word in counts if counts[word] >= min_count), key=lambda word: (-counts[word], word))
        return cls((*RESERVED, *kept), (0,) * len(RESERVED) + tuple(counts[word] for word in kept), stemmed)

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read `vocabulary.json`; a text that does not have its recorded hash is refused."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            vocabulary = cls(tuple(value["words"]), tuple(value["counts"]), tuple(value.get("stemmed", ())))
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; the stage pairs writes it") from None
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: no vocabulary: {error!r}") from None
        if vocabulary.sha256 != value.get("sha256"):
            raise UserError(f"{path}: sha256 is {value.get('sha256')!r}; its words have {vocabulary.sha256}")
        return vocabulary

    @property
    def sha256(self) -> str:
        """Hex sha256 of the words and stemmers, one a line: what a snapshot records."""
        return hashlib.sha256("\n".join((*self.words, *self.stemmed)).encode()).hexdigest()

    def to_json(self) -> str:
        """The text of `vocabulary.json`."""
        value = {"words": self.words, "counts": self.counts, "stemmed": self.stemmed, "sha256": self.sha256}
        return to_json({"format": 1, **value})

    def __len__(self) -> int:
        return len(self.words)

    def id_of(self, word: str) -> int:
        """The id of a word, unk where it is unknown."""
        return self.ids.get(stem(word, self.stemmed) if self.stemmed else word, UNK_ID)

    def encode(self, tokens: Iterable[str], max_tokens: int) -> list[int]:
        """bos, the ids of the words (unk where unknown), eos; at most `max_tokens` in all."""
        if self.stemmed:
            ids = [self.id_of(token) for token in tokens]
        else:
            known = self.ids
            ids = [known.get(token, UNK_ID) for token in tokens]
        return [BOS_ID, *ids[: max_tokens - 2], EOS_ID]

    def decode(self, token_ids: Iterable[int]) -> list[str]:
        """The words (or stems) of ids, without pad, bos and eos."""
        return [self.words[token_id] for token_id in token_ids if token_id not in (PAD_ID, BOS_ID, EOS_ID)]

    def suggest(self, word: str, count: int = 3) -> list[str]:
        """Known words near an unknown one, the nearest first; none where all are far."""
        from nltk.metrics.distance import edit_distance

        limit = max(1, min(3, len(word) // 3))
        near = []
        for known, seen in zip(self.words[len(RESERVED) :], self.counts[len(RESERVED) :], strict=True):
            if abs(len(known) - len(word)) <= limit:
                distance = edit_distance(word, known, transpositions=True)
                if distance <= limit:
                    near.append((distance, -seen, known))
        return [known for _distance, _seen, known in sorted(near)[:count]]


def encode_prompt(text: str, vocabulary: Vocabulary, max_tokens: int) -> list[int]:
    """Token ids of one caption or prompt: bos, words, eos, not padded. Raises TextError where no word is left."""
    tokens = words(text)
    if not tokens:
        raise TextError(f"prompt {text[:80]!r} has no word in it")
    return vocabulary.encode(tokens, max_tokens)


def unknown_words(text: str, vocabulary: Vocabulary) -> dict[str, list[str]]:
    """Words of a prompt that the vocabulary lacks, each with known words near it."""
    return {word: vocabulary.suggest(word) for word in dict.fromkeys(words(text)) if vocabulary.id_of(word) == UNK_ID}
