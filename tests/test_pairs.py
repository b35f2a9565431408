"""Pairs: aligned, from the train split's words alone, and back again."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from pipeline import captions, pairs
from tests.caption_data import PARAMS, make_dataset
from textgan.errors import UserError
from textgan.facts.drawn import picture_facts
from textgan.facts.wording import LANGUAGES, realise, vocabulary_of_grammar
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


def test_statistics_are_tables(captioned, tmp_path):
    """pandas reads them; they agree with the pairs themselves, split by split and language by language."""
    manifest = pairs.run(captioned, tmp_path / "pairs", PAIRS, "d")
    table = pd.read_csv(tmp_path / "pairs" / "statistics.csv").set_index(["split", "language"])
    assert set(table.index) == {
        (split, tongue) for split in ("train", "select", "test") for tongue in ("all", "en", "es")
    }
    both = table.loc[("train", "all")]
    assert both["captions"] == 30 == table.loc[("train", "en"), "captions"] + table.loc[("train", "es"), "captions"]
    assert 0 < both["caption_entropy_bits"] <= 5 and both["out_of_vocabulary_rate"] == 0
    lengths = pd.read_csv(tmp_path / "pairs" / "lengths.csv")
    shown = lengths[(lengths.split == "train") & (lengths.language == "all")]
    assert shown["captions"].sum() == 30 and (shown.words * shown.captions).sum() == both["words"]
    counts = pd.read_csv(tmp_path / "pairs" / "frequencies.csv", keep_default_na=False)
    assert counts["train"].sum() == both["words"]
    vocabulary = Vocabulary.load(tmp_path / "pairs" / "vocabulary.json")
    seen = dict(zip(counts["word"], counts["train"], strict=True))
    assert all(seen[word] == count for word, count in zip(vocabulary.words[4:], vocabulary.counts[4:], strict=True))
    assert sum(count for _length, count in manifest["plots"]["lengths"]) == 30
    assert manifest["plots"]["rank_frequency"][0][0] == 0 < len(manifest["plots"]["rank_frequency"])


def test_contradictory_captions_are_flagged(captioned, tmp_path, monkeypatch):
    """Captions against each other and against the facts: counted, named by fact, keys listed up to a bound."""
    assert pairs.run(captioned, tmp_path / "a", PAIRS, "d")["splits"]["train"]["contradictory"]["images"] == 0
    path = captioned / "train-00000.parquet"
    table = pd.read_parquet(path)
    table["captions_en"] = [["a purple cat"]] * 3 + [["a cat on the left", "a cat on the right"]] * 2
    table.to_parquet(path, index=False)
    monkeypatch.setattr("pipeline.text_statistics.FIRST_KEYS", 4)
    found = pairs.run(captioned, tmp_path / "b", PAIRS, "d")["splits"]["train"]["contradictory"]
    assert found["images"] == 5 and found["facts"] == {"colour": 3, "side": 2}
    assert found["first_keys"] == [f"cat-train{idx}" for idx in range(4)]


def test_everything_the_grammars_say_comes_back(tmp_path):
    """Ids -> words for every word of the closed vocabularies, and for captions of any facts in both languages."""
    known = sorted({part for name in LANGUAGES for word in vocabulary_of_grammar(name) for part in words(word)})
    vocabulary = Vocabulary.from_counts(dict.fromkeys(known, 1))
    assert vocabulary.decode(vocabulary.encode(known, len(known) + 2)) == known
    for idx in range(400):
        facts = picture_facts(5, ("cat", "car")[idx % 2], idx, [])
        for language in LANGUAGES:
            for caption in realise(facts, language, idx, 2):
                tokens = words(caption)
                assert vocabulary.decode(encode_prompt(caption, vocabulary, 64)) == tokens
                assert words(" ".join(tokens)) == tokens and "".join(tokens) == caption.replace(" ", "").replace(
                    ",", ""
                )


def test_no_captions_no_pairs(tmp_path):
    """An empty directory is a user's error."""
    with pytest.raises(UserError, match="run the stage captions first"):
        pairs.run(tmp_path, tmp_path / "pairs", PAIRS, "d")
