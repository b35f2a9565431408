"""What one dataset's evaluation left behind, read for the page and the paper."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textgan.errors import UserError
from textgan.plots import read_curve

LABELS = {
    "kid": "KID",
    "fd": "Fréchet distance",
    "recall": "Recall",
    "coverage": "Coverage",
    "precision": "Precision",
    "density": "Density",
}
"""Of metrics."""
EXTRACTORS = {
    "lite2": "EfficientNet-Lite2",
    "patches8": "whitened 8×8 patches",
    "inception": "Inception, as in published FID numbers",
    "inception_unverified": "Inception, unverified: published values were not reproduced with these weights",
    "dinov2": "DINOv2",
    "clip": "CLIP",
}


@dataclass(frozen=True, slots=True)
class Results:
    """One dataset's `data/evaluation/D`."""

    name: str
    directory: Path
    value: dict[str, Any]
    """metrics.json"""
    captions: dict[str, Any] | None
    images: dict[str, Any] | None
    pairs: dict[str, Any] | None
    curve: dict[str, list[tuple[float, float]]]

    @property
    def metrics(self) -> dict[str, Any]:
        """Name (a protocol) -> number, or None where it was not computed."""
        return dict(self.value["metrics"])

    @property
    def main_names(self) -> list[str]:
        """The numbers that stand for the whole: KID, coverage, the main facts with their controls, R-precision."""
        numbers = [number["name"] for number in self.value["numbers"] if number["what"] in ("kid", "coverage")]
        agreed = self.value.get("agreement") or {}
        main = agreed.get("main_facts", [])
        names = [name for name in self.metrics if name.startswith("agreement_") and name.split("_")[1] in main]
        return numbers + names + [name for name in self.metrics if name.startswith("r_precision")]


def read_results(directory: Path) -> Results:
    """Raises UserError where the evaluation is missing or of another format."""
    path = directory / "metrics.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the stage evaluate writes it") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from None
    if value.get("format") != 1:
        raise UserError(f"{path}: format is {value.get('format')!r}; this version reads 1")
    curve = directory / "curve.csv"
    return Results(
        name=directory.name,
        directory=directory,
        value=value,
        captions=_optional(directory / "captions.json"),
        images=_optional(directory / "images.json"),
        pairs=_optional(directory / "pairs.json"),
        curve=read_curve(curve) if curve.is_file() else {},
    )


def _optional(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
