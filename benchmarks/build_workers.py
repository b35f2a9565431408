"""How much faster two workers build shards than one, by the clock: it means something on a quiet machine only.

Usage: python benchmarks/build_workers.py [EXPORTS] [--images N] [--rounds R] [--check]
EXPORTS holds the LSUN exports `cat` and `car` (default: TEXTGAN_LSUN_ROOT; without it, gradients). Builds with one and
with two workers take turns; the start of the workers counts, imports do not (the pool's parent process has them from
a first build that is not counted). `--check` exits with 1 where a ratio is below the bar.
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
CASES = (("cat", 256, 256), ("car", 512, 384))


def seconds(request: build.Request, place: Path) -> float:
    """By the clock, of one build from its inventory to the published directory."""
    start = time.perf_counter()
    build.build(request, place / "work", place / "out")
    return time.perf_counter() - start


def measure(name: str, export: Path, size: tuple[int, int], count: int, rounds: int) -> tuple[int, float, float, float]:
    """Images; images per second with one and with two workers; the median ratio of the rounds."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        images = ingest.write_inventory({name: export}, INGEST, place, count)
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
                dataset=name,
                inventory=place / "inventory.parquet",
                exports={name: export.absolute()},
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
    return images, images / one, images / two, float(np.median(times[:, 0] / times[:, 1]))


def main() -> None:
    """Print a table; with --check, exit 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exports", nargs="?", default=os.environ.get("TEXTGAN_LSUN_ROOT"))
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    os.environ.pop("TEXTGAN_DASK", None)
    print(f"{'images per second':<24}{'images':>8}{'1 worker':>10}{'2 workers':>11}{'ratio':>8}{'bar':>6}")
    missed = []
    with tempfile.TemporaryDirectory() as directory:
        for name, width, height in CASES:
            export = Path(arguments.exports, name) if arguments.exports else stand_in(Path(directory, name), 400)
            count, one, two, ratio = measure(name, export, (width, height), arguments.images, arguments.rounds)
            label = f"{name} {width}x{height}"
            print(f"{label:<24}{count:>8}{one:>10.0f}{two:>11.0f}{ratio:>8.2f}{BAR:>6.1f}", flush=True)
            missed += [label] if ratio < BAR else []
    print(f"machine: {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} over the last minute")
    if arguments.exports is None:
        print("measured on gradients, not photos: set TEXTGAN_LSUN_ROOT")
    if missed and arguments.check:
        sys.exit(f"below the bar: {', '.join(missed)}")


if __name__ == "__main__":
    main()
