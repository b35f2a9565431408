"""The LMDB entries behind a shard: its sample keys, joined with the inventory that ingest wrote."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flows import history
from textgan.errors import UserError

COLUMNS = ["sample_key", "export", "lmdb_key", "sha256"]


@dataclass(frozen=True, slots=True)
class Row:
    """One LMDB entry behind a file."""

    sample_key: str
    export: str
    lmdb_key: str
    """Text where it is printable ASCII, else 0x and hex digits."""
    sha256: str
    """Of the entry's value."""


def split_member(what: str) -> tuple[str, str]:
    """`SHARD.tar/MEMBER` as shard and member; anything else as it is and an empty member."""
    shard, found, member = what.partition(".tar/")
    return (f"{shard}.tar", member) if found and member else (what, "")


def content(path: str, md5: str) -> Path | None:
    """A place that holds these bytes: the file itself where it is that version, else DVC's cache."""
    for place in (Path(path), history.cached(md5)) if md5 else ():
        if place.is_file():
            with open(place, "rb") as file:
                if hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5:
                    return place
    return None


def sample_keys(path: str, md5: str, member: str = "") -> list[str] | None:
    """Sample keys of a shard in its order; None where the file is no shard. Raises UserError where it is not here."""
    if not path.endswith((".tar", ".parquet")):
        if member:
            raise UserError(f"lineage: {path}: only the members of a tar shard have a lineage of their own")
        return None
    place = content(path, md5)
    if place is None:
        raise UserError(f"{path} of md5 {md5} is neither in the tree nor in DVC's cache; `dvc pull` brings it")
    if path.endswith(".tar"):
        with tarfile.open(place) as tar:
            names = [info.name for info in tar if info.isfile()]
        if member and member not in names:
            raise UserError(f"{path}: has no member {member!r}; it has {len(names)}, the first is {names[:1]}")
        return [name.partition(".")[0] for name in ([member] if member else names)]
    from pyarrow import parquet

    table = parquet.ParquetFile(place)
    if "sample_key" not in table.schema_arrow.names:
        return None
    return [key for batch in table.iter_batches(columns=["sample_key"]) for key in batch.column(0).to_pylist()]


def find_rows(inventory: Path, keys: list[str]) -> list[Row]:
    """The inventory's rows of these sample keys, in their order. Raises UserError where one is missing."""
    wanted, found = set(keys), {}
    for key, export, lmdb_key, sha256 in _batches(inventory, COLUMNS):
        if key in wanted:
            found[key] = Row(str(key), str(export), _shown(lmdb_key), str(sha256))
    missing = [key for key in keys if key not in found]
    if missing:
        raise UserError(f"{inventory}: has no row for {missing[0]!r} ({len(missing)} of {len(keys)} keys are missing)")
    return [found[key] for key in keys]


def count_rows(inventory: Path) -> dict[str, dict[str, int]]:
    """{export: {split, or reason of rejection: entries}}."""
    counts: dict[str, dict[str, int]] = {}
    for export, split, status, reason in _batches(inventory, ["export", "split", "status", "reason"]):
        kind = str(split) if status == "ok" else f"rejected ({reason})"
        of_export = counts.setdefault(str(export), {})
        of_export[kind] = of_export.get(kind, 0) + 1
    return counts


def _batches(path: Path, columns: list[str]) -> Iterator[tuple[object, ...]]:
    """Rows of a Parquet file, a batch in memory at a time."""
    from pyarrow import parquet

    for batch in parquet.ParquetFile(path).iter_batches(columns=columns):
        yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)


def _shown(lmdb_key: object) -> str:
    key = lmdb_key if isinstance(lmdb_key, bytes) else str(lmdb_key).encode()
    return key.decode() if key.isascii() and key.decode("ascii").isprintable() else f"0x{key.hex()}"
