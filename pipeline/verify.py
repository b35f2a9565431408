"""`textgan verify DIR`: a directory of image shards against its manifest, and what is wrong by name."""

from __future__ import annotations

import collections
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import typer
from pyarrow import parquet

from textgan.dataset import ImageShards, scanned
from textgan.errors import UserError
from textgan.files import sha256_file
from textgan.manifest import BESIDE, ImageManifest, read_images
from textgan.records import SPLITS


def verify(
    directory: Annotated[Path, typer.Argument(help="a directory of image shards, as data/images/D")],
    pixels: Annotated[bool, typer.Option(help="also decode every image")] = False,
) -> None:
    """Check sizes, sha256, index and counts of image shards; exit 1 and name what is wrong."""
    manifest = read_images(directory)
    wrong = list(problems(directory, manifest))
    if not wrong and pixels:
        wrong = list(undecodable(directory))
    for line in wrong:
        print(line)
    if wrong:
        raise UserError(f"{directory}: {len(wrong)} things are wrong; restore it with `dvc checkout` or build it again")
    shards = sum(len(manifest.splits[split]) for split in SPLITS)
    print(f"{directory}: {manifest.written} images in {shards} shards, as the manifest says")


def problems(directory: Path, manifest: ImageManifest) -> Iterator[str]:
    """One line for each file that is missing, foreign or not as the manifest says, and for each shard's wrong rows."""
    yield from _manifest_problems(directory / "manifest.json", manifest)
    expected = {shard.name for split in SPLITS for shard in manifest.splits[split]}
    for path in sorted(directory.iterdir()):
        if path.name not in expected | BESIDE:
            yield f"{path}: not in the manifest"
    whole = set()
    for split in SPLITS:
        for shard in manifest.splits[split]:
            path = directory / shard.name
            if not path.is_file():
                yield f"{path}: missing"
            elif path.stat().st_size != shard.bytes:
                yield f"{path}: has {path.stat().st_size} bytes, should have {shard.bytes}"
            elif sha256_file(path) != shard.sha256:
                yield f"{path}: other bytes than the manifest's sha256"
            else:
                whole.add(shard.name)
    yield from _index_problems(directory, manifest, whole)
    yield from _rejected_problems(directory / "rejected.parquet", manifest)


def _manifest_problems(path: Path, manifest: ImageManifest) -> Iterator[str]:
    """Splits that count other images than their shards; shards named otherwise, which may lead out of the directory."""
    said = json.loads(path.read_text(encoding="utf-8"))["splits"]
    for split in SPLITS:
        count, images = said[split].get("images"), manifest.images(split)
        if count != images:
            yield f"{path}: images of {split} is {count}; its shards have {images}"
        for number, shard in enumerate(manifest.splits[split]):
            name = f"{split}-{number:05d}.tar"
            if shard.name != name:
                yield f"{path}: names a shard {shard.name!r}; it must be {name}"


def _index_problems(directory: Path, manifest: ImageManifest, whole: set[str]) -> Iterator[str]:
    """Whether the index says of every image of the whole shards what their tar headers say, in their order."""
    path = directory / "index.parquet"
    try:
        table = _read(path, ["split", "shard", "sample_key", "offset", "bytes"])
    except UserError as error:
        yield str(error)
        return
    if len(table) != manifest.written:
        yield f"{path}: has {len(table)} rows, the manifest counts {manifest.written}"
    if len(pc.unique(table["sample_key"])) != len(table):
        yield f"{path}: a sample key comes twice"
    for split in SPLITS:
        rows = table.filter(pc.equal(table["split"], split)).drop_columns("split")
        if len(rows) != manifest.images(split):
            yield f"{path}: has {len(rows)} {split} rows, the manifest counts {manifest.images(split)}"
            continue
        start = 0
        for number, shard in enumerate(manifest.splits[split]):
            if shard.name in whole:
                yield from _shard_problems(path, directory / shard.name, number, rows.slice(start, shard.images))
            start += shard.images


def _shard_problems(index: Path, shard: Path, number: int, rows: pa.Table) -> Iterator[str]:
    """The first row of a shard that is not as its tar headers say, and how many more are."""
    try:
        found = [(number, *member) for member in scanned(shard)]
    except tarfile.TarError as error:
        yield f"{shard}: cannot be read: {error}"
        return
    said = list(zip(*(column.to_pylist() for column in rows.columns), strict=True))
    if len(found) != len(said):
        yield f"{shard}: has {len(found)} images, the manifest counts {len(said)}"
        return
    wrong = [(a, b) for a, b in zip(said, found, strict=True) if a != b]
    if wrong:
        says, has = ("shard {}, {}, offset {}, {} bytes".format(*row) for row in wrong[0])
        more = f" (and {len(wrong) - 1} more rows)" if len(wrong) > 1 else ""
        yield f"{index}: says {says} where {shard.name} has {has}{more}"


def _read(path: Path, columns: list[str]) -> pa.Table:
    if not path.exists():
        raise UserError(f"{path}: missing")
    try:
        return parquet.read_table(path).select(columns)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None


def _rejected_problems(path: Path, manifest: ImageManifest) -> Iterator[str]:
    """Whether the rejected rows are as many for each reason as the manifest counts."""
    try:
        counts = dict(collections.Counter(_read(path, ["reason"])["reason"].to_pylist()))
    except UserError as error:
        yield str(error)
        return
    if counts != manifest.rejected:
        yield f"{path}: has {counts}, the manifest counts {manifest.rejected}"


def undecodable(directory: Path) -> Iterator[str]:
    """One line for each image that cannot be decoded."""
    for split in SPLITS:
        shards = ImageShards(directory, split)
        for idx in range(len(shards)):
            try:
                shards.images([idx])
            except UserError as error:
                yield str(error)
