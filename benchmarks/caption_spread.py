"""How far do real images of one caption spread? Drawn pictures of the same facts, as `diversity` measures samples.

    python benchmarks/caption_spread.py [--captions N] [--pictures N] [--px N] [--seed N]

Draws N pictures of each of N captions' facts, half of the captions of each kind, and 100 pictures of each kind,
reduces them to px, and prints the mean distance between pictures of one caption over that between pictures of the
kind, on Lite2 features. Reads nothing; a minute of one core. Captions of the drawn export say all facts: what is left
open is little. The page holds the diversity of samples against it (textgan.report.claims, OF_ONE_CAPTION).
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image

from pipeline.draw import KINDS, picture
from textgan.errors import program
from textgan.facts.drawn import picture_facts
from textgan.facts.heldout import heldout
from textgan.metrics.features import Features, LiteExtractor, extract
from textgan.metrics.latent import mean_distance

OF_A_KIND = 100


def main() -> None:
    """Print the ratio of each caption, and their mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=12)
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--px", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    lite = LiteExtractor("lite2")

    def features(drawn: list[tuple[dict[str, str], int, int]]) -> Features:
        images = np.stack([_reduced(picture(facts, seed, index), args.px) for facts, seed, index in drawn])
        return extract(images, lite, "drawn pictures")

    ratios = []
    for kind in KINDS:
        every = [picture_facts(args.seed, kind, index, heldout()) for index in range(OF_A_KIND + args.captions // 2)]
        spread = mean_distance(features([(facts, args.seed, n) for n, facts in enumerate(every[:OF_A_KIND])]))
        for facts in every[OF_A_KIND:]:
            own = features([(facts, args.seed + 1, index) for index in range(args.pictures)])
            ratios.append(mean_distance(own) / spread)
    print("each caption:", ", ".join(f"{ratio:.2f}" for ratio in ratios))
    print(f"mean: {np.mean(ratios):.3f}")


def _reduced(image: np.ndarray, px: int) -> np.ndarray:
    """The central square, reduced."""
    height, width = image.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    square = Image.fromarray(image).crop((left, top, left + side, top + side))
    return np.asarray(square.resize((px, px), Image.Resampling.LANCZOS))


if __name__ == "__main__":
    program(main)
