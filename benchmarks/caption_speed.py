"""How fast are measured captions? Photos a second with one worker and with all, and the cost of each part.

Usage: TEXTGAN_LSUN_ROOT=DIR python benchmarks/caption_speed.py [--photos 64] [--side 64]
Prints wall and CPU seconds a photo, and whether all workers say what one worker says. At least 6 photos a second
are wanted on two cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from pathlib import Path

import numpy as np

from pipeline import engines, imaging
from pipeline.captioners import Picture, measured
from pipeline.captioners.classifier import classify
from pipeline.captioners.evidence import evidence, object_mask
from pipeline.captioners.probes import shipped_thresholds
from pipeline.captioners.saliency import saliency
from pipeline.exports import open_export


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=int, default=64)
    parser.add_argument("--side", type=int, default=64, help="pixels; the shards of photos-cpu have 64")
    args = parser.parse_args()
    root = os.environ.get("TEXTGAN_LSUN_ROOT")
    if not root:
        print("needs photos: set TEXTGAN_LSUN_ROOT")
        return
    pictures = photos(Path(root), args.photos, args.side)
    captioner = measured.MeasuredCaptioner(shipped_thresholds())
    captioner.caption(pictures[:4])
    result: dict[str, object] = {"photos": len(pictures), "side": args.side}
    claims = []
    for workers in sorted({1, engines.worker_count()}):
        os.environ["TEXTGAN_WORKERS"] = str(workers)
        measured._threads.cache_clear()
        wall, cpu = time.perf_counter(), time.process_time()
        claims.append(captioner.caption(pictures))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        result[f"workers_{workers}"] = {
            "photos_per_second": round(len(pictures) / wall, 2),
            "cpu_seconds_per_photo": round(cpu / len(pictures), 4),
        }
    result["same_claims"] = all(one == claims[0] for one in claims)
    result["cpu_ms_per_photo"] = parts(pictures)
    print(json.dumps(result, indent=2))


def photos(root: Path, count: int, side: int) -> list[Picture]:
    """The first photos of each export, cropped to a square and made small, as in the shards."""
    pictures = []
    for export in ("cat", "car"):
        source = open_export(root / export)
        for key, value in itertools.islice(source.items(), count // 2):
            whole = imaging.decode(value, 1 << 28)
            height, width = whole.shape[:2]
            edge = min(height, width)
            y, x = (height - edge) // 2, (width - edge) // 2
            square = np.ascontiguousarray(whole[y : y + edge, x : x + edge])
            pictures.append(Picture(f"{export}-{key!r}", export, imaging.resize(square, side, side)))
    return pictures


def parts(pictures: list[Picture]) -> dict[str, float]:
    """CPU milliseconds of each step, in this thread."""
    imaging.use_one_thread()
    spent = {"classifier": 0.0, "saliency": 0.0, "evidence": 0.0}
    for picture in pictures:
        assert picture.pixels is not None
        begin = time.process_time()
        seen = classify(picture.pixels)
        after = time.process_time()
        found = saliency(picture.pixels)
        last = time.process_time()
        evidence(picture.pixels, object_mask(found, seen.features, picture.export), seen.features)
        spent["classifier"] += after - begin
        spent["saliency"] += last - after
        spent["evidence"] += time.process_time() - last
    return {name: round(seconds / len(pictures) * 1000, 1) for name, seconds in spent.items()}


if __name__ == "__main__":
    main()
