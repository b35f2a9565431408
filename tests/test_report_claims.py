"""Claims: each could fail, every ruin counts, and what fails is shown."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest

from tests.test_report_page import NO_COPIES, share, write_evaluation
from textgan.report.assemble import run_facts
from textgan.report.bands import widened
from textgan.report.cards import cards
from textgan.report.ceilings import beyond_all, hardest, standings
from textgan.report.claims import Claim, claims
from textgan.report.results import Results, read_results
from textgan.report.times import stage_times

KID = {
    "name": "kid1k_lite2_test", "what": "kid", "extractor": "lite2", "value": 0.633, "low": 0.593, "high": 0.672,
    "deviation": 0.0221, "floor": -0.00144, "lower_is_better": True,
    "ceilings": {"blurred": 1.07, "collapsed": 0.618, "other_kind": 3.35},
}  # fmt: skip
PRECISION = {
    "name": "precision_k5_1k_lite2_test", "what": "precision", "extractor": "lite2", "value": 0.082, "low": 0.066,
    "high": 0.099, "deviation": None, "floor": 0.978, "lower_is_better": False,
    "ceilings": {"blurred": 0.118, "collapsed": 1.0, "other_kind": 0.0},
}  # fmt: skip


@pytest.fixture
def result(tmp_path) -> Results:
    write_evaluation(tmp_path / "catcar")
    return read_results(tmp_path / "catcar")


def claimed(result: Results, text: str) -> Claim:
    return next(claim for claim in claims(result) if text in claim.text)


def test_a_number_stands_somewhere_from_every_ruin():
    assert standings(KID) == {"blurred": "better", "collapsed": "alike", "other_kind": "better"}
    assert standings(PRECISION) == {"blurred": "worse", "collapsed": "unseen", "other_kind": "better"}
    assert beyond_all(KID) is False and beyond_all(PRECISION) is False
    assert beyond_all({**KID, "low": 0.1, "high": 0.2}) and beyond_all({**PRECISION, "low": 0.2, "high": 0.3})
    assert hardest(KID) == ("collapsed", 0.618) and hardest(PRECISION) == ("blurred", 0.118)
    assert beyond_all({**PRECISION, "ceilings": {"collapsed": 1.0}}) is None, "of what a metric is blind to"


def test_a_model_no_better_than_ten_repeated_images_is_told_so(result):
    """Above the blurred ones alone it would pass."""
    result.value["numbers"] = [KID, PRECISION]
    distance = claimed(result, "KID on EfficientNet-Lite2")
    assert distance.holds is False and "Not told apart from ten images repeated" in distance.result
    recall = {**PRECISION, "what": "recall", "name": "recall_k5_1k_lite2_test"}
    result.value["numbers"] = [recall]
    found = claimed(result, "Recall on EfficientNet-Lite2")
    assert found.holds is False and "Blind to ten images repeated" in found.result
    result.value["numbers"] = [KID]
    card = next(card for card in cards(result.value) if card.what.startswith("KID"))
    assert card.weak and "ten images repeated 0.618: not told apart" in card.beside


def test_nothing_is_claimed_of_what_one_repeated_picture_pleases(result):
    """A G of one picture had a precision of 1.00 [1.00 to 1.00]: better than every ruin, and than real images."""
    best = {**PRECISION, "value": 1.0, "low": 1.0, "high": 1.0}
    result.value["numbers"] = [{**best, "ceilings": {"blurred": 0.79}}, {**best, "what": "density"}]
    assert not [claim for claim in claims(result) if "every ruin" in claim.text]


def test_an_image_without_a_pair_is_told(result):
    """The images' own sum is right; a split whose captions went missing on the way is not."""
    splits = {"train": {"images": 8}, "test": {"images": 2}}
    images = {"read": 11, "written": 10, "rejected": {"too_small": 1}, "splits": splits}
    whole = dataclasses.replace(result, images=images, pairs={"splits": splits})
    assert claimed(whole, "No image is lost").holds
    lost = dataclasses.replace(whole, pairs={"splits": {"train": {"images": 7}, "test": {"images": 3}}})
    assert claimed(lost, "No image is lost").holds is False
    wrong = dataclasses.replace(whole, images={**images, "read": 12})
    assert claimed(wrong, "No image is lost").holds is False


def test_a_kind_alone_is_held_against_the_ruins_of_that_kind(result):
    """Those of all kinds together are others: 1.42 is worse than all kinds blurred (1.07), not than cars blurred."""
    result.value["numbers"] = [KID]
    car = {"kid": 1.42, "low": 1.34, "high": 1.51, "floor": 0.0, "images": 501, "ceilings": {"blurred": 1.9}}
    result.value["by_kind"] = {"car": car}
    alone = claimed(result, "car alone")
    assert alone.holds and "Better than blurred" in alone.result
    car["ceilings"]["collapsed"] = 0.7
    alone = claimed(result, "car alone")
    assert alone.holds is False and "Worse than ten images repeated" in alone.result


def test_z_that_changes_nothing_is_told_so(result):
    assert claimed(result, "z changes the picture").holds
    result.value["diversity"] = {"value": 0.21, "low": 0.15, "high": 0.27}
    assert claimed(result, "z changes the picture").holds is False, "the whole interval must be beyond the limit"
    result.value["diversity"] = {"value": 0.11, "low": 0.08, "high": 0.14}
    assert claimed(result, "z changes the picture").holds is False
    assert next(card for card in cards(result.value) if card.value == "0.110").weak


def test_copies_are_judged_in_features_and_in_pixels(result):
    """Found in pixels alone, they are copies all the same."""
    clean = {**NO_COPIES, "train_images": 9}
    result.value["memorisation"] = {**clean, "pixels": clean}
    assert claimed(result, "not copies").holds
    result.value["memorisation"]["pixels"] = {**clean, "ratio": 0.0, "nearer_than_test": 1.0}
    assert claimed(result, "not copies").holds is False
    planted = {"share": 0.05, "nearer_than_test": 0.012, "found": 0.04, "flagged": False}
    result.value["memorisation"]["planted"] = planted
    assert claimed(result, "Copies would be seen").holds is False


def test_what_should_stay_must_stay_beyond_chance(result):
    sure = {"value": 0.95, "low": 0.9, "high": 0.99}
    apart = {"colour_right": 0.95, "kept": {"side": 0.95}, "colours": ["red"], "pictures": 128}
    apart |= {"intervals": {"colour_right": sure, "side_kept": sure}}
    apart["chance"] = {"colour_right": share(0.1), "side_kept": share(0.4)}
    result.value["apart"] = apart
    assert claimed(result, "another colour word").holds
    apart["chance"]["side_kept"] = share(0.95)
    assert claimed(result, "another colour word").holds is False


def test_of_a_single_kind_nothing_is_claimed(result):
    """Chance is as right as any model there."""
    fact = result.value["agreement"]["facts"][0]
    result.value["agreement"] |= {"facts": [fact, {**fact, "name": "kind", "confusion": [[10, 0]]}]}
    result.value["agreement"]["main_facts"] = ["kind", "colour"]
    assert not any("The kind follows" in claim.text for claim in claims(result))
    assert any("The colour follows" in claim.text for claim in claims(result))
    assert not any("kind as asked" in card.what for card in cards(result.value))


def test_the_band_of_chance_is_as_wide_as_there_are_tests():
    band = {"value": 0.5, "low": 0.4, "high": 0.6}
    assert widened(band, 1) == pytest.approx((0.4, 0.6))
    low, high = widened(band, 5)
    assert low == pytest.approx(0.5 - 0.1 * 2.5758 / 1.95996, abs=1e-4) and high == pytest.approx(1 - low)


def test_a_restored_stage_shows_the_seconds_of_the_run_that_made_its_bytes(tmp_path, monkeypatch):
    """Never the moment that restoring took, and no sum over both; of other bytes the record says nothing."""
    monkeypatch.chdir(tmp_path)
    for folder in ("runs", "report"):
        Path(folder).mkdir()
    lock = {"stages": {name: {"outs": [{"path": name, "md5": name}]} for name in ("train@catcar", "pairs@catcar")}}
    Path("dvc.lock").write_text(json.dumps(lock))
    seconds = {"train@catcar": 331.0, "pairs@catcar": 4.39}
    Path("report/run.json").write_text(json.dumps({"environment": {}, "seconds": seconds}))
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t.invalid", *command], check=True)
    lock["stages"]["pairs@catcar"]["outs"][0]["md5"] = "other"
    Path("dvc.lock").write_text(json.dumps(lock))
    stages = {name: {"seconds": 0.4, "how": "restored"} for name in seconds}
    stages["images@catcar"] = {"seconds": 12.0, "how": "ran"}
    Path("runs/stages.json").write_text(json.dumps({"stages": stages}))
    shown = {stage.name: str(stage) for stage in stage_times()}
    assert shown == {"images@catcar": "12 s", "train@catcar": "331 s, recorded", "pairs@catcar": "restored"}
    facts = run_facts()
    assert 'all that ran here</th><td class="n">12</td>' in facts and "no seconds are recorded" in facts
    assert "<th>GPU</th>" in facts and "<th>memory</th>" in facts
