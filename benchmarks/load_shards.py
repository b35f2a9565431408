"""Images per CPU-second of reading shards into uint8 batches, beside webdataset with simplejpeg, in the same run.

Usage: python benchmarks/load_shards.py [EXPORTS] [--images N] [--rounds R] [--check]
EXPORTS holds an LSUN export `cat` (default: TEXTGAN_LSUN_ROOT; without it, gradients). Both readers take turns on the
same 256x256 JPEG shards, decode with simplejpeg and give shuffled batches of 64. Two workers are two threads of ours
and, as its users do, two processes of webdataset's WebLoader. CPU seconds are those of all processes. `decoding
alone` is the same images one after the other into one buffer, and nothing else: no loader can be faster.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import simplejpeg
import webdataset
from stand_in import stand_in

from pipeline import images
from textgan.batch_memory import BatchMemory
from textgan.dataset import ImageShards, batches, decode_into

BATCH = 64
BAR = 1.2


def decode(sample: dict[str, Any]) -> np.ndarray:
    """webdataset's map: JPEG bytes to pixels."""
    return simplejpeg.decode_jpeg(sample["jpg"], "RGB", fastdct=False, fastupsample=False)


def ours(directory: Path, workers: int) -> Iterable[np.ndarray]:
    """Our batches of one epoch; workers are threads."""
    shards = ImageShards(directory, "train")
    return batches(shards, BATCH, seed=0, end_nimg=len(shards), workers=workers)


def theirs(directory: Path, workers: int) -> Iterable[np.ndarray]:
    """webdataset's batches: shards shuffled, a shuffle buffer, simplejpeg, batches as lists joined to arrays."""
    urls = sorted(str(path) for path in directory.glob("train-*.tar"))
    dataset = webdataset.WebDataset(urls, shardshuffle=len(urls), seed=0).shuffle(1000).map(decode)
    batched = dataset.batched(BATCH, collation_fn=np.stack)
    return webdataset.WebLoader(batched, batch_size=None, num_workers=workers) if workers else batched


def decoded(directory: Path, workers: int) -> Iterable[np.ndarray]:
    """No loader: every image decoded where the last one was."""
    shards = ImageShards(directory, "train")
    pixels = BatchMemory(1, shards.height, shards.width).take(1)
    for index in range(len(shards)):
        decode_into(pixels[0], shards.encoded(index))
        yield pixels


def cpu_seconds() -> float:
    """Of this process and of the workers that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(reader: Callable[[Path, int], Iterable[Any]], directory: Path, workers: int) -> tuple[float, int]:
    """CPU seconds and images of one epoch, opening included."""
    start, count = cpu_seconds(), 0
    for batch in reader(directory, workers):
        count += len(batch)
    return cpu_seconds() - start, count


def main() -> None:
    """Print a table; with --check, exit 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exports", nargs="?", default=os.environ.get("TEXTGAN_LSUN_ROOT"))
    parser.add_argument("--images", type=int, default=2400)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    missed = []
    with tempfile.TemporaryDirectory() as place:
        export = Path(arguments.exports, "cat") if arguments.exports else stand_in(Path(place, "cat"), 400)
        out = Path(place, "shards")
        sizes = ["--width", "256", "--height", "256", "--limit", str(arguments.images), "--shard-mb", "8"]
        images.by_hand(images.parser().parse_args([str(export), str(out), *sizes]))
        print(f"{'images per CPU-second':<24}{'textgan':>9}{'webdataset':>12}{'ratio':>8}{'bar':>6}")
        for workers in (0, 2):
            rates: list[list[float]] = []
            readers = [ours, theirs] if workers else [ours, theirs, decoded]
            for number in range(arguments.rounds + 1):
                rate = [0.0] * len(readers)
                for idx in range(len(readers)) if number % 2 else reversed(range(len(readers))):
                    seconds, count = measure(readers[idx], out, workers)
                    rate[idx] = count / seconds
                rates.append(rate)
            first, second, *alone = np.array(rates[1:]).T  # the first round warms all up
            ratio = float(np.median(first / second))
            print(
                f"{f'{workers} workers':<24}{np.median(first):>9.0f}{np.median(second):>12.0f}{ratio:>8.2f}{BAR:>6.1f}"
            )
            missed += [f"{workers} workers"] if ratio < BAR else []
            if alone:
                print(f"{'decoding alone':<24}{np.median(alone[0]):>9.0f}")
    if missed and arguments.check:
        sys.exit(f"below the bar: {', '.join(missed)}")


if __name__ == "__main__":
    main()
