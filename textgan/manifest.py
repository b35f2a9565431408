"""The manifest of a shard directory: what it holds, shard by shard, with sha256; and the stored index."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textgan.errors import UserError
from textgan.records import SPLITS

FORMAT = 1
BESIDE = frozenset({"manifest.json", "index.parquet", "rejected.parquet"})
"""What a build writes beside its shards."""
_KEYS = (
    "format",
    "dataset",
    "width",
    "height",
    "geometry",
    "small",
    "encoding",
    "read",
    "written",
    "upscaled",
    "rejected",
    "splits",
)


@dataclass(frozen=True, slots=True)
class Shard:
    """One tar of a split."""

    name: str
    images: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ImageManifest:
    """manifest.json of an image shard directory; width and height are those of every image."""

    dataset: str
    width: int
    height: int
    encoding: dict[str, Any]
    read: int
    written: int
    rejected: dict[str, int]
    splits: dict[str, list[Shard]]

    def images(self, split: str) -> int:
        """Images of one split."""
        return sum(shard.images for shard in self.splits[split])


def read_images(directory: Path) -> ImageManifest:
    """Read and check `directory/manifest.json`. Raises UserError with file, key and rule."""
    path = directory / "manifest.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {directory} must be a directory of image shards") from None
    except OSError as error:
        rule = f"{directory} must be a directory of image shards"
        raise UserError(f"{path}: cannot be read: {error.strerror}; {rule}") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise UserError(
            f"{path}: format is {value.get('format') if isinstance(value, dict) else value!r}; it must be 1"
        )
    for key in _KEYS:
        if key not in value:
            raise UserError(f"{path}: {key} is missing")
    try:
        splits = {name: [Shard(**shard) for shard in value["splits"][name]["shards"]] for name in SPLITS}
        in_shards = sum(shard.images for split in splits.values() for shard in split)
        accounted = value["written"] + sum(value["rejected"].values())
    except (AttributeError, KeyError, TypeError) as error:
        rule = "splits must have train, select and test with their shards, and rejected a count for each reason"
        raise UserError(f"{path}: {rule}: {error}") from None
    if value["read"] != accounted:
        raise UserError(f"{path}: read is {value['read']}; it must be written + rejected")
    if value["written"] != in_shards:
        raise UserError(f"{path}: written is {value['written']}; it must be the sum of the shards' images")
    return ImageManifest(
        value["dataset"],
        value["width"],
        value["height"],
        value["encoding"],
        value["read"],
        value["written"],
        value["rejected"],
        splits,
    )
