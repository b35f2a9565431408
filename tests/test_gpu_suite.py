"""The suite for a bare GPU machine: its payload fits, and all of it runs with nothing but six packages."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_training import write_data
from textgan.dataset import ImageShards
from textgan.errors import UserError
from textgan.sampling import load_snapshot

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY / "benchmarks"))
import gpu_pack  # noqa: E402
import gpu_suite  # noqa: E402

BARE = ("torch", "numpy", "pandas", "pyarrow", "pillow", "safetensors")
BLOCK = """
import runpy, sys
from importlib.machinery import PathFinder
class Bare:
    names = frozenset({names!r})
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in self.names else PathFinder.find_spec(name, path, target)
sys.meta_path = [Bare() if finder is PathFinder else finder for finder in sys.meta_path]
sys.path[:0] = [{repository!r}, {repository!r} + "/benchmarks"]
sys.argv = ["gpu_suite.py", *{arguments!r}]
runpy.run_path({repository!r} + "/benchmarks/gpu_suite.py", run_name="__main__")
"""


def absent() -> list[str]:
    """Import names of every installed package that a bare machine has not."""
    there, wanted = set(), [*BARE]
    while wanted:
        name = re.split(r"[ ;<>=!~\[(]", wanted.pop())[0].lower().replace("_", "-")
        if name not in there:
            there.add(name)
            try:
                needs = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:
                continue
            wanted += [need for need in needs if "extra ==" not in need]
    packages = importlib.metadata.packages_distributions()
    return sorted(
        name
        for name, owners in packages.items()
        if name not in ("textgan", "pipeline", "flows", "tests", "benchmarks")
        and not any(owner.lower().replace("_", "-") in there for owner in owners)
    )


@pytest.fixture(scope="module")
def payload(tmp_path_factory):
    """Of the sixty squares."""
    root = tmp_path_factory.mktemp("gpu")
    about = gpu_pack.make(*write_data(root), root / "payload")
    return root / "payload", about


def test_a_payload_holds_what_training_needs(payload):
    """Images and pairs of two splits, captions of the third, weights, presets; nothing of the test images."""
    place, about = payload
    assert about["images"] == {"train": 60, "select": 60} and about["bytes"] < gpu_pack.LIMIT
    assert not list((place / "images").glob("test*")) and (place / "pairs" / "test-00000.parquet").exists()
    assert set(json.loads((place / "presets.json").read_text())) == set(gpu_pack.PRESETS)
    assert about["jpeg_quality"] is None


def test_photos_that_are_too_large_are_compressed_again(payload, tmp_path):
    """By the best quality that fits, colours kept; where nothing fits, the message says how much it is."""
    place, about = payload
    source = place.parent / "data/images/tiny", place.parent / "data/pairs/tiny"
    smaller = gpu_pack.make(*source, tmp_path / "smaller", about["bytes"] - 1)
    assert smaller["jpeg_quality"] in gpu_pack.QUALITIES[1:] and smaller["bytes"] < about["bytes"]
    before, after = (ImageShards(where / "images", "train").all() for where in (place, tmp_path / "smaller"))
    assert np.abs(before.astype(int) - after).mean() < 4
    with pytest.raises(UserError, match="too many for a payload of 1000"):
        gpu_pack.make(*source, tmp_path / "none", 1000)


def test_a_payload_of_minilm_is_refused_before_it_trains(payload, tmp_path):
    """It holds token ids alone, which a snapshot of minilm does not read."""
    presets = json.loads((payload[0] / "presets.json").read_text())
    presets["photos-gpu-128"]["train"]["text_encoder"] = "minilm"
    (tmp_path / "presets.json").write_text(json.dumps(presets))
    plan = gpu_suite.Plan(tmp_path, tmp_path, tmp_path, True, 1.0, {}, 1, 1)
    with pytest.raises(UserError, match="presets.json: photos-gpu-128.train.text_encoder is minilm; it must be words"):
        plan.settings("photos-gpu-128")


@pytest.mark.slow
def test_the_suite_runs_on_a_bare_machine(payload, tmp_path):
    """Its rehearsal on a CPU, with every other package hidden: JSON, pictures, curves; the weights can be joined."""
    names = absent()
    assert {"yaml", "nltk", "lmdb", "dvc", "prefect", "simplejpeg", "tqdm", "typer", "scipy"} <= set(names)
    arguments = ["--cpu-dry-run", "--work", str(tmp_path / "work"), str(payload[0]), str(tmp_path / "results")]
    code = BLOCK.format(names=names, repository=str(REPOSITORY), arguments=arguments)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((tmp_path / "results/results.json").read_text())
    assert result["dry_run"] and set(result["trainings"]) == {"projected", "scratch"}
    assert set(result["speed"]) == {f"photos-gpu-128 {way}" for way in ("fp32", "bf16", "fp32_deterministic")}
    assert all(row["images_per_second"] > 0 for row in result["speed"].values())
    files = {path.name: path.stat().st_size for path in (tmp_path / "results").iterdir()}
    assert {"grid-projected.png", "grid-scratch.png", "pictures-scratch.tar", "curve-projected.csv"} <= set(files)
    assert max(files.values()) <= 16 << 20 and sum(files.values()) <= 64 << 20
    gpu_pack.join(tmp_path / "results", tmp_path / "joined")
    assert load_snapshot(tmp_path / "joined").info["cur_nimg"] > 0
