"""What evaluation reads of a dataset: images, captions and facts of one split, some of them by seed."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from textgan.errors import UserError
from textgan.metrics.features import Images
from textgan.progress import Progress
from textgan.seeds import derive_seed

DATA = Path("data")


@dataclass(frozen=True, slots=True)
class Split:
    """Aligned lists of one split's samples, in the order of their shards."""

    keys: list[str]
    images: Images
    facts: list[str]
    """JSON text of what the captions say."""
    captions: list[list[str]]
    languages: list[list[str]]
    token_ids: list[list[list[int]]]

    def drawn(self, count: int, seed: int, what: str) -> list[int]:
        """Places of some samples by lot: shards are in the order of the exports, their first images of one kind."""
        lots = [derive_seed(seed, what, key) for key in self.keys]
        return sorted(range(len(lots)), key=lots.__getitem__)[:count]

    def said(self) -> list[dict[str, str]]:
        """The facts, read."""
        return [json.loads(text) for text in self.facts]


def read_split(
    dataset: str, split: str, count: int | None, seed: int, data: Path = DATA, avoid: Collection[str] = ()
) -> Split:
    """At most `count` samples of a split, those of the smallest seeded hash of their key.

    Keys to `avoid` are drawn only where the others are too few. Raises UserError where the split is empty, and where
    pairs and images are not of the same samples.
    """
    wanted = drawn_keys(keys_of(dataset, split, data), count, seed, avoid) if avoid else count
    images, rows = [], []
    for picture, row in samples(dataset, split, wanted, seed, data):
        images.append(np.asarray(picture, dtype=np.uint8))
        rows.append(row)
    return Split(
        keys=[row.sample_key for row in rows],
        images=np.stack(images),
        facts=[row.facts for row in rows],
        captions=[list(row.captions) for row in rows],
        languages=[list(row.languages) for row in rows],
        token_ids=[[list(map(int, ids)) for ids in row.token_ids] for row in rows],
    )


def thumbnail(picture: Image.Image, px: int) -> Images:  # -> [px,px,3]
    """A picture reduced by area."""
    return np.asarray(picture.resize((px, px), Image.Resampling.BOX), dtype=np.uint8)


def keys_of(dataset: str, split: str, data: Path = DATA) -> list[str]:
    """The sample keys of a split, in the order of the shards."""
    return [key for table in _tables(dataset, split, data)[1] for key in table["sample_key"]]


def drawn_keys(keys: Iterable[str], count: int | None, seed: int, avoid: Collection[str] = ()) -> list[str]:
    """Those of the smallest seeded hash; of `avoid` only where the others are too few."""
    avoid = set(avoid)
    return sorted(keys, key=lambda key: (key in avoid, derive_seed(seed, key)))[:count]


def samples(
    dataset: str, split: str, wanted: int | Collection[str] | None, seed: int, data: Path = DATA
) -> Iterator[tuple[Image.Image, Any]]:
    """(RGB picture, row of the pairs) of the chosen samples, in the order of the shards.

    `wanted`: so many of the smallest seeded hash, those of these keys, or all.
    """
    directory = data / "images" / dataset
    shards, tables = _tables(dataset, split, data)
    keys = [key for table in tables for key in table["sample_key"]]
    if not keys:
        raise UserError(
            f"{directory}: the {split} split has no images; more images, or a larger ingest.{split} in params.yaml"
        )
    chosen = set(drawn_keys(keys, wanted, seed) if wanted is None or isinstance(wanted, int) else wanted)
    progress = Progress(len(chosen), f"read {split} images")
    for name, table in zip(shards, tables, strict=True):
        with tarfile.open(directory / name, "r:") as tar:
            members = [member for member in tar if member.isfile()]
            if [Path(member.name).stem for member in members] != list(table["sample_key"]):
                raise UserError(
                    f"{directory / name}: its keys are not those of data/pairs/{dataset}; run the stage pairs again"
                )
            for member, row in zip(members, table.itertuples(index=False), strict=True):
                if row.sample_key in chosen:
                    file = tar.extractfile(member)
                    assert file is not None
                    with Image.open(io.BytesIO(file.read())) as picture:
                        yield picture.convert("RGB"), row
                    progress.update()
    progress.close()


def read_captions(dataset: str, split: str, data: Path = DATA) -> list[list[int]]:
    """Token ids of every caption of a split."""
    _, tables = _tables(dataset, split, data)
    return [list(map(int, ids)) for table in tables for rows in table["token_ids"] for ids in rows]


def read_english(dataset: str, split: str, data: Path = DATA) -> list[str]:
    """The English form of every caption of a split, in the order of `read_captions`.

    Raises UserError where the pairs were made without embeddings.
    """
    shards, tables = _tables(dataset, split, data)
    for name, table in zip(shards, tables, strict=True):
        if "english" not in table:
            raise UserError(
                f"{data / 'pairs' / dataset / Path(name).stem}.parquet: column english is missing; a snapshot of minilm"
                " needs it: set pairs.embeddings to minilm in params.yaml and run the stage pairs again"
            )
    return [text for table in tables for texts in table["english"] for text in texts]


def manifest_of(dataset: str, data: Path = DATA) -> dict[str, Any]:
    """The manifest of the image shards."""
    file = data / "images" / dataset / "manifest.json"
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; the stage images writes it") from None


def _tables(dataset: str, split: str, data: Path) -> tuple[list[str], list[pd.DataFrame]]:
    """Shards of a split and their pairs."""
    manifest = manifest_of(dataset, data)
    shards = [shard["name"] for shard in manifest["splits"].get(split, {}).get("shards", [])]
    return shards, [pd.read_parquet(data / "pairs" / dataset / f"{Path(name).stem}.parquet") for name in shards]
