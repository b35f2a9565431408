"""`textgan export-zip DIR OUT.zip`: a built image set in the layout of StyleGAN's dataset tool.

    00000/img00000000.png    stored PNGs without compression, in a ZIP without compression, in shard order
    dataset.json             {"labels": null}, or [["00000/img00000000.png", 0], ...]
    keys.csv                 name, sample key, split of each image: what the renumbering would lose
    about.json               the image manifest's sizes, the splits taken, the names of the labels

What `ImageFolderDataset` of StyleGAN2-ADA and StyleGAN3 takes: every member whose suffix Pillow knows, in sorted order;
all of one shape; `labels` as integers from 0 or null; members with other suffixes are ignored. Its training needs
square images (`Dataset.resolution` asserts it) and its networks a side that is a power of two.
"""

from __future__ import annotations

import contextlib
import csv
import enum
import io
import json
import os
import shutil
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TextIO

import numpy as np
import typer

from textgan.errors import UserError
from textgan.facts.schema import VALUES
from textgan.files import sha256_file, to_json
from textgan.manifest import ImageManifest, Shard, read_images
from textgan.progress import Progress
from textgan.records import SPLITS

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a ZIP can say: bytes that do not depend on when."""
STORED_BLOCK = 65535
"""Most bytes of one stored deflate block (RFC 1951)."""


class Labels(enum.StrEnum):
    """What the labels of dataset.json say."""

    none = "none"
    kind = "kind"


class Split(enum.StrEnum):
    """Which part of the set is exported."""

    train = "train"
    select = "select"
    test = "test"
    all = "all"


def export_zip(
    directory: Annotated[Path, typer.Argument(help="A built image set: tars and manifest.json.")],
    out: Annotated[Path, typer.Argument(help="The .zip to write.")],
    split: Annotated[Split, typer.Option(help="The part of the set.")] = Split.train,
    labels: Annotated[Labels, typer.Option(help="kind: a number for each kind.")] = Labels.none,
    pairs: Annotated[Path | None, typer.Option(help="Take kinds from these pairs, not from sample keys.")] = None,
    allow_nonsquare: Annotated[bool, typer.Option("--allow-nonsquare", help="Write what StyleGAN refuses.")] = False,
) -> None:
    """Write a built image set as StyleGAN's zip and dataset.json."""
    if out.suffix != ".zip":
        raise UserError(f"{out}: must end in .zip; StyleGAN tells archives by that")
    if out.is_dir():
        raise UserError(f"{out}: is a directory; it must be the file to write")
    if pairs is not None and labels is Labels.none:
        raise UserError("--pairs says where kinds come from; it needs --labels kind")
    manifest = read_images(directory)
    width, height = manifest.width, manifest.height
    if width != height and not allow_nonsquare:
        rule = "StyleGAN takes squares (--allow-nonsquare writes them)"
        raise UserError(f"{directory}: images are {width}x{height}; {rule}")
    splits = SPLITS if split is Split.all else (split.value,)
    kind_of = _kinds(pairs, splits) if labels is Labels.kind else None
    images = write_zip(directory, manifest, splits, out, kind_of)
    note = "" if width & (width - 1) == 0 else f"; StyleGAN's networks need a power of two, this set has {width}"
    print(f"{out}: {images} images of {width}x{height}, {out.stat().st_size} bytes{note}")


def write_zip(
    directory: Path,
    manifest: ImageManifest,
    splits: tuple[str, ...],
    out: Path,
    kind_of: Callable[[str], str] | None,
) -> int:
    """Write the archive atomically; returns how many images it has. Raises UserError: damaged shards, no space."""
    shards = [(split, shard) for split in splits for shard in manifest.splits[split]]
    if not shards:
        raise UserError(f"{directory}: has no images in {', '.join(splits)}")
    out.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    try:
        with os.fdopen(descriptor, "w+b") as file:
            with zipfile.ZipFile(file, "w") as archive:
                images = _write_members(archive, directory, manifest, shards, kind_of)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, out)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        if isinstance(error, OSError):
            raise UserError(f"{out}: cannot be written: {error.strerror or error}") from None
        raise
    return images


def _write_members(
    archive: zipfile.ZipFile,
    directory: Path,
    manifest: ImageManifest,
    shards: list[tuple[str, Shard]],
    kind_of: Callable[[str], str] | None,
) -> int:
    progress = Progress(sum(shard.images for _, shard in shards), "export-zip")
    index, kinds = 0, dict[str, int]()
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as keys:  # not in memory: LSUN Car has 5.5 million
        writer = csv.writer(keys, lineterminator="\n")
        writer.writerow(["name", "sample_key", "split", "kind"])
        for split, shard in shards:
            for key, encoded in read_shard(directory / shard.name, shard):
                pixels = _decoded(encoded, manifest, directory / shard.name, key)
                name = f"{index // 1000:05d}/img{index:08d}.png"
                archive.writestr(_member(name), png_stored(pixels))
                kind = kind_of(key) if kind_of else ""
                kinds[kind] = kinds.get(kind, 0) + 1
                writer.writerow([name, key, split, kind])
                index += 1
                progress.update()
        names = list(VALUES["kind"]) if kind_of else []  # all of them: a label means the same in every archive
        _write_text(archive, "dataset.json", lambda text: _write_labels(text, keys, names))
        _write_text(archive, "keys.csv", lambda text: _copy_text(keys, text))
    about = {
        "dataset": manifest.dataset,
        "width": manifest.width,
        "height": manifest.height,
        "images": {split: manifest.images(split) for split, _ in shards},
        "labels": [{"label": label, "kind": kind, "images": kinds.get(kind, 0)} for label, kind in enumerate(names)],
    }
    archive.writestr(_member("about.json"), to_json(about))
    progress.close()
    return index


def read_shard(path: Path, shard: Shard) -> Iterator[tuple[str, bytes]]:
    """(sample key, encoded image) of each member, after the shard's sha256 was checked. Raises UserError."""
    try:
        if path.stat().st_size != shard.bytes or sha256_file(path) != shard.sha256:
            raise UserError(f"{path}: its size or sha256 is not what manifest.json says; `textgan verify` says more")
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                source = tar.extractfile(member)
                if source is None:
                    raise UserError(f"{path}: {member.name} is no file")
                yield member.name.split(".", 1)[0], source.read()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; manifest.json names it") from None
    except tarfile.TarError as error:
        raise UserError(f"{path}: no tar: {error}") from None


def _decoded(encoded: bytes, manifest: ImageManifest, path: Path, key: str) -> np.ndarray:
    from pipeline import imaging
    from pipeline.headers import UndecodableImage

    try:
        pixels = imaging.decode(encoded, manifest.width * manifest.height)
    except UndecodableImage as error:
        raise UserError(f"{path}: {key} cannot be decoded: {error}") from None
    if pixels.shape != (manifest.height, manifest.width, 3):
        size = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise UserError(f"{path}: {key} is {size}; manifest.json says {manifest.width}x{manifest.height}")
    return pixels


def png_stored(pixels: np.ndarray) -> bytes:
    """An RGB PNG of uint8 [H,W,3] without compression: the same bytes whatever zlib this machine has.

    (Level 0 of zlib and of its replacements cuts stored blocks at different places.)
    """
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with its filter: 0, none
    rows[:, 1:] = pixels.reshape(height, 3 * width)
    raw = rows.tobytes()
    blocks = [b"\x78\x01"]
    for start in range(0, len(raw), STORED_BLOCK):
        block = raw[start : start + STORED_BLOCK]
        is_last = start + STORED_BLOCK >= len(raw)
        blocks += [struct.pack("<BHH", is_last, len(block), len(block) ^ 0xFFFF), block]
    blocks.append(struct.pack(">I", zlib.adler32(raw)))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", b"".join(blocks)), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        png += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return png


def _kinds(pairs: Path | None, splits: tuple[str, ...]) -> Callable[[str], str]:
    """From sample key to kind: by the pairs' facts, else by the export that the key begins with."""
    if pairs is not None:
        known = _kinds_of_pairs(pairs, splits)

        def by_pairs(key: str) -> str:
            if key not in known:
                raise UserError(f"{pairs}: says no kind of {key}; every image needs a label")
            return known[key]

        return by_pairs

    def by_key(key: str) -> str:
        kinds_named = set(key.split("-")[:-1]) & set(VALUES["kind"])  # cat-..., cat-val-..., lsun-cat-...
        if len(kinds_named) == 1:
            return kinds_named.pop()
        kinds = ", ".join(VALUES["kind"])
        raise UserError(f"{key}: its export names none or several of {kinds}; give --pairs, whose facts say the kind")

    return by_key


def _kinds_of_pairs(pairs: Path, splits: tuple[str, ...]) -> dict[str, str]:
    from pyarrow import parquet

    known: dict[str, str] = {}
    for split in splits:
        files = sorted(pairs.glob(f"{split}-*.parquet"))
        if not files:
            raise UserError(f"{pairs}: has no {split}-*.parquet; it must be a directory of pairs")
        for file in files:
            table = parquet.read_table(file, columns=["sample_key", "facts"])
            for key, facts in zip(table["sample_key"].to_pylist(), table["facts"].to_pylist(), strict=True):
                kind = json.loads(facts).get("kind")
                if kind in VALUES["kind"]:
                    known[key] = kind
    return known


def _write_labels(text: TextIO, keys: TextIO, names: list[str]) -> None:
    """The JSON that StyleGAN reads, a line for each image."""
    if not names:
        text.write('{"labels": null}\n')
        return
    keys.seek(0)
    rows = csv.DictReader(keys)
    text.write('{"labels": [')
    for index, row in enumerate(rows):
        text.write(("," if index else "") + f"\n{json.dumps([row['name'], names.index(row['kind'])])}")
    text.write("\n]}\n")


def _copy_text(source: TextIO, target: TextIO) -> None:
    source.seek(0)
    shutil.copyfileobj(source, target)


def _write_text(archive: zipfile.ZipFile, name: str, write: Callable[[TextIO], Any]) -> None:
    with archive.open(_member(name), "w", force_zip64=True) as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8", newline="\n")
        write(text)
        text.flush()
        text.detach()


def _member(name: str) -> zipfile.ZipInfo:
    """A member whose header has no clock, user or platform."""
    info = zipfile.ZipInfo(name, EPOCH)
    info.compress_type, info.create_system, info.external_attr = zipfile.ZIP_STORED, 3, 0o100644 << 16
    return info
