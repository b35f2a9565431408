"""Pairs: aligned, from the train split's words alone, and back again."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from pipeline import captions, pairs
from tests.caption_data import PARAMS, make_dataset
from textgan.errors import UserError
from textgan.params import PairsParams
from textgan.text import UNK_ID, Vocabulary, encode_prompt, words

PAIRS = PairsParams(languages=["en", "es"], stem=False, min_count=1, max_tokens=32)


@pytest.fixture
def captioned(tmp_path, monkeypatch):
    """A captioned tiny dataset."""
    monkeypatch.chdir(tmp_path)
    captions.run(*make_dataset(tmp_path), tmp_path / "captions", PARAMS, "d")
    return tmp_path / "captions"


def test_pairs_round_trip(captioned, tmp_path):
    """Ids decode to the words of their caption; prompts get the ids that captions got."""
    pairs.run(captioned, tmp_path / "pairs", PAIRS, "d")
    vocabulary = Vocabulary.load(tmp_path / "pairs" / "vocabulary.json")
    table = pd.read_parquet(tmp_path / "pairs" / "train-00000.parquet")
    assert table["sample_key"].tolist() == pd.read_parquet(captioned / "train-00000.parquet")["sample_key"].tolist()
    for row in table.to_dict("records"):
        assert len(row["captions"]) == len(row["languages"]) == len(row["token_ids"]) == 6
        for caption, token_ids in zip(row["captions"], row["token_ids"], strict=True):
            assert vocabulary.decode(token_ids) == words(caption)
            assert encode_prompt(caption, vocabulary, 32) == list(token_ids)
        assert json.loads(row["facts"])["kind"] == "cat"


def test_same_bytes_twice(captioned, tmp_path):
    """Parquet, vocabulary and manifest are the same bytes each time."""
    for name in ("a", "b"):
        pairs.run(captioned, tmp_path / name, PAIRS, "d")
    assert all((tmp_path / "b" / path.name).read_bytes() == path.read_bytes() for path in (tmp_path / "a").iterdir())


def test_the_vocabulary_is_of_the_train_split(captioned, tmp_path):
    """A word of the test split alone is unk, and counted."""
    path = captioned / "test-00000.parquet"
    table = pd.read_parquet(path)
    table["captions_en"] = [["a zebra"]] * len(table)
    table.to_parquet(path, index=False)
    manifest = pairs.run(captioned, tmp_path / "pairs", PAIRS, "d")
    assert "zebra" not in Vocabulary.load(tmp_path / "pairs" / "vocabulary.json").ids
    assert UNK_ID in pd.read_parquet(tmp_path / "pairs" / "test-00000.parquet")["token_ids"][0][0]
    assert (
        manifest["splits"]["test"]["out_of_vocabulary_rate"]
        > 0
        == manifest["splits"]["train"]["out_of_vocabulary_rate"]
    )


def test_no_captions_no_pairs(tmp_path):
    """An empty directory is a user's error."""
    with pytest.raises(UserError, match="run the stage captions first"):
        pairs.run(tmp_path, tmp_path / "pairs", PAIRS, "d")
