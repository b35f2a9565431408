"""What an image of an export costs: seconds of a core and bytes, measured by running the stages on a sample.

The sample goes through the same functions as the stages: inventory rows, one shard, its captions. Nothing is
estimated that was not measured; what cannot be measured is None.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import math
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from pipeline.exports import Export, LmdbExport, TreeExport, open_export
from pipeline.geometry import Misfit, place_on
from pipeline.ingest import INVENTORY, inventory_rows
from pipeline.shards import Job, ShardTask, build_shard, read_record
from textgan.errors import UserError
from textgan.params import DatasetParams
from textgan.seeds import derive_seed, unit_interval

CAPTIONED = 32
"""Images of the sample that are captioned: a captioner may look at four a second."""
WARM_UP = 2
"""Images that are built before the clock runs: libraries load and allocate at the first."""
LISTED = 50_000
"""Up to this many entries keys are listed to take every n-th; a larger LMDB is entered at random places."""
TAR_BLOCK = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Of one export. Seconds are of one core, without waiting for the disk; bytes are of the stages' outs."""

    entries: int
    entry_bytes: float
    """Of an encoded value as it is in the export."""
    sampled: int
    kept: int
    rejected: dict[str, int]
    """Of the sample, by reason."""
    ingest_seconds: float
    """An entry."""
    inventory_bytes: float
    """An entry."""
    image_seconds: float | None
    """An image that is built; None where the sample has none."""
    image_bytes: float | None
    image_bytes_error: float
    """Half the width of the 95 % interval of the mean, as a part of it."""
    caption_seconds: float | None
    caption_bytes: float | None
    caption_note: str
    """Why captions were not measured."""

    @property
    def kept_interval(self) -> tuple[float, float]:
        """95 % interval of the part that is kept (Wilson); the exact part where all entries were sampled."""
        part = self.kept / self.sampled
        if self.sampled >= self.entries:
            return part, part
        z, n = 1.96, self.sampled
        centre = (part + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(part * (1 - part) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return max(centre - half, 0.0), min(centre + half, 1.0)


class Sample:
    """Some entries of an export, as an export of its own."""

    def __init__(self, export: Export, keys: list[bytes]) -> None:
        self.entries = [(key, export.get(key)) for key in sorted(keys)]

    def __len__(self) -> int:
        return len(self.entries)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All entries, in key order."""
        return iter(self.entries)

    def get(self, key: bytes) -> bytes:
        """The value of one key."""
        return dict(self.entries)[key]

    def close(self) -> None:
        """Nothing is open."""


def measure(name: str, path: Path, params: DatasetParams, count: int) -> Costs:
    """Run `count` entries of an export through ingest, images and captions. Raises UserError: no export."""
    export = open_export(path)
    sample = Sample(export, spread_keys(export, count))
    list(inventory_rows(name, sample, params.ingest, WARM_UP))
    start = time.process_time()
    rows = list(inventory_rows(name, sample, params.ingest))
    ingest_seconds = time.process_time() - start
    table = pa.Table.from_pylist(rows, INVENTORY)
    rejected, built = Counter[str](), list[tuple[str, str, bytes, int]]()
    for row in rows:
        placement = None
        if row["status"] == "ok":
            images = params.images
            placement = place_on(
                row["width"], row["height"], images.width, images.height, images.geometry, images.small
            )
        if placement is None or isinstance(placement, Misfit):
            rejected[row["reason"] if placement is None else placement.reason] += 1
        else:
            built.append((row["sample_key"], name, row["lmdb_key"], row["bytes"]))
    with tempfile.TemporaryDirectory() as temporary:
        shard = Path(temporary) / "sample.tar"
        sizes, image_seconds = _build(name, path, params, built, shard, rejected)
        caption_seconds, caption_bytes, note = None, None, "no image of the sample can be built"
        if sizes:
            caption_seconds, caption_bytes, note = _caption(name, path, params, built, table, Path(temporary))
    mean = sum(sizes) / len(sizes) if sizes else None
    return Costs(
        entries=len(export),
        entry_bytes=sum(row["bytes"] for row in rows) / len(rows),
        sampled=len(rows),
        kept=len(sizes),
        rejected=dict(sorted(rejected.items())),
        ingest_seconds=ingest_seconds / len(rows),
        inventory_bytes=_row_bytes(table),
        image_seconds=image_seconds / len(built) if built else None,
        image_bytes=mean,
        image_bytes_error=_relative_error(sizes) if len(rows) < len(export) else 0.0,
        caption_seconds=caption_seconds,
        caption_bytes=caption_bytes,
        caption_note=note,
    )


def spread_keys(export: Export, count: int) -> list[bytes]:
    """Up to `count` keys from all over an export, the same on every run."""
    if isinstance(export, LmdbExport) and len(export) > LISTED:
        return _random_keys(export, count)
    if isinstance(export, LmdbExport):
        with export.environment.begin() as transaction, transaction.cursor() as cursor:
            keys = list(cursor.iternext(keys=True, values=False))
    elif isinstance(export, TreeExport):
        keys = sorted(export.files)
    else:
        keys = [key for key, _ in export.items()]
    count = min(count, len(keys))
    # One from each of `count` equal stretches, at a random place in it: every n-th would meet a pattern of the keys.
    places = [(index + unit_interval(0, "plan", index)) * len(keys) / count for index in range(count)]
    return [keys[int(place)] for place in places]


def _random_keys(export: LmdbExport, count: int) -> list[bytes]:
    """Keys that follow random texts over the letters that the keys use, behind what the first and the last share.

    LMDB cannot be entered at the n-th key, and listing the keys of 5 million entries reads pages all over the
    file. LSUN's keys are hashes, so what follows a random text is a fair choice.
    """
    found: set[bytes] = set()
    with export.environment.begin() as transaction, transaction.cursor() as cursor:
        cursor.first()
        ends = list(itertools.islice(cursor.iternext(keys=True, values=False), 100))
        cursor.last()
        ends += itertools.islice(cursor.iterprev(keys=True, values=False), 100)
        first, last = min(ends), max(ends)
        shared = next((idx for idx, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
        letters = sorted(set(b"".join(ends)))
        length = max(map(len, ends)) - shared
        for attempt in range(50 * count):
            if len(found) == count:
                break
            text = bytes(letters[derive_seed(0, "plan", attempt, place) % len(letters)] for place in range(length))
            if cursor.set_range(first[:shared] + text):
                found.add(cursor.key())
    return sorted(found or ends[:1])


def _build(
    name: str,
    path: Path,
    params: DatasetParams,
    rows: list[tuple[str, str, bytes, int]],
    shard: Path,
    rejected: Counter[str],
) -> tuple[list[int], float]:
    """Build one shard; (bytes in the tar of each member, seconds of all rows). Counts into `rejected`."""
    if not rows:
        return [], 0.0
    job = Job(exports={name: path.absolute()}, params=params.images, max_pixels=params.ingest.max_pixels)
    warm = ShardTask(job=job, path=shard.with_name("warm.tar"), rows=rows[:WARM_UP])
    build_shard(warm)
    start = time.process_time()
    build_shard(dataclasses.replace(warm, path=shard, rows=rows))
    seconds = time.process_time() - start
    record = read_record(shard)
    if record is None:
        raise UserError(f"{shard}: vanished while it was measured")
    rejected.update(row["reason"] for row in record["rejected"])
    return [TAR_BLOCK + -(-size // TAR_BLOCK) * TAR_BLOCK for _, _, size in record["members"]], seconds


def _caption(
    name: str,
    path: Path,
    params: DatasetParams,
    rows: list[tuple[str, str, bytes, int]],
    inventory: pa.Table,
    temporary: Path,
) -> tuple[float | None, float | None, str]:
    """(seconds, bytes) of the captions of an image, or why they are not measured."""
    if params.captions.captioner == "annotations":
        return None, None, "annotations are read, not measured"
    from pipeline.captions import caption_shard, make_captioner

    job = Job(exports={name: path.absolute()}, params=params.images, max_pixels=params.ingest.max_pixels)
    records = inventory.to_pandas().set_index("sample_key")
    step = max(len(rows) // CAPTIONED, 1)
    build_shard(ShardTask(job=job, path=temporary / "captioned.tar", rows=rows[::step][:CAPTIONED]))
    try:
        captioner = make_captioner(params.captions, {}, "plan")
        caption_shard(temporary / "warm.tar", records, captioner, params.captions)
        start = time.process_time()
        table = caption_shard(temporary / "captioned.tar", records, captioner, params.captions)
        seconds = time.process_time() - start
    except UserError as error:
        return None, None, str(error)
    return seconds / len(table), _row_bytes(table), ""


def _row_bytes(table: pa.Table) -> float:
    """Bytes that a row adds to a Parquet file; the schema, which small files mostly are, is not counted."""
    sizes = []
    for part in (table, table.slice(0, 0)):
        buffer = io.BytesIO()
        parquet.write_table(part, buffer, compression="zstd")
        sizes.append(len(buffer.getvalue()))
    return (sizes[0] - sizes[1]) / len(table)


def _relative_error(values: list[int]) -> float:
    """Half the 95 % interval of a mean, as a part of the mean."""
    if len(values) < 2:
        return math.inf
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return 1.96 * deviation / math.sqrt(len(values)) / mean
