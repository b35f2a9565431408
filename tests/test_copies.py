"""Copies: found in features and in pixels, wherever in train they come from; planted ones are flagged."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tiny_training import write_data
from textgan.metrics import copies as searching
from textgan.metrics.copies import SUSPECTED, Searched, copied_names, copies, pixels_of, plant, read_pictures
from textgan.metrics.features import PatchExtractor, extract
from textgan.metrics.sheets import Sheets
from textgan.metrics.splits import read_split

SIDE = 32


def pictures(seed: int, count: int) -> np.ndarray:
    """Smooth patches of colour, so that a neighbour means something."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 4, 4, 3)).astype(np.float32)
    return coarse.repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2).round().astype(np.uint8)


@pytest.fixture(scope="module")
def train() -> np.ndarray:
    return pictures(0, 300)


@pytest.fixture(scope="module")
def patches(train) -> PatchExtractor:
    return PatchExtractor(train[:40])


def search(fake, train, patches, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(searching, "extract_cached", lambda images, extractor, what: extract(images, extractor))
    keys = [f"cat-{idx}" for idx in range(len(train))]
    searched = Searched(keys, extract(train, patches), pixels_of(train), True)
    sheets = Sheets(tmp_path)
    found = copies(
        fake, pictures(1, 200), searched, lambda names: train[[int(n[4:]) for n in names]], patches, 0, sheets
    )
    return found, sheets


def test_planted_copies_are_flagged_by_the_rule_that_clears_new_pictures(train, patches, tmp_path, monkeypatch):
    """One in twenty, through JPEG again, from anywhere in train."""
    found, sheets = search(pictures(2, 200), train, patches, tmp_path, monkeypatch)
    for part in (found, found["pixels"]):
        assert part["nearer_than_test"] <= SUSPECTED and not part["flagged"] and 0.8 < part["ratio"] < 1.2
        assert part["planted"]["flagged"] and part["planted"]["found"] == 1
        assert part["planted_hard"]["jpeg_quality"] == 75 and 0 <= part["planted_hard"]["found"] <= 1
        assert part["planted"]["nearer_than_test"] >= 0.05 > part["low"]
    named = copied_names(found)
    assert named["memorisation_nearer_pixels16_planted"] == found["pixels"]["planted"]["nearer_than_test"]
    assert "memorisation_ratio_lite2" in named
    assert sheets.index["neighbours"]["columns"] == 8 and len(sheets.index["neighbours"]["texts"]) == 3


def test_a_generator_that_copies_is_suspected(train, patches, tmp_path, monkeypatch):
    found, _ = search(train[100:200], train, patches, tmp_path, monkeypatch)
    for part in (found, found["pixels"]):
        assert part["ratio"] < 1e-3 and part["nearer_than_test"] == 1 and part["flagged"]


def test_what_is_planted_is_drawn_by_lot_and_by_seed_alone():
    keys = [f"cat-{idx}" for idx in range(500)]
    places, planted = plant(200, keys, 0)
    assert len(set(places)) == len(set(planted)) == 10 and list(places) == list(plant(200, keys, 0)[0])
    assert planted != plant(200, keys, 1)[1]


def test_all_of_train_is_searched_and_read_by_key(tmp_path, monkeypatch):
    """Block by block; of a larger split a part by seed, and it is said that it is a part."""
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path)
    monkeypatch.setattr(searching, "BLOCK", 16)
    whole = read_split("tiny", "train", None, 0)
    patches = PatchExtractor(whole.images)
    searched = searching.read_searched("tiny", patches, 0)
    assert searched.keys == whole.keys and searched.all_of_train
    assert np.array_equal(searched.features, extract(whole.images, patches))
    assert np.array_equal(searched.pixels, pixels_of(whole.images))
    some = [whole.keys[7], whole.keys[2]]
    assert np.array_equal(read_pictures("tiny", some), whole.images[[7, 2]])
    part = searching.read_searched("tiny", patches, 0, 10)
    assert len(part.keys) == 10 and not part.all_of_train
