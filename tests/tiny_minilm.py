"""A sentence encoder of two hundred words in the files that `minilm` reads: an ONNX table of vectors, a tokenizer.

Its vector of a sentence is the mean of fixed vectors of its words: enough for everything but the meaning of words.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from textgan.facts.wording import vocabulary_of_grammar
from textgan.minilm import DIM


def write_minilm(directory: Path) -> Path:
    """model.onnx and tokenizer.json."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    words = ["[UNK]", *vocabulary_of_grammar("en"), "green", "crimson"]
    vocabulary = {word: idx for idx, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    table = np.random.default_rng(0).normal(size=(len(vocabulary), DIM)).astype(np.float32)
    (directory / "model.onnx").write_bytes(_network(table))
    return directory


def _network(table: np.ndarray) -> bytes:
    """last_hidden_state = table[input_ids], as a protocol buffer of onnx.proto3."""
    node = _field(1, b"table") + _field(1, b"input_ids") + _field(2, b"last_hidden_state") + _field(4, b"Gather")
    shape = b"".join(b"\x08" + _varint(size) for size in table.shape)
    weights = shape + b"\x10\x01" + _field(8, b"table") + _field(9, table.tobytes())
    ends = _value(11, b"input_ids", 7, 2) + _value(12, b"last_hidden_state", 1, 3)
    graph = _field(1, node) + _field(2, b"tiny") + _field(5, weights) + ends
    return b"\x08\x08" + _field(7, graph) + _field(8, b"\x10\x0d")  # IR 8, operators 13


def _value(number: int, name: bytes, kind: int, rank: int) -> bytes:
    shape = b"".join(_field(1, _field(2, f"{name.decode()}_{axis}".encode())) for axis in range(rank))
    return _field(number, _field(1, name) + _field(2, _field(1, b"\x08" + _varint(kind) + _field(2, shape))))


def _field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])
