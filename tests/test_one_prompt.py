"""What z does under one prompt: who does not look at z is not called smooth. Kinds have ruins of their own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.test_features import Mean, pictures
from textgan.metrics import beyond, one_prompt
from textgan.metrics.features import PatchExtractor, extract
from textgan.metrics.latent import steps_of
from textgan.metrics.prompts import Prompts
from textgan.metrics.sheets import Sheets
from textgan.metrics.suite import References

COUNT = 30


@pytest.fixture(autouse=True)
def without_a_cache(monkeypatch):
    for module in (one_prompt, beyond):
        monkeypatch.setattr(module, "extract_cached", lambda images, extractor, what: extract(images, extractor))


def references() -> References:
    kinds = ["cat", "car"] * COUNT
    return References(pictures(0, 2 * COUNT, 16), pictures(1, 2 * COUNT, 16), kinds, kinds)


def asked(count: int) -> Prompts:
    facts = [{"kind": ("cat", "car")[place % 2]} for place in range(count)]
    return Prompts(["a cat"] * count, ["en"] * count, facts, [[1]] * count, list(range(count)))


def of_z(monkeypatch, tmp_path, line, seeds: int = 4) -> tuple[dict[str, Any], dict[str, str]]:
    """`line(place, step)`: the grey level of a picture on the way between two z."""
    count = 6
    monkeypatch.setattr(one_prompt, "read_by", lambda snapshot, prompts: list(range(len(prompts))))
    monkeypatch.setattr(one_prompt, "walk", lambda snapshot, place, ends, steps: flat(line, place, steps))
    rows = {place: flat(line, place, seeds) for place in range(count)}
    snapshot: Any = SimpleNamespace()
    found = one_prompt.of_z(snapshot, asked(count), range(count), rows, references(), Mean(), 0, Sheets(tmp_path))
    return found


def flat(line, place: int, steps: int) -> np.ndarray:
    return np.stack([np.full((16, 16, 3), line(place, step), dtype=np.uint8) for step in range(steps)])


def test_even_steps_are_one_and_a_jump_is_as_many_as_steps():
    even, ends = steps_of(np.arange(8, dtype=np.float32)[:, None])
    jump, _ = steps_of(np.asarray([0, 0, 0, 0, 5, 5, 5, 5], dtype=np.float32)[:, None])
    assert even == pytest.approx(1) and ends == 7 and jump == pytest.approx(7)


def test_smoothness_has_an_interval_over_prompts(monkeypatch, tmp_path):
    found, reasons = of_z(monkeypatch, tmp_path, lambda place, step: 10 * step + (60 if step > 3 and place % 2 else 0))
    uneven = found["interpolation"]["unevenness"]
    assert uneven["low"] < uneven["value"] < uneven["high"] and uneven["low"] >= 0.99
    assert found["interpolation"]["still"] == 0 and found["interpolation"]["walks"] == 6 and not reasons
    assert found["diversity"]["low"] <= found["diversity"]["value"] <= found["diversity"]["high"]
    assert one_prompt.z_names(found)["unevenness_6_lite2"] == uneven["value"]


def test_a_generator_that_does_not_look_at_z_is_not_called_smooth(monkeypatch, tmp_path):
    """Its steps are all 0; the largest over the mean once came out as 0, better than perfectly even."""
    found, reasons = of_z(monkeypatch, tmp_path, lambda place, step: 100)
    assert found["interpolation"]["unevenness"] is None and found["interpolation"]["still"] == 6
    assert found["diversity"]["value"] < 1e-6
    assert list(reasons) == ["unevenness_6_lite2"] and one_prompt.z_names(found)["unevenness_6_lite2"] is None


def test_of_one_seed_there_is_no_diversity_and_it_is_said(monkeypatch, tmp_path):
    found, reasons = of_z(monkeypatch, tmp_path, lambda place, step: 10 * step, seeds=1)
    assert found["diversity"] is None and "grid_seeds is 1" in reasons["diversity_6_lite2"]


def test_a_kind_that_no_real_image_has_is_held_against_all(monkeypatch, tmp_path):
    """It once gave NaN, which no metrics file can hold."""
    real = one_prompt.spreads(references(), Mean())
    assert set(real) == {"", "cat", "car"}
    rows = [pictures(2, 4, 16), pictures(3, 4, 16)]
    found = one_prompt.within_prompts(rows, ["dog", "cat"], real, Mean(), 0)
    assert np.isfinite(found["value"]) and found["prompts"] == 2 and found["seeds"] == 4


def test_every_kind_has_its_own_floor_and_ruins():
    """Real images in place of generated ones lie near the floor, and below what is ruined."""
    prompts = asked(2 * COUNT)
    patches = PatchExtractor(pictures(9, 100))
    found, reasons = beyond.by_kind(references(), pictures(5, 2 * COUNT, 16), prompts, patches, 0)
    assert set(found) == {"cat", "car"} and not reasons
    for entry in found.values():
        assert set(entry["ceilings"]) == {"blurred", "collapsed", "other_kind"} and entry["images"] == COUNT
        assert entry["low"] < entry["kid"] < entry["high"] and entry["deviation"] > 0
        assert min(entry["ceilings"]["collapsed"], entry["ceilings"]["blurred"]) > entry["floor"]


def test_a_kind_of_too_few_images_is_reported_not_dropped():
    real = references()
    few = References(real.test, real.train, ["cat"] * 50 + ["car"] * 10, real.train_kinds)
    found, reasons = beyond.by_kind(few, pictures(5, 2 * COUNT, 16), asked(2 * COUNT), Mean(), 0)
    assert set(found) == {"cat"}
    assert "needs 20 images of it; among the test ones there are 10" in reasons["kid*_mean_test_car"]
