"""Drawn pictures against what they were drawn from: right on another seed, and only where the source is the drawer."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline import caption_pixels
from pipeline.captions import SCHEMA
from pipeline.draw import picture
from textgan.facts.drawn import SOURCE, picture_facts
from textgan.facts.heldout import heldout

SEED, COUNT = 31, 60
"""Another seed than 101, which the probe was fitted on."""


def _encoded(facts: dict[str, str], idx: int) -> bytes:
    image = Image.fromarray(picture(facts, SEED, idx))
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    buffer = io.BytesIO()
    image.crop((left, top, left + side, top + side)).resize((64, 64), Image.Resampling.LANCZOS).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def drawn() -> tuple[list[dict[str, str]], list[tuple[str, bytes]]]:
    """Facts and encoded pictures by key."""
    truths = [picture_facts(SEED, kind, idx, heldout()) for kind in ("cat", "car") for idx in range(COUNT // 2)]
    return truths, [(f"k{idx:03}", _encoded(facts, idx)) for idx, facts in enumerate(truths)]


def _table(truths: list[dict[str, str]], source: str) -> pa.Table:
    rows = [
        {
            "sample_key": f"k{idx:03}",
            "facts": [{"name": n, "value": v, "confidence": 1.0, "source": source} for n, v in facts.items()],
        }
        for idx, facts in enumerate(truths)
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


def test_pixels_agree_with_what_was_drawn(drawn):
    """Precision and coverage of each measured fact, with intervals; facts that pixels do not say are left out."""
    truths, pictures = drawn
    scores = caption_pixels.score_pixels([_table(truths, SOURCE)], pictures)
    assert scores is not None and scores["pictures"] == COUNT
    assert set(scores["facts"]) == {"kind", "colour", "background", "side", "framing"}
    for score in scores["facts"].values():
        assert score["coverage"] >= 0.8 and score["precision"] >= 0.97
        assert score["precision_low"] < score["precision"] <= score["precision_high"]


def test_wrong_annotations_show(drawn):
    """Annotations of other pictures do not agree: the score can fail."""
    truths, pictures = drawn
    scores = caption_pixels.score_pixels([_table(truths[1:] + truths[:1], SOURCE)], pictures)
    assert scores is not None
    assert all(scores["facts"][name]["precision"] < 0.5 for name in ("colour", "background"))


def test_only_drawn_pictures_are_measured(drawn, monkeypatch):
    """A photo's annotations are not held against a measure of drawn pictures; sizes that it cannot read neither."""
    truths, pictures = drawn
    assert caption_pixels.score_pixels([_table(truths, "annotations")], pictures) is None
    assert caption_pixels.score_pixels([], []) is None
    small = io.BytesIO()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(small, "PNG")
    assert caption_pixels.score_pixels([_table(truths[:1], SOURCE)], [("k000", small.getvalue())]) is None
    monkeypatch.setattr(caption_pixels, "PICTURES", 7)
    few = caption_pixels.score_pixels([_table(truths, SOURCE)], pictures)
    assert few is not None and few["pictures"] <= 7
