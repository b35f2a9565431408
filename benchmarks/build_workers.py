"""How much faster two workers build shards than one, by the clock: it means something on a quiet machine only.

Usage: python benchmarks/build_workers.py [EXPORTS] [--images N] [--rounds R] [--check]
EXPORTS holds the LSUN exports `cat` and `car` (default: TEXTGAN_LSUN_ROOT; without it, gradients); both are built into
one set, N images of each at most and each under two names, so that a build takes seconds. Builds with one and with two
workers take turns, each into a new directory; the start of the workers counts, imports do not (the parent process of
the pool has them from a first build that is not counted). Shards are of 4 MB: among some eighty the last one, which a
single worker builds, weighs little, as in a set of millions. `--check` exits with 1 where a ratio is below the bar.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from stand_in import stand_in

from pipeline import build, ingest
from textgan.params import ImagesParams, IngestParams

BAR = 1.8
INGEST = IngestParams(seed=0, select=0.05, test=0.15, max_pixels=100_000_000)
SIZES = ((256, 256), (512, 384))


def seconds(request: build.Request, place: Path) -> float:
    """By the clock, of one build from its inventory to the published directory."""
    with tempfile.TemporaryDirectory(dir=place) as out:
        start = time.perf_counter()
        build.build(request, place / "work", Path(out, "images"))
        return time.perf_counter() - start


def measure(
    exports: dict[str, Path], size: tuple[int, int], count: int, rounds: int
) -> tuple[int, float, float, np.ndarray]:
    """Images; images per second with one and with two workers; the ratio of each round."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        images = ingest.write_inventory(exports, INGEST, place, count)
        params = ImagesParams(
            width=size[0],
            height=size[1],
            geometry="center_crop",
            small="upscale",
            format="jpg",
            quality=95,
            shard_mb=4,
            max_images=None,
            duplicates="keep",
        )
        requests = [
            build.Request(
                dataset="photos",
                inventory=place / "inventory.parquet",
                exports=exports,
                params=params,
                seed=0,
                max_pixels=INGEST.max_pixels,
                workers=workers,
            )
            for workers in (1, 2)
        ]
        for request in requests:
            seconds(request, place)  # imports, and the page cache
        times = np.array([[seconds(request, place) for request in requests] for _ in range(rounds)])
    one, two = np.median(times, axis=0)
    return images, images / one, images / two, times[:, 0] / times[:, 1]


def main() -> None:
    """Print a table; with --check, exit 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exports", nargs="?", default=os.environ.get("TEXTGAN_LSUN_ROOT"))
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    os.environ.pop("TEXTGAN_DASK", None)
    print(f"{'images per second':<24}{'images':>8}{'1 worker':>10}{'2 workers':>11}{'ratio':>8}{'bar':>6}  rounds")
    missed = []
    with tempfile.TemporaryDirectory() as directory:
        exports = {}
        for name in ("cat", "car"):
            place = Path(arguments.exports, name) if arguments.exports else stand_in(Path(directory, name), 400)
            exports |= {name: place.absolute(), f"{name}-again": place.absolute()}
        for width, height in SIZES:
            count, one, two, ratios = measure(exports, (width, height), arguments.images, arguments.rounds)
            label, ratio = f"{width}x{height}", float(np.median(ratios))
            rounds = " ".join(f"{value:.2f}" for value in ratios)
            print(f"{label:<24}{count:>8}{one:>10.0f}{two:>11.0f}{ratio:>8.2f}{BAR:>6.1f}  {rounds}", flush=True)
            missed += [label] if ratio < BAR else []
    print(f"machine: {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} over the last minute")
    if arguments.exports is None:
        print("measured on gradients, not photos: set TEXTGAN_LSUN_ROOT")
    if missed and arguments.check:
        sys.exit(f"below the bar: {', '.join(missed)}")


if __name__ == "__main__":
    main()
