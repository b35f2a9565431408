"""How fast are measured captions? Photos a second with one worker and with all, and the cost of each part.

Usage: TEXTGAN_LSUN_ROOT=DIR python -m benchmarks.caption_speed [--photos 64] [--side 64] [--compare 300]
Prints wall and CPU seconds a photo, and whether all workers say what one worker says. At least 6 photos a second
are wanted on two cores. With `--compare` the saliency network as it is shipped and as it is cut down look at the same
photos in turn, in this thread: CPU seconds of each, and on how many photos they claim the same (wanted: 98 %).
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import time
from pathlib import Path

import numpy as np
import onnxruntime

from pipeline import engines, imaging
from pipeline.captioners import Picture, measured, probes
from pipeline.captioners.classifier import classify
from pipeline.captioners.evidence import evidence, object_mask
from pipeline.captioners.probes import shipped_thresholds
from pipeline.captioners.saliency import network_file, network_input, open_network, saliency, scaled
from pipeline.exports import open_export
from textgan.seeds import derive_seed


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=int, default=64)
    parser.add_argument("--side", type=int, default=64, help="pixels, as in the shards; 0: whole photos")
    parser.add_argument("--compare", type=int, default=0, help="photos on which the two networks are compared")
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
    if args.compare:
        result["compared"] = compare(photos(Path(root), args.compare, args.side))
    print(json.dumps(result, indent=2))


def photos(root: Path, count: int, side: int) -> list[Picture]:
    """Photos of each export, drawn by hash; whole, or cropped to a square and made small, as in the shards."""
    pictures = []
    for export in ("cat", "car"):
        source = open_export(root / export)
        keys = sorted(
            (key for key, _value in source.items()), key=lambda key: derive_seed(0, "caption speed", key.hex())
        )
        for key in keys[: count // 2]:
            pixels = imaging.decode(source.get(key), 1 << 28)
            if side:
                height, width = pixels.shape[:2]
                edge = min(height, width)
                y, x = (height - edge) // 2, (width - edge) // 2
                pixels = imaging.resize(np.ascontiguousarray(pixels[y : y + edge, x : x + edge]), side, side)
            pictures.append(Picture(f"{export}-{key.hex()}", export, pixels))
    return pictures


@functools.cache
def _whole_network() -> onnxruntime.InferenceSession:
    return open_network(network_file().read_bytes())


def whole_saliency(pixels: np.ndarray) -> np.ndarray:  # uint8 [H,W,3] -> float32 [320,320] in 0..1
    """The map of the whole network, at full size."""
    session = _whole_network()
    feed = {session.get_inputs()[0].name: network_input(pixels)}
    return scaled(session.run([session.get_outputs()[0].name], feed)[0][0, 0])


def compare(pictures: list[Picture]) -> dict[str, object]:
    """The whole network against the cut one: the same photos, one after the other, the first one in turn."""
    imaging.use_one_thread()
    captioner = measured.MeasuredCaptioner(shipped_thresholds())
    networks = {"whole": whole_saliency, "cut": saliency}
    spent = dict.fromkeys(networks, 0.0)
    claims: dict[str, list[dict[str, str]]] = {name: [] for name in networks}
    for idx, picture in enumerate(pictures):
        assert picture.pixels is not None
        for name in sorted(networks, reverse=bool(idx % 2)):
            begin = time.process_time()
            seen = classify(picture.pixels)
            mask = object_mask(networks[name](picture.pixels), seen.features, picture.export)
            small = min(picture.pixels.shape[:2]) < probes.SMALL_PX
            facts = captioner._facts(picture.export, evidence(picture.pixels, mask, seen.features), small)
            if idx:  # the first photo pays for the opening of the networks
                spent[name] += time.process_time() - begin
            claims[name].append({fact.name: fact.value for fact in facts})
    same = sum(one == other for one, other in zip(*claims.values(), strict=True))
    return {
        "photos": len(pictures),
        "photos_with_the_same_claims": same,
        "agreement": round(same / len(pictures), 4),
        "claims": {name: sum(map(len, facts)) for name, facts in claims.items()},
        "cpu_seconds_per_photo": {name: round(used / (len(pictures) - 1), 4) for name, used in spent.items()},
        "ratio_of_cpu_seconds": round(spent["whole"] / spent["cut"], 2),
    }


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
