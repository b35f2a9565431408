"""A data set of sixty coloured squares, in the formats of docs/formats.md, and parameters that train it in seconds."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from textgan.caretaker import Caretaker
from textgan.files import sha256_file
from textgan.params import TrainParams
from textgan.text import Vocabulary
from textgan.training import Training

COLOURS = {"red": (210, 30, 30), "green": (40, 150, 60), "blue": (40, 90, 210)}
KINDS = ("cat", "car")

TRAIN: dict[str, Any] = {
    "seed": 0,
    "architecture": "scratch",
    "objective": "hinge",
    "total_kimg": 0.048,
    "batch_size": 8,
    "optimiser": "adam",
    "g_lr": 0.001,
    "d_lr": 0.001,
    "beta1": 0.0,
    "beta2": 0.99,
    "lr_decay": 0.5,
    "ema_kimg": 0.01,
    "ema_rampup": 0.5,
    "z_dim": 8,
    "text_encoder": "words",
    "text_dim": 16,
    "text_kimg": 0.008,
    "g_channels": 8,
    "g_max_channels": 16,
    "d_channels": 8,
    "extractor": "lite0",
    "extractor_px": 32,
    "features": "pretrained",
    "cache_mb": 64,
    "augment": "none",
    "mismatch": True,
    "hard_mismatches": 2,
    "d_choice": 1.0,
    "g_choice": 0.5,
    "captions": "matched",
    "r1_gamma": 0.1,
    "r2_gamma": 0.0,
    "tick_kimg": 0.016,
    "checkpoint_kimg": 0.016,
    "select_kimg": 0,
}


def settings(**changes: Any) -> TrainParams:
    """Parameters of a training that lasts seconds."""
    return TrainParams(**{**TRAIN, **changes})


def write_data(root: Path, width: int = 32, height: int = 32, per_split: int = 60) -> tuple[Path, Path]:
    """Images and pairs of three splits under `root`; returns their directories."""
    images, pairs = root / "data/images/tiny", root / "data/pairs/tiny"
    images.mkdir(parents=True)
    pairs.mkdir(parents=True)
    rng = np.random.default_rng(0)
    words = ["a", "red", "green", "blue", "cat", "car", "un", "gato", "coche", "rojo", "verde", "azul"]
    vocabulary = Vocabulary.from_counts({word: len(words) - idx for idx, word in enumerate(words)})
    spanish = {"red": "rojo", "green": "verde", "blue": "azul", "cat": "gato", "car": "coche"}
    (pairs / "vocabulary.json").write_text(vocabulary.to_json(), encoding="utf-8")
    splits = {}
    for split in ("train", "select", "test"):
        rows = []
        with tarfile.open(images / f"{split}-00000.tar", "w") as tar:
            for idx in range(per_split):
                kind, colour = KINDS[idx % 2], list(COLOURS)[idx // 2 % 3]
                picture = np.full((height, width, 3), 230, np.uint8)
                picture[height // 4 : -height // 4, width // 4 : -width // (4 if kind == "cat" else 8)] = COLOURS[
                    colour
                ]
                picture = np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)
                file = io.BytesIO()
                Image.fromarray(picture).save(file, "PNG")
                key = f"{kind}-{split}{idx:04d}"
                info = tarfile.TarInfo(f"{key}.png")
                info.size = len(file.getvalue())
                tar.addfile(info, io.BytesIO(file.getvalue()))
                captions = [["a", colour, kind], ["un", spanish[kind], spanish[colour]]]
                rows.append(
                    {
                        "sample_key": key,
                        "facts": json.dumps({"kind": kind, "colour": colour}),
                        "captions": [" ".join(caption) for caption in captions],
                        "languages": ["en", "es"],
                        "token_ids": [np.array(vocabulary.encode(caption, 8), np.int32) for caption in captions],
                    }
                )
        pd.DataFrame(rows).to_parquet(pairs / f"{split}-00000.parquet")
        shard = images / f"{split}-00000.tar"
        described = {
            "name": shard.name,
            "images": per_split,
            "bytes": shard.stat().st_size,
            "sha256": sha256_file(shard),
        }
        splits[split] = {"images": per_split, "shards": [described]}
    total = per_split * len(splits)
    manifest = {
        "format": 1,
        "dataset": "tiny",
        "width": width,
        "height": height,
        "geometry": "stretch",
        "small": "upscale",
        "encoding": {"format": "png"},
        "read": total,
        "written": total,
        "upscaled": 0,
        "rejected": {},
        "splits": splits,
    }
    (images / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return images, pairs


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Bits depend on the number of threads. In each module that takes it: `one_thread = tiny_training.one_thread`."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A working directory with data in it."""
    monkeypatch.chdir(tmp_path)
    return write_data(tmp_path)


def acting_after(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], None]) -> list[int]:
    """Do something once, after the given step of all that follow; the list grows with the steps."""
    steps: list[int] = []
    after_step = Caretaker.__call__

    def call(self: Caretaker, training: Training, num: int) -> bool:
        steps.append(training.state.cur_nimg)
        if len(steps) == step:
            act()
        return after_step(self, training, num)

    monkeypatch.setattr(Caretaker, "__call__", call)
    return steps


def sigterm_after(monkeypatch: pytest.MonkeyPatch, step: int) -> list[int]:
    """SIGTERM after that step."""
    return acting_after(monkeypatch, step, lambda: os.kill(os.getpid(), signal.SIGTERM))
