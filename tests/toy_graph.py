"""A repository of the real layout whose stages take milliseconds: for tests of what stands around the graph."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from flows import storage
from flows.releases import Store
from flows.remote import load_remote

PROJECT = Path(__file__).resolve().parents[1]
DVC_YAML = """stages:
  draw:
    foreach: [catcar]
    do:
      cmd: python make.py draw
      deps:
        - make.py
      params:
        - draw.${item}
      outs:
        - data/exports/${item}
  ingest:
    foreach: [catcar]
    do:
      cmd: python make.py ingest
      deps:
        - make.py
        - data/exports/${item}
      params:
        - datasets.${item}.ingest
      outs:
        - data/inventory/${item}
  images:
    foreach: [catcar]
    do:
      cmd: python make.py images
      deps:
        - make.py
        - data/exports/${item}
        - data/inventory/${item}
      params:
        - datasets.${item}.images
      outs:
        - data/images/${item}
  pairs:
    foreach: [catcar]
    do:
      cmd: python make.py pairs
      deps:
        - make.py
        - data/images/${item}
      params:
        - datasets.${item}.pairs
      outs:
        - data/pairs/${item}
  train:
    foreach: [catcar]
    do:
      cmd: python make.py train
      deps:
        - make.py
        - data/images/${item}
        - data/pairs/${item}
      params:
        - datasets.${item}.train
      outs:
        - models/${item}
  evaluate:
    foreach: [catcar]
    do:
      cmd: python make.py evaluate
      deps:
        - make.py
        - models/${item}
      params:
        - datasets.${item}.evaluate
      outs:
        - data/evaluation/${item}
  report:
    cmd: python make.py report
    deps:
      - make.py
      - data/evaluation
    params:
      - datasets
    outs:
      - report/content
    metrics:
      - metrics:
          cache: false
"""
MAKE = '''"""Each stage of the toy graph."""

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

import yaml

stage, name = sys.argv[1], "catcar"
params = yaml.safe_load(Path("params.yaml").read_text())
KEYS = [(export, f"{export}{idx:04d}") for export in ("car", "cat") for idx in range(12)]
SPLIT = {11: "select", 10: "test", 9: "test"}


def split_of(idx):
    return SPLIT.get(idx % 12, "train")


def dump(path, value):
    path.write_text(json.dumps(value, sort_keys=True, indent=2) + "\\n")


if stage == "draw":
    for export in ("car", "cat"):
        place = Path("data/exports") / name / export
        place.mkdir(parents=True)
        (place / "data.mdb").write_bytes(hashlib.sha256(export.encode()).digest() * 500)
elif stage == "ingest":
    import pyarrow as pa
    from pyarrow import parquet

    out = Path("data/inventory") / name
    out.mkdir(parents=True)
    rows = [
        {"sample_key": f"{export}-{key}", "export": export, "lmdb_key": key.encode(), "bytes": 100 + idx,
         "sha256": hashlib.sha256(key.encode()).hexdigest(), "format": "jpeg", "width": 8, "height": 8,
         "split": split_of(idx), "status": "rejected" if idx == 3 else "ok",
         "reason": "truncated" if idx == 3 else None}
        for idx, (export, key) in enumerate(KEYS)
    ]
    parquet.write_table(pa.Table.from_pylist(rows), out / "inventory.parquet")
elif stage == "images":
    from PIL import Image

    out = Path("data/images") / name
    out.mkdir(parents=True)
    splits = {}
    for split in ("train", "select", "test"):
        path, count = out / f"{split}-00000.tar", 0
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for idx, (export, key) in enumerate(KEYS):
                if split_of(idx) == split and idx != 3:
                    side, value = params["datasets"][name]["images"]["width"], io.BytesIO()
                    Image.new("RGB", (side, side), tuple(hashlib.sha256(key.encode()).digest()[:3])).save(value, "JPEG")
                    payload = value.getvalue()
                    info = tarfile.TarInfo(f"{export}-{key}.jpg")
                    info.size, info.mode = len(payload), 0o444
                    tar.addfile(info, io.BytesIO(payload))
                    count += 1
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        shard = {"name": path.name, "images": count, "bytes": path.stat().st_size, "sha256": sha256}
        splits[split] = {"images": count, "shards": [shard]}
    dump(out / "manifest.json", {
        "format": 1, "dataset": name, "width": 64, "height": 64, "geometry": "center_crop", "small": "upscale",
        "encoding": {"format": "jpg"}, "read": 24, "written": 23, "upscaled": 0, "rejected": {"truncated": 1},
        "splits": splits})
elif stage == "pairs":
    import pyarrow as pa
    from pyarrow import parquet

    out = Path("data/pairs") / name
    out.mkdir(parents=True)
    for split in ("train", "select", "test"):
        with tarfile.open(Path("data/images") / name / f"{split}-00000.tar") as tar:
            keys = [member.name.removesuffix(".jpg") for member in tar]
        rows = [{"sample_key": key, "facts": json.dumps({"kind": key[:3]}), "captions": [f"a {key[:3]}"],
                 "languages": ["en"], "token_ids": [[4, 5]]} for key in keys]
        parquet.write_table(pa.Table.from_pylist(rows), out / f"{split}-00000.parquet")
    dump(out / "vocabulary.json", {"words": ["<pad>", "<unk>", "<bos>", "<eos>", "a", "car", "cat"]})
    dump(out / "manifest.json", {"format": 1, "dataset": name})
elif stage == "train":
    out = Path("models") / name
    out.mkdir(parents=True)
    seed = params["datasets"][name]["train"]["seed"]
    weights = hashlib.sha256(f"weights {seed}".encode()).digest() * 40_000
    (out / "G_ema.safetensors").write_bytes(weights)
    (out / "vocabulary.json").write_bytes((Path("data/pairs") / name / "vocabulary.json").read_bytes())
    dump(out / "snapshot.json", {"width": 64, "height": 64, "cur_nimg": 1000,
                                 "weights_sha256": hashlib.sha256(weights).hexdigest()})
elif stage == "evaluate":
    out = Path("data/evaluation") / name
    out.mkdir(parents=True)
    dump(out / "metrics.json", {
        "metrics": {"agreement_colour_600_heldout": 0.75, "fid": None, "kid1k_lite2_test": 0.125, "recall": 0.5},
        "numbers": [{"name": "kid1k_lite2_test", "value": 0.125, "low": 0.12, "high": 0.13, "floor": 0.001,
                     "ceilings": {"blurred": 0.9}, "lower_is_better": True}],
        "agreement": {"facts": [{"name": "colour", "matched": {"value": 0.75}, "shuffled": {"value": 0.11},
                                 "base_rate": 0.1, "count": 600}]}})
elif stage == "report":
    Path("report/content").mkdir(parents=True)
    Path("report/content/page.html").write_text("a page")
    Path("metrics").mkdir()
    found = json.loads((Path("data/evaluation") / name / "metrics.json").read_text())["metrics"]
    main = ["kid1k_lite2_test", "agreement_colour_600_heldout", "fid"]
    dump(Path("metrics") / f"{name}.json", {"metrics": found, "main": main})
'''
_TEMPLATE: list[Path] = []
_PUBLISHED: list[Path] = []
IDENTITY = ("-c", "user.name=Test", "-c", "user.email=test@example.invalid")


def run(root: Path, *command: str) -> str:
    """Run a program in the repository; its output."""
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
    }
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def commit(root: Path, subject: str) -> str:
    """Commit everything; the commit's hash."""
    run(root, "git", "add", "-A")
    run(root, "git", *IDENTITY, "commit", "-q", "-m", subject)
    return run(root, "git", "rev-parse", "HEAD").strip()


def repro(root: Path) -> None:
    """Run what is stale."""
    run(root, sys.executable, "-m", "dvc", "repro", "-q")


def make(root: Path) -> Path:
    """A repository with one commit whose result is there; the graph runs once in a test session."""
    if not _TEMPLATE:
        _TEMPLATE.append(_make(Path(tempfile.mkdtemp(prefix="toy-graph-")) / "template"))
    shutil.copytree(_TEMPLATE[0], root, symlinks=True)
    (root / ".dvc" / "config.local").write_text(f"[core]\n    site_cache_dir = {root / '.state' / 'dvc'}\n")
    return root


def _make(root: Path) -> Path:
    root.mkdir(parents=True)
    run(root, "git", "init", "-q", "-b", "main")
    (root / ".dvc").mkdir()
    for name in (".dvc/config", ".dvc/.gitignore"):
        shutil.copyfile(PROJECT / name, root / name)
    (root / ".gitignore").write_text("/data/\n/models/\n/runs/\n/build/\n.state/\n__pycache__/\n")
    (root / ".dvcignore").write_text(".state\n")
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / "make.py").write_text(MAKE)
    shutil.copyfile(PROJECT / "presets" / "sample.yaml", root / "params.yaml")
    (root / ".dvc" / "config.local").write_text(f"[core]\n    site_cache_dir = {root / '.state' / 'dvc'}\n")
    repro(root)
    commit(root, "The first result")
    return root


def published() -> Path:
    """A repository with its storage running and its result published as `whole`; one in a test session."""
    if not _PUBLISHED:
        place = make(Path(tempfile.mkdtemp(prefix="toy-storage-")) / "first")
        textgan = str(Path(sys.executable).with_name("textgan"))
        _PUBLISHED.append(place)
        run(place, textgan, "publish", "--tag", "whole")
    return _PUBLISHED[0]


def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """The storage of the published result; the test works in its repository, and nothing starts a server anew."""
    monkeypatch.chdir(published())
    remote = load_remote(storage.PLACE)
    assert remote is not None
    monkeypatch.setattr(storage, "ensure_started", lambda: remote)
    return Store(remote)


def clear() -> None:
    """End the storage and remove what the session made; not by atexit, for which test processes are given no time."""
    for place in _PUBLISHED:
        run(place, str(Path(sys.executable).with_name("textgan")), "storage", "stop")
        shutil.rmtree(place.parent)
    for template in _TEMPLATE:
        shutil.rmtree(template.parent)
