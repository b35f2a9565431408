"""`textgan verify DIR`: a directory of image shards against its manifest, and what is wrong by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pyarrow.compute as pc
import typer
from pyarrow import parquet

from textgan.errors import UserError
from textgan.files import sha256_file
from textgan.manifest import ImageManifest, read_images
from textgan.records import SPLITS

_KNOWN = {"manifest.json", "index.parquet", "rejected.parquet"}


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
    """One line for each file that is missing, foreign or not what the manifest says."""
    expected = {shard.name for split in SPLITS for shard in manifest.splits[split]}
    for path in sorted(directory.iterdir()):
        if path.name not in expected | _KNOWN:
            yield f"{path}: not in the manifest"
    for split in SPLITS:
        for shard in manifest.splits[split]:
            path = directory / shard.name
            if not path.is_file():
                yield f"{path}: missing"
            elif path.stat().st_size != shard.bytes:
                yield f"{path}: has {path.stat().st_size} bytes, should have {shard.bytes}"
            elif sha256_file(path) != shard.sha256:
                yield f"{path}: other bytes than the manifest's sha256"
    yield from _table_problems(directory, manifest)


def _table_problems(directory: Path, manifest: ImageManifest) -> Iterator[str]:
    """Whether index and rejected rows add up."""
    for name in ("index.parquet", "rejected.parquet"):
        path = directory / name
        try:
            table = parquet.read_table(path)
        except (OSError, ValueError) as error:
            yield f"{path}: cannot be read: {str(error).splitlines()[0]}"
            continue
        if name == "rejected.parquet":
            if len(table) != sum(manifest.rejected.values()):
                yield f"{path}: has {len(table)} rows, the manifest counts {sum(manifest.rejected.values())}"
            continue
        if len(pc.unique(table["sample_key"])) != len(table):
            yield f"{path}: a sample key comes twice"
        for split in SPLITS:
            rows = pc.sum(pc.equal(table["split"], split)).as_py() or 0
            if rows != manifest.images(split):
                yield f"{path}: has {rows} {split} rows, the manifest counts {manifest.images(split)}"


def undecodable(directory: Path) -> Iterator[str]:
    """One line for each image that cannot be decoded."""
    from textgan.dataset import ImageShards

    for split in SPLITS:
        shards = ImageShards(directory, split)
        for idx in range(len(shards)):
            try:
                shards.images([idx])
            except UserError as error:
                yield str(error)
