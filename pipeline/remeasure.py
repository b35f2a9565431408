"""Facts of generated pictures, by the captioner that measures photos: what `evaluate` asks of a dataset of photos.

Usage: python -m pipeline.remeasure D PICTURES.npy FACTS.json
PICTURES: uint8 [N,H,W,3]. FACTS: for each picture a list of [name, value, confidence]. Thresholds are those of
`captions.measured` in params.yaml. No export tells the kind of a generated picture: the classifier must see it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.caption_files import WHERE
from pipeline.captioners import Picture, probes
from pipeline.captioners.classifier import VARIANT
from pipeline.captioners.measured import MeasuredCaptioner
from pipeline.captioners.saliency import network_file
from textgan import params as parameters
from textgan.errors import program
from textgan.extractors import weights_file
from textgan.files import sha256_file, write_json
from textgan.progress import Progress

BATCH = 16


def main(argv: list[str] | None = None) -> None:
    """Measure one file of pictures."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.remeasure", description="Measure facts of pictures.")
    parser.add_argument("dataset")
    parser.add_argument("pictures", type=Path)
    parser.add_argument("facts", type=Path)
    args = parser.parse_args(argv)
    captioner = MeasuredCaptioner(parameters.dataset(args.dataset).captions.measured)
    images = np.load(args.pictures, allow_pickle=False)
    progress = Progress(len(images), f"facts measured again ({captioner.name})")
    found = []
    for start in range(0, len(images), BATCH):
        pictures = [
            Picture(str(start + idx), WHERE, pixels) for idx, pixels in enumerate(images[start : start + BATCH])
        ]
        for claims in captioner.caption(pictures):
            found.append([[fact.name, fact.value, fact.confidence] for fact in claims.facts])
        progress.update(len(pictures))
    progress.close()
    write_json(args.facts, {"measurer": captioner.name, "identity": identity(captioner), "facts": found})


def identity(captioner: MeasuredCaptioner) -> dict[str, Any]:
    """What tells this measurer from another: its version, thresholds, probes and networks."""
    said: dict[str, Any] = {
        "measurer": captioner.name,
        "thresholds": captioner.thresholds,
        "classifier_sha256": sha256_file(weights_file(VARIANT)),
    }
    if any(captioner.thresholds.values()):  # else the kind alone is said, and nothing more was asked
        said |= {"probes_sha256": sha256_file(probes.FILE), "saliency_sha256": sha256_file(network_file())}
    return said


if __name__ == "__main__":
    program(main)
