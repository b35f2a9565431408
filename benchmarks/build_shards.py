"""Images per CPU-second of a shard build, beside webdataset's writer on the same images in the same run.

Usage: python benchmarks/build_shards.py [EXPORTS] [--images N] [--rounds R] [--check]
EXPORTS holds LSUN exports `cat` and `car` (default: TEXTGAN_LSUN_ROOT; without it a few drawn shapes stand in, which
say little about photos). The two writers take turns on the same values, chunk by chunk; imports are not counted.
Both read LMDB values, crop to the shape of the target, resize with Lanczos and write tar shards; webdataset's side
decodes, resizes and encodes with Pillow, as its users do, at the same quality and chroma subsampling. `with ingest`
is the same with the time of our inventory of these images (which webdataset has none of) on our side; it has no bar.
`--check` exits with 1 where a bar is missed on photos.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import lmdb
import numpy as np
import webdataset
from PIL import Image
from stand_in import stand_in

from pipeline import imaging
from pipeline.exports import open_export
from pipeline.geometry import Placement, place_on
from pipeline.ingest import write_inventory
from pipeline.shards import Job, ShardTask, build_shard
from textgan.params import ImagesParams, IngestParams

MAX_PIXELS = 100_000_000
INGEST = IngestParams(seed=0, select=0.05, test=0.15, max_pixels=MAX_PIXELS)


@dataclass(frozen=True)
class Case:
    """One comparison: an export, a target, an encoding and the ratio to reach."""

    name: str
    export: str
    width: int
    height: int
    file_format: str
    bar: float


CASES = (
    Case("cat 256x256", "cat", 256, 256, "jpg", 1.5),
    Case("car 512x384 upscaled", "car", 512, 384, "jpg", 1.7),
    Case("car 512x384 from twice the size", "car-large", 512, 384, "jpg", 2.3),
    Case("cat 256x256 lossless", "cat", 256, 256, "png", 2.5),
    Case("car 512x384 lossless", "car", 512, 384, "png", 2.5),
)


class Rates(NamedTuple):
    """Images per CPU-second of ours and of webdataset's, and the median ratio of the rounds."""

    ours: float
    theirs: float
    ratio: float


def ours(path: Path, keys: list[bytes], case: Case, out: Path) -> float:
    """CPU seconds of one of our shards: decode, place, encode, tar, sha256, record."""
    params = ImagesParams(
        width=case.width,
        height=case.height,
        geometry="center_crop",
        small="upscale",
        format=case.file_format,  # type: ignore[arg-type]
        quality=95,
        shard_mb=256,
        max_images=None,
        duplicates="keep",
    )
    export = open_export(path)
    rows = [(f"x-{key.decode()}", "x", key, len(export.get(key))) for key in keys]
    job = Job(exports={"x": path}, params=params, max_pixels=MAX_PIXELS)
    start = time.process_time()
    build_shard(ShardTask(job=job, path=out, rows=rows))
    return time.process_time() - start


def theirs(path: Path, keys: list[bytes], case: Case, out: Path) -> float:
    """CPU seconds of webdataset's TarWriter fed by Pillow."""
    start = time.process_time()
    export = open_export(path)
    with webdataset.TarWriter(str(out)) as writer:
        for key in keys:
            image = Image.open(io.BytesIO(export.get(key))).convert("RGB")
            placement = place_on(image.width, image.height, case.width, case.height, "center_crop", "upscale")
            assert isinstance(placement, Placement)
            box = placement.crop
            image = image.crop((box.left, box.top, box.left + box.width, box.top + box.height))
            image = image.resize((case.width, case.height), Image.Resampling.LANCZOS)
            buffer = io.BytesIO()
            if case.file_format == "jpg":
                image.save(buffer, "JPEG", quality=95, subsampling=0)
            else:
                image.save(buffer, "PNG", compress_level=1)
            writer.write({"__key__": key.decode(), case.file_format: buffer.getvalue()})
    return time.process_time() - start


def ingest_seconds(path: Path, count: int, out: Path) -> float:
    """CPU seconds an image of the inventory of the first images: every value read, hashed, its header parsed."""
    start = time.process_time()
    with contextlib.redirect_stderr(io.StringIO()):
        rows = write_inventory({"x": path}, INGEST, out, count)
    return (time.process_time() - start) / rows


def agreement(path: Path, keys: list[bytes], case: Case) -> float:
    """The lowest PSNR in dB of our resize against Pillow's on the same crop."""
    lowest = float("inf")
    for key in keys:
        pixels = imaging.decode(open_export(path).get(key), MAX_PIXELS)
        placement = place_on(pixels.shape[1], pixels.shape[0], case.width, case.height, "center_crop", "upscale")
        assert isinstance(placement, Placement)
        box = placement.crop
        cropped = pixels[box.top : box.top + box.height, box.left : box.left + box.width]
        reference = imaging.resize_pillow(np.ascontiguousarray(cropped), case.width, case.height)
        error = np.square(imaging.place(pixels, placement).astype(np.float64) - reference).mean()
        lowest = min(lowest, 10 * np.log10(255**2 / max(error, 1e-9)))
    return lowest


def measure(case: Case, path: Path, keys: list[bytes], rounds: int) -> tuple[Rates, Rates]:
    """Of the build alone, and of ingest and build, beside webdataset's in the same rounds."""
    seconds: list[tuple[float, float, float]] = []
    with tempfile.TemporaryDirectory() as directory:
        ours(path, keys[:8], case, Path(directory, "warm.tar"))
        theirs(path, keys[:8], case, Path(directory, "warm2.tar"))
        ingest_seconds(path, 8, Path(directory))
        for part in range(rounds):
            chunk = keys[part::rounds]
            pair = [(ours, 0), (theirs, 1)]
            taken = [0.0, 0.0]
            for function, idx in pair if part % 2 else reversed(pair):
                taken[idx] = function(path, chunk, case, Path(directory, f"{idx}.tar")) / len(chunk)
            seconds.append((taken[0], taken[1], ingest_seconds(path, len(keys), Path(directory))))
    first, second, before = np.array(seconds).T
    return rates(first, second), rates(first + before, second)


def rates(first: np.ndarray, second: np.ndarray) -> Rates:
    """From CPU seconds an image, round by round."""
    return Rates(1 / first.mean(), 1 / second.mean(), float(np.median(second / first)))


def enlarged(source: Path, out: Path, count: int) -> Path:
    """An export of the first photos of `source` at twice 512x384, JPEG q90: a source that is scaled down."""
    out.mkdir()
    with lmdb.open(str(out), map_size=1 << 32) as environment, environment.begin(write=True) as transaction:
        for idx, (key, value) in enumerate(open_export(source).items()):
            if idx == count:
                break
            image = Image.open(io.BytesIO(value)).convert("RGB").resize((1024, 768), Image.Resampling.LANCZOS)
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=90)
            transaction.put(key, buffer.getvalue())
    return out


def line(name: str, found: Rates) -> str:
    """A row of the table, up to the bar."""
    return f"{name:<34}{found.ours:>9.0f}{found.theirs:>12.0f}{found.ratio:>8.2f}"


def main() -> None:
    """Print a table; with --check, exit 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exports", nargs="?", default=os.environ.get("TEXTGAN_LSUN_ROOT"))
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    missed = []
    with tempfile.TemporaryDirectory() as directory:
        places = {}
        for name in ("cat", "car"):
            at_hand = arguments.exports is not None
            places[name] = Path(arguments.exports, name) if at_hand else stand_in(Path(directory, name), 60)
        places["car-large"] = enlarged(places["car"], Path(directory, "car-large"), min(arguments.images, 120))
        print(f"{'images per CPU-second':<34}{'textgan':>9}{'webdataset':>12}{'ratio':>8}{'bar':>6}{'dB':>8}")
        for case in CASES:
            items = itertools.islice(open_export(places[case.export]).items(), arguments.images)
            keys = [key for key, _ in items]
            alone, with_ingest = measure(case, places[case.export], keys, arguments.rounds)
            decibels = agreement(places[case.export], keys, case)
            print(f"{line(case.name, alone)}{case.bar:>6.1f}{decibels:>8.1f}", flush=True)
            print(line("  with ingest", with_ingest), flush=True)
            missed += [case.name] if alone.ratio < case.bar or decibels < 60 else []
    if arguments.exports is None:
        print("measured on gradients, not photos, of which the bars speak: set TEXTGAN_LSUN_ROOT")
    elif missed and arguments.check:
        sys.exit(f"below the bar: {', '.join(missed)}")


if __name__ == "__main__":
    main()
