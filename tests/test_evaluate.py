"""What evaluation refuses: each would be a number that means something else."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny_training import write_data
from textgan import params as parameters
from textgan.errors import UserError
from textgan.evaluate import FEWEST, check, rounded
from textgan.metrics.features import PatchExtractor
from textgan.metrics.fingerprints import Prints, comparable
from textgan.metrics.listening import scorer_of
from textgan.metrics.matcher import Matcher, MatcherSpec, drawing_seed, learnt_from, save_matcher
from textgan.metrics.splits import Split, drawn_keys, read_split

REPOSITORY = Path(__file__).parents[1]
COUNT = 40


def split(count: int = COUNT, side: int = 16) -> Split:
    images = np.zeros((count, side, side, 3), dtype=np.uint8)
    keys = [f"cat-{idx}" for idx in range(count)]
    nothing: list[Any] = [[] for _ in keys]
    return Split(keys, images, ["{}"] * count, nothing, nothing, nothing)


def inputs(**changes: Any) -> dict[str, Any]:
    """Arguments of `check` that pass, and what a test changes."""
    params = parameters.load(REPOSITORY / "presets/sample.yaml").datasets["catcar"]
    evaluate = dataclasses.replace(params.evaluate, num_images=changes.pop("num_images", COUNT))
    info = {"width": 16, "height": 16, "vocabulary_sha256": "v", **changes.pop("info", {})}
    net = torch.nn.Linear(2, 2)
    with torch.no_grad():
        net.weight.fill_(changes.pop("weight", 1.0))
    snapshot = SimpleNamespace(info=info, net=net, directory=Path("models/catcar"))
    both = {"test": split(), "train": split(), **changes}
    settings = dataclasses.replace(params, evaluate=evaluate)
    return {"snapshot": snapshot, "vocabulary": SimpleNamespace(sha256="v"), "params": settings, **both}


def test_what_fits_is_not_refused():
    check(**inputs())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_images": 31}, f"num_images is 31; .* at least {FEWEST}"),
        ({"num_images": 50}, "num_images is 50; it must be at most 40, the images of the test split"),
        ({"train": split(35)}, "must be at most 35, the images of the train split"),
        ({"info": {"width": 32}}, "makes 32x16 pictures; the test images are 16x16"),
        ({"info": {"vocabulary_sha256": "w"}}, "its vocabulary is not that of the pairs"),
        ({"weight": float("nan")}, "1 tensors are not finite .weight.; its pictures are NaN"),
    ],
)
def test_what_would_give_another_number_is_refused_in_one_line(changes, message):
    with pytest.raises(UserError, match=message) as caught:
        check(**inputs(**changes))
    assert "\n" not in str(caught.value)


def test_an_empty_test_split_is_refused(tmp_path):
    place = tmp_path / "images/catcar"
    place.mkdir(parents=True)
    (place / "manifest.json").write_text(json.dumps({"splits": {"test": {"images": 0, "shards": []}}}))
    with pytest.raises(UserError, match="the test split has no images; more images, or a larger ingest.test"):
        read_split("catcar", "test", 10, 0, tmp_path)


def test_patches_of_too_few_images_are_refused_with_the_number_needed():
    with pytest.raises(UserError, match="31 training images; at least 32"):
        PatchExtractor(np.zeros((31, 64, 64, 3), dtype=np.uint8))


def test_a_fingerprint_knows_everything_but_the_generated_images():
    """Other real images, another count or another resize: another fingerprint. Another model: the same."""
    images = np.zeros((4, 8, 8, 3), dtype=np.uint8)

    def sha(generated: np.ndarray = images, **data: Any) -> str:
        prints = Prints()
        prints.add("lite2", ["kid"], generated, **{"real_images": 4, "extractor": {"resize": "bicubic"}, **data})
        (entry,) = prints.index()
        assert entry["metrics"] == ["kid"] and entry["sha"] == comparable(entry["data"])
        assert set(entry["data"]["versions"]) == {"numpy", "textgan", "torch"}
        return str(entry["sha"])

    assert sha() == sha(images + 1)
    others = {sha(real_images=5), sha(extractor={"resize": "box"}), sha(images[:3]), sha(real_sha256="x")}
    assert len(others) == 4 and sha() not in others


def test_a_matcher_of_other_words_is_refused(tmp_path):
    """Its token ids would mean other words, and R-precision would be of sentences that nobody said."""
    save_matcher(Matcher(MatcherSpec(dim=8, words=5, vocabulary_sha256="v", features=6, hidden=4)), tmp_path, {})
    own: Any = SimpleNamespace(sha256="v")
    assert scorer_of(tmp_path, own).spec.words == 5
    other: Any = SimpleNamespace(sha256="w")
    with pytest.raises(UserError, match="its vocabulary is not that of the pairs; run the stage matcher again"):
        scorer_of(tmp_path, other)
    (tmp_path / "matcher.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="matcher.safetensors: no matcher: ") as caught:
        scorer_of(tmp_path, own)
    assert "\n" not in str(caught.value)
    (tmp_path / "matcher.safetensors").unlink()
    with pytest.raises(UserError, match="matcher.safetensors: no matcher: "):
        scorer_of(tmp_path, own)


def test_numbers_are_rounded_to_six_digits_wherever_they_stand():
    assert rounded({"a": [0.12345678, (1.0, "x")], "b": None}) == {"a": [0.123457, [1.0, "x"]], "b": None}


def test_a_part_is_drawn_from_all_over_a_split_and_by_key_alone():
    """Shards are in the order of the exports: their first images are of one kind."""
    whole = split(200)
    places = whole.drawn(50, 0, "shown")
    assert len(set(places)) == 50 and min(places) < 50 and max(places) >= 150
    assert places == split(200).drawn(50, 0, "shown") != whole.drawn(50, 1, "shown")


def test_a_draw_avoids_keys_as_long_as_others_are_left():
    keys = [f"cat-{idx}" for idx in range(20)]
    first = drawn_keys(keys, 8, 0)
    other = drawn_keys(keys, 12, 1, first)
    assert len(first) == 8 and set(other) == set(keys) - set(first)
    assert set(drawn_keys(keys, 15, 1, first)) > set(other)  # too few others: the rest comes from what was avoided
    assert drawn_keys(keys, None, 0) and len(drawn_keys(keys, None, 0)) == 20


def test_the_matcher_learns_from_the_images_that_matcher_json_says(tmp_path, monkeypatch):
    """Evaluation draws around them: floors and whitening know nothing of what the matcher knows."""
    monkeypatch.chdir(tmp_path)
    assert learnt_from(tmp_path / "none", "tiny") == []
    write_data(tmp_path)
    place = tmp_path / "models/tiny-matcher"
    place.mkdir(parents=True)
    (place / "matcher.json").write_text(json.dumps({"params": {"images": 10, "seed": 3}}))
    learnt = learnt_from(place, "tiny")
    assert sorted(learnt) == sorted(read_split("tiny", "train", 10, drawing_seed(3)).keys)
    train = read_split("tiny", "train", 20, 5, avoid=learnt)
    assert len(train.keys) == 20 and not set(train.keys) & set(learnt)
    (place / "matcher.json").write_text("{}")
    with pytest.raises(UserError, match="matcher.json: no matcher"):
        learnt_from(place, "tiny")
