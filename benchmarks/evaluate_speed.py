"""How fast is evaluation? Extraction beside the bare network; a cached extraction; the whole stage, twice.

Usage: python benchmarks/evaluate_speed.py [--images 256] [--side 64] [--dataset D]
Prints one JSON object: images a second (wall and CPU) of the bare Lite2 forward on prepared batches, of `extract` on
the same images, their ratio (at least 0.9 is wanted), and the time of a cached second pass; these pictures are random.
With --dataset the stage evaluate of D runs twice on the present directory's data and snapshot (after `make repro`),
with an empty cache of features, and again with those of the generated images taken out: what a new snapshot costs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from textgan.files import fingerprint
from textgan.metrics.features import BATCH, CACHE, LiteExtractor, extract, extract_cached, to_unit

READ = ("data/images/{}", "data/pairs/{}", "data/captions/{}", "models/{}", "models/{}-matcher")


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of one call, the better of two."""
    best = (float("inf"), float("inf"))
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        best = min(best, (time.perf_counter() - wall, time.process_time() - cpu), key=lambda pair: pair[1])
    return best


def extraction(count: int, side: int) -> dict[str, float]:
    """The loop around the network, against the network alone."""
    shape = (count // BATCH * BATCH, side, side, 3)
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
    return {
        "threads": torch.get_num_threads(),
        "bare_images_per_cpu_second": round(len(images) / bare_cpu, 1),
        "extract_images_per_cpu_second": round(len(images) / cpu, 1),
        "ratio_cpu": round(bare_cpu / cpu, 3),
        "bare_images_per_second": round(len(images) / bare_wall, 1),
        "extract_images_per_second": round(len(images) / wall, 1),
        "cached_seconds": round(cached, 3),
    }


def stage(dataset: str) -> dict[str, float]:
    """Wall and CPU seconds of the stage, without and with cached real statistics."""
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "params.yaml").write_bytes(Path("params.yaml").read_bytes())
        for part in READ:
            name = part.format(dataset)
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).symlink_to(Path(name).resolve())
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONHASHSEED": "0"}
        for run in ("first", "second"):
            wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                [sys.executable, "-m", "textgan.evaluate", dataset], cwd=place, env=environment, check=True, stdout=2
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            found[f"{run}_evaluation_seconds"] = round(time.perf_counter() - wall, 1)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            found[f"{run}_evaluation_cpu_seconds"] = round(cpu, 1)
            if run == "first":
                found["features_forgotten"] = forget_generated(place, dataset)
    return found


def forget_generated(place: Path, dataset: str) -> int:
    """Take the features of generated images out of the cache; how many files."""
    metrics = json.loads((place / f"data/evaluation/{dataset}/metrics.json").read_text(encoding="utf-8"))
    removed = 0
    for one in metrics["fingerprints"].values():
        if "extractor" in one:
            key = fingerprint({"images": one["generated_sha256"], **one["extractor"], "batch": BATCH})
            for file in (place / CACHE).glob(f"*-{key}.safetensors"):
                file.unlink()
                removed += 1
    return removed


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--dataset", help="run its stage evaluate too")
    args = parser.parse_args()
    result = extraction(args.images, args.side)
    if args.dataset:
        result |= stage(args.dataset)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
