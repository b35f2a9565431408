"""How fast is evaluation? Extraction beside the bare network, and a second extraction from the cache.

Usage: python benchmarks/evaluate_speed.py [--images 256] [--side 64]
Prints images a second (wall and CPU) of the bare Lite2 forward on prepared batches, of `extract` on the same images,
their ratio (at least 0.9 is wanted), and the time of a cached second pass. The pictures are random.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from textgan.metrics.features import BATCH, LiteExtractor, extract, extract_cached, to_unit


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of one call, the better of two."""
    best = (float("inf"), float("inf"))
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        best = min(best, (time.perf_counter() - wall, time.process_time() - cpu), key=lambda pair: pair[1])
    return best


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--side", type=int, default=64)
    args = parser.parse_args()
    shape = (args.images // BATCH * BATCH, args.side, args.side, 3)
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    extractor = LiteExtractor("lite2")
    prepared = [to_unit(torch.from_numpy(images[i : i + BATCH]), 128) * 2 - 1 for i in range(0, len(images), BATCH)]

    def bare() -> None:
        with torch.inference_mode():
            for batch in prepared:
                extractor.net.pooled(batch)

    bare_wall, bare_cpu = seconds(bare)
    wall, cpu = seconds(lambda: extract(images, extractor))
    with tempfile.TemporaryDirectory() as cache:
        extract_cached(images, extractor, "images", Path(cache))
        cached, _ = seconds(lambda: extract_cached(images, extractor, "images", Path(cache)))
    result = {
        "threads": torch.get_num_threads(),
        "bare_images_per_cpu_second": round(len(images) / bare_cpu, 1),
        "extract_images_per_cpu_second": round(len(images) / cpu, 1),
        "ratio_cpu": round(bare_cpu / cpu, 3),
        "bare_images_per_second": round(len(images) / bare_wall, 1),
        "extract_images_per_second": round(len(images) / wall, 1),
        "cached_seconds": round(cached, 3),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
