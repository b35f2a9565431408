"""Linear probes: from the evidence of a photo to the values of its facts, with probabilities.

Fitted by benchmarks/choose_caption_thresholds.py on labelled photos; multinomial logistic regression.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

FILE = Path(__file__).with_name("photo_probes.safetensors")
THRESHOLDS = Path(__file__).with_name("photo_thresholds.json")
"""Chosen with the probes; the photo presets carry the same numbers, and a test holds them equal."""
SMALL, SMALL_PX = "_small", 96
"""A fact may have a second threshold, its name ended so, for pictures whose smaller side is below so many pixels."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Of one fact of one kind: `classes` C, `weight` [E,C], `bias` [C]."""

    classes: tuple[str, ...]
    weight: np.ndarray
    bias: np.ndarray

    def best(self, evidence: np.ndarray) -> tuple[str, float]:  # [E] -> value, probability
        """The most probable value. It may be one that no fact has (`mixed`): then nothing is to be said."""
        scores = evidence.astype(np.float64) @ self.weight + self.bias
        odds = np.exp(scores - scores.max())
        first = int(odds.argmax())
        return self.classes[first], float(odds[first] / odds.sum())


def save(probes: dict[tuple[str, str], Probe], file: Path = FILE) -> None:
    """Write probes by (kind, fact)."""
    tensors, classes = {}, {}
    for (kind, fact), probe in sorted(probes.items()):
        name = f"{kind}/{fact}"
        # safetensors writes the memory of an array that is not C-contiguous as if it were.
        tensors[f"{name}/weight"] = np.ascontiguousarray(probe.weight, dtype=np.float32)
        tensors[f"{name}/bias"] = np.ascontiguousarray(probe.bias, dtype=np.float32)
        classes[name] = "|".join(probe.classes)
    save_file(tensors, file, metadata=classes)


def shipped_thresholds() -> dict[str, dict[str, float]]:
    """Kind -> fact -> least probability, as chosen with the shipped probes."""
    thresholds: dict[str, dict[str, float]] = json.loads(THRESHOLDS.read_text(encoding="utf-8"))
    return thresholds


@functools.cache
def load(file: Path = FILE) -> dict[tuple[str, str], Probe]:
    """Read the probes by (kind, fact)."""
    probes = {}
    with safe_open(file, "numpy") as tensors:
        for name, classes in sorted(tensors.metadata().items()):
            kind, fact = name.split("/")
            weight, bias = tensors.get_tensor(f"{name}/weight"), tensors.get_tensor(f"{name}/bias")
            probes[kind, fact] = Probe(tuple(classes.split("|")), weight, bias)
    return probes
