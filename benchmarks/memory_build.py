"""Peak memory of `pipeline.images` for few and for many images, its workers included.

Usage: python benchmarks/memory_build.py [--images N] [--workers W] [--duplicates keep|exact|perceptual] [--check]
Ingest and build of an LMDB with N / 10 and with N entries under unique keys (default 50,000; small pictures, so that it
takes minutes). Memory is what /proc says every few milliseconds of all processes of the build together: private pages
and their share of pages in common (Pss), without those of mapped files, which are the page cache of the LMDB itself.
`--check` exits with 1 where the larger build needs more than 1.1 times as much.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import lmdb
import numpy as np
from PIL import Image

BAR = 1.10
PICTURES = 64
"""Different values; every key is unique. Where similar ones are left out, every value is another."""


def export(out: Path, count: int, pictures: int) -> Path:
    """An LMDB of `count` small JPEG pictures, so many different ones."""
    random = np.random.default_rng(0)
    values = []
    for _ in range(pictures):
        coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8))
        buffer = io.BytesIO()
        coarse.resize((80, 64), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=85)
        values.append(buffer.getvalue())
    out.mkdir()
    with lmdb.open(str(out), map_size=1 << 30) as environment, environment.begin(write=True) as transaction:
        for idx in range(count):
            transaction.put(f"{idx:040x}".encode(), values[idx % pictures], append=True)
    return out


def tree_of(pid: int) -> list[int]:
    """A process and all that it started."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(found for child in children for found in tree_of(int(child)))]


def memory(pid: int) -> int:
    """Bytes of a process: its share of anonymous and shared memory. 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    sizes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines[1:])}
    return 1024 * (sizes["Pss_Anon"] + sizes["Pss_Shmem"])


def peak(source: Path, out: Path, workers: int, duplicates: str) -> tuple[int, float]:
    """The highest memory in bytes of a build and its seconds."""
    sizes = ["--width", "32", "--height", "32", "--shard-mb", "2", "--workers", str(workers)]
    sizes += ["--duplicates", duplicates]
    start, highest = time.monotonic(), 0
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.images", str(source), str(out), *sizes], stderr=subprocess.DEVNULL
    )
    while process.poll() is None:
        highest = max(highest, sum(map(memory, tree_of(process.pid))))
        time.sleep(0.05)
    if process.returncode:
        sys.exit(f"the build of {source} ended with {process.returncode}")
    return highest, time.monotonic() - start


def main() -> None:
    """Print both peaks; with --check, exit 1 where memory grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--duplicates", default="keep", help="as of pipeline.images; others than keep have no bar")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    peaks = []
    print(f"{'images':>8}{'peak MB':>10}{'seconds':>10}")
    with tempfile.TemporaryDirectory() as place:
        for count in (arguments.images // 10, arguments.images):
            pictures = count if arguments.duplicates == "perceptual" else PICTURES
            source, out = export(Path(place, f"{count}"), count, pictures), Path(place, f"out-{count}")
            found, seconds = peak(source, out, arguments.workers, arguments.duplicates)
            peaks.append(found)
            print(f"{count:>8}{found / 1e6:>10.1f}{seconds:>10.1f}", flush=True)
    ratio = peaks[1] / peaks[0]
    print(f"ratio {ratio:.3f}, bar {BAR}")
    if ratio > BAR and arguments.check:
        sys.exit("below the bar: memory grows with the number of images")


if __name__ == "__main__":
    main()
