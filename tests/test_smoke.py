"""The preset `sample --smoke` through every stage program, with weights that a user supplies: nothing is left out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from safetensors.torch import save_file

from tests import tiny_weights
from textgan import preset
from textgan.files import sha256_file

REPOSITORY = Path(__file__).parents[1]
STAGES = ("pipeline.draw", "pipeline.ingest", "pipeline.images", "pipeline.captions", "pipeline.pairs")
LEARNING = ("textgan.train", "textgan.match", "textgan.evaluate")
clip_directory = tiny_weights.clip_directory


def run(place: Path, module: str, *arguments: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "TEXTGAN_WORKERS": "1", "TEXTGAN_THREADS": "1"}
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=place, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, f"{module}: {done.stderr}"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_smallest_preset_with_supplied_weights(tmp_path, monkeypatch, clip_directory):
    """Each stage ends, fid50k_full and the CLIP score stand beside their controls, and the page names both."""
    monkeypatch.chdir(REPOSITORY)
    value = yaml.safe_load(preset.compose("sample", smoke=True))
    inception = tmp_path / "inception.safetensors"
    save_file(tiny_weights.tiny_state(), inception)
    value["datasets"]["catcar"]["evaluate"] |= {
        "weights": {
            "inception": {"path": str(inception), "sha256": sha256_file(inception)},
            "clip": {"path": str(clip_directory), "sha256": sha256_file(clip_directory / "model.safetensors")},
        },
        "full_images": 64,
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(value))
    for module in (*STAGES, *LEARNING):
        run(tmp_path, module, "catcar")
    run(tmp_path, "textgan.report")
    found = json.loads((tmp_path / "data/evaluation/catcar/metrics.json").read_text())
    assert found["full"]["name"] == "fid64_full_unverified" and found["full"]["value"] >= 0
    assert {"generated", "real", "shuffled"} <= set(found["clip"])
    page = (tmp_path / "report/index.html").read_text()
    assert "fid64_full_unverified" in page and "CLIP score" in page
    committed = json.loads((tmp_path / "metrics/catcar.json").read_text())
    named = {name for print_ in committed["fingerprints"] for name in print_["metrics"]}
    assert "fid64_full_unverified" in named and any(name.startswith("clip_score") for name in named)
