"""What each number was made from. Numbers are comparable where their prints are equal, but for the generated images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import textgan
from textgan.files import fingerprint, sha256_file
from textgan.metrics.features import Extractor, Images, images_sha256
from textgan.metrics.prompts import Prompts

PROTOCOL = 3
"""Counts up when the meaning of a number changes; part of every fingerprint."""
GENERATED = "generated_sha256"
"""The one entry in which comparable numbers may differ: it is what is compared."""
GEOMETRY = ("geometry", "small", "resampling", "encoding")
"""Of the manifest of images."""
Print = dict[str, Any]


class Prints:
    """Prints by name, and which metric has which."""

    def __init__(self) -> None:
        self.data: dict[str, Print] = {}
        self.metrics: dict[str, list[str]] = {}

    def add(self, name: str, metrics: Iterable[str], generated: Images, **data: Any) -> None:
        """The metrics were made from these generated images and from `data`."""
        self.data[name] = {
            "protocol": PROTOCOL,
            "versions": versions(),
            "width": int(generated.shape[2]),
            "height": int(generated.shape[1]),
            "generated_images": len(generated),
            GENERATED: images_sha256(generated),
            **data,
        }
        self.metrics[name] = list(metrics)

    def index(self) -> list[dict[str, Any]]:
        """What stands in the metrics file: a list, which DVC's own metrics commands pass over."""
        return [
            {"name": name, "sha": comparable(data), "metrics": self.metrics[name], "data": data}
            for name, data in self.data.items()
        ]


def comparable(data: Print) -> str:
    """16 hex digits of everything but the generated images."""
    return fingerprint({key: value for key, value in data.items() if key != GENERATED})


def versions() -> dict[str, str]:
    """Of the libraries that the numbers go through; how torch was built is the machine's affair."""
    return {
        "numpy": np.__version__,
        "textgan": textgan.__version__,
        "torch": torch.__version__.partition("+")[0],
    }


def real(images: Images) -> Print:
    """Real images, by count and content."""
    return {"real_images": len(images), "real_sha256": images_sha256(images)}


def extractor(one: Extractor) -> Print:
    """Weights, input size and resize filter."""
    return {"extractor": one.identity}


def asked(prompts: Prompts) -> Print:
    """Prompts, what they say, and the seeds of their z."""
    rows = [prompts.texts, prompts.languages, prompts.facts, prompts.seeds]
    return {"prompts": len(prompts), "prompts_sha256": fingerprint(json.loads(json.dumps(rows)))}


def matcher(file: Path, backbone: Mapping[str, Any]) -> Print:
    """A trained scorer, and the frozen network that it looks through."""
    return {"matcher_sha256": sha256_file(file), "matcher_backbone": dict(backbone)}


def dataset(manifest: Mapping[str, Any]) -> Print:
    """How the real images were brought to their size: geometry, filter, encoding."""
    return {"dataset": {key: manifest[key] for key in GEOMETRY if key in manifest}}


def measured(identity: Mapping[str, Any] | None, name: str | None) -> Print:
    """Who measured facts again: its name and what tells it from others."""
    return {"measurer": name, "measurer_identity": dict(identity or {})}
