"""What a bare GPU machine needs to train, in one directory of at most 55 MiB; and what it brings back, put together.

python benchmarks/gpu_pack.py make [--dataset catcar] [--out build/gpu_payload]
python benchmarks/gpu_pack.py join RESULTS OUT

`make` reads data/images and data/pairs of the dataset, made with preset photos-gpu-128, and packs the splits
train and select, the captions of test, the discriminator's pretrained weights and the numbers of the presets
as JSON. Where the photos are too large they are compressed again, by the best JPEG quality that fits.
`join` makes a snapshot directory of the weights that `gpu_suite.sh` wrote in pieces.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pyarrow import parquet
from safetensors.torch import load, save_file

sys.path.insert(0, str(Path(__file__).parents[1]))

from textgan import params
from textgan.dataset import ImageShards
from textgan.errors import UserError, program
from textgan.extractors import weights_file
from textgan.files import publishing, sha256_file, write_json

LIMIT = 55 << 20
QUALITIES = (None, 95, 92, 90, 87, 85, 80, 75)
"""Tried in turn; None keeps the bytes of the shards. Chroma is never subsampled: captions name colours."""
PRESETS = ("photos-gpu-128", "lsun-cat-256", "lsun-car-512x384")
COLUMNS = ["sample_key", "facts", "captions", "languages", "token_ids"]
PACKED = ("train", "select")


def main(argv: list[str] | None = None) -> None:
    """Make a payload, or join what came back."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("--dataset", default="catcar")
    making.add_argument("--data", type=Path, default=Path("data"))
    making.add_argument("--out", type=Path, default=Path("build/gpu_payload"))
    joining = commands.add_parser("join")
    joining.add_argument("results", type=Path)
    joining.add_argument("out", type=Path)
    args = parser.parse_args(argv)
    if args.command == "make":
        make(args.data / "images" / args.dataset, args.data / "pairs" / args.dataset, args.out)
    else:
        join(args.results, args.out)


def make(images: Path, pairs: Path, out: Path, limit: int = LIMIT) -> dict[str, Any]:
    """Write the payload. Raises UserError where nothing fits."""
    presets = {name: _preset(name) for name in PRESETS}
    weights = weights_file(presets[PRESETS[0]]["train"]["extractor"])
    with publishing(out) as built:
        (built / "weights").mkdir()
        shutil.copyfile(weights, built / "weights" / weights.name)
        (built / "pairs").mkdir()
        for split in (*PACKED, "test"):
            for file in sorted(pairs.glob(f"{split}-*.parquet")):
                parquet.write_table(parquet.read_table(file, columns=COLUMNS), built / "pairs" / file.name)
        shutil.copyfile(pairs / "vocabulary.json", built / "pairs" / "vocabulary.json")
        write_json(built / "presets.json", presets)
        rest = _size(built)
        for quality in QUALITIES:
            shutil.rmtree(built / "images", ignore_errors=True)
            _pack_images(images, built / "images", quality)
            if _size(built) <= limit:
                break
        else:
            raise UserError(f"{images}: {_size(built)} bytes are too many for a payload of {limit}")
        about: dict[str, Any] = {
            "bytes": _size(built),
            "bytes_beside_images": rest,
            "commit": _commit(),  # the other machine may have no git
            "jpeg_quality": quality,  # null: as the shards have them
            "images": {split: len(ImageShards(built / "images", split)) for split in PACKED},
            "files": {
                str(path.relative_to(built)): sha256_file(path) for path in sorted(built.rglob("*")) if path.is_file()
            },
        }
        write_json(built / "payload.json", about)
    print(f"{out}: {about['bytes'] / 2**20:.1f} MiB, JPEG quality {quality or 'as it was'}, images {about['images']}")
    return about


def join(results: Path, out: Path) -> None:
    """A snapshot directory from weights in pieces."""
    pieces = sorted(results.glob("weights.*.part"))
    if not pieces:
        raise UserError(f"{results}: has no weights.*.part; gpu_suite.sh writes them")
    with publishing(out) as built:
        tensors = load(b"".join(piece.read_bytes() for piece in pieces))
        save_file({name: value.to(torch.float32) for name, value in tensors.items()}, built / "G_ema.safetensors")
        info = json.loads((results / "snapshot.json").read_text(encoding="utf-8"))
        sha256 = sha256_file(built / "G_ema.safetensors")
        write_json(built / "snapshot.json", {**info, "weights_sha256": sha256, "weights_rounded_to": "float16"})
        for name in ("vocabulary.json", "curve.csv"):
            shutil.copyfile(results / name, built / name)
    print(f"{out}: a snapshot of {info['cur_nimg']} images")


def _preset(name: str) -> dict[str, Any]:
    dataset = next(iter(params.load(Path(__file__).parents[1] / "presets" / f"{name}.yaml").datasets.values()))
    size = {"width": dataset.images.width, "height": dataset.images.height}
    return {**size, "train": dataclasses.asdict(dataset.train)}


def _commit() -> str | None:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent)
    return done.stdout.strip() or None


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _pack_images(images: Path, out: Path, quality: int | None) -> None:
    """The splits of PACKED as shards of their own, one each for each they had."""
    out.mkdir()
    manifest = json.loads((images / "manifest.json").read_text(encoding="utf-8"))
    splits: dict[str, Any] = {"test": {"images": 0, "shards": []}}
    for split in PACKED:
        shards = []
        for shard in manifest["splits"][split]["shards"]:
            with tarfile.open(images / shard["name"]) as source, tarfile.open(out / shard["name"], "w") as target:
                for member in source:
                    file = source.extractfile(member)
                    assert file is not None
                    payload = file.read() if quality is None else _compressed(file.read(), quality)
                    suffix = member.name.split(".", 1)[1] if quality is None else "jpg"
                    info = tarfile.TarInfo(f"{member.name.split('.', 1)[0]}.{suffix}")
                    info.size = len(payload)
                    target.addfile(info, io.BytesIO(payload))
            path = out / shard["name"]
            shards.append({**shard, "bytes": path.stat().st_size, "sha256": sha256_file(path)})
        splits[split] = {"images": sum(shard["images"] for shard in shards), "shards": shards}
    written = sum(split["images"] for split in splits.values())
    left_out = {"not_in_the_payload": manifest["read"] - written}
    write_json(out / "manifest.json", {**manifest, "splits": splits, "written": written, "rejected": left_out})


def _compressed(encoded: bytes, quality: int) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(encoded)).convert("RGB").save(file, "JPEG", quality=quality, subsampling=0, optimize=True)
    return file.getvalue()


if __name__ == "__main__":
    program(main)
