"""Facts of generated pictures, by the captioner that measures photos: what `evaluate` asks of a dataset of photos.

Usage: python -m pipeline.remeasure D PICTURES.npy FACTS.json
PICTURES: uint8 [N,H,W,3]. FACTS: for each picture a list of [name, value, confidence]. Thresholds are those of
`captions.measured` in params.yaml. No export tells the kind of a generated picture: the classifier must see it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from pipeline.caption_files import WHERE
from pipeline.captioners import Picture
from pipeline.captioners.measured import MeasuredCaptioner
from textgan import params as parameters
from textgan.errors import program
from textgan.files import write_json
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
    write_json(args.facts, {"measurer": captioner.name, "facts": found})


if __name__ == "__main__":
    program(main)
