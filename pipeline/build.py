"""A whole build: plan the shards, build what is unfinished, publish the directory in one rename."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from pipeline import engines, geometry, imaging, work_places
from pipeline.duplicates import SIGNATURE, SIGNED
from pipeline.selection import Selection, candidates, select, split_rows, without_similar
from pipeline.shards import Job, ShardTask, build_shard, encoded_sizes, is_finished, read_record, sign
from textgan.errors import UserError
from textgan.files import discard_unpublished, fingerprint, publishing, sha256_file, write_json
from textgan.manifest import FORMAT
from textgan.params import ImagesParams
from textgan.progress import Progress
from textgan.records import SPLITS

PROBES = 64
"""Images encoded to learn how many fit in a shard."""
SIGNED_AT_ONCE = 1000
"""Images whose signatures a worker makes and writes: at most so many are made again after a kill."""
CODE = (
    "pipeline/build.py",
    "pipeline/duplicates.py",
    "pipeline/exports.py",
    "pipeline/geometry.py",
    "pipeline/headers.py",
    "pipeline/imaging.py",
    "pipeline/lmdb_tree.py",
    "pipeline/png.py",
    "pipeline/selection.py",
    "pipeline/shards.py",
    "pipeline/webp.py",
    "textgan/records.py",
    "textgan/seeds.py",
)
"""Decides what unfinished work holds; `tests/test_graph.py` compares it with the imports."""
_MEMBER_OVERHEAD = 768
"""A tar header and, on average, half a block of padding."""
REJECTED = pa.schema([("sample_key", pa.string()), ("reason", pa.string()), ("detail", pa.string())])
INDEX = pa.schema(
    [
        ("split", pa.string()),
        ("shard", pa.int32()),
        ("sample_key", pa.string()),
        ("offset", pa.int64()),
        ("bytes", pa.int32()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Everything a build depends on; `workers` alone says how fast and not what."""

    dataset: str
    inventory: Path
    exports: dict[str, Path]
    params: ImagesParams
    seed: int
    max_pixels: int
    workers: int


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """A shard of a split with the rows that it is made from."""

    split: str
    name: str
    rows: np.ndarray


def identity(request: Request) -> dict[str, Any]:
    """What decides the bytes: unfinished work of another identity is never used."""
    code = {name: sha256_file(Path(__file__).parents[1] / name) for name in CODE}
    return {
        "dataset": request.dataset,
        "inventory": sha256_file(request.inventory),
        "params": dataclasses.asdict(request.params),
        "seed": request.seed,
        "max_pixels": request.max_pixels,
        "code": code,
        "versions": {name: _version(name) for name in ("deflate", "numpy", "pillow", "simplejpeg", "torch")},
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # deflate may be absent: other bytes, so another identity
        return "none"


def identity_name(request: Request) -> str:
    """A directory name for the identity."""
    return fingerprint(identity(request))


def build(request: Request, work: Path, out: Path, keep: bool = False) -> str:
    """Build `out`, going on where an earlier attempt in `work` ended; returns a line with the counts.

    With `keep` the work stays where it costs next to no room (hard links; signatures take 0.1 kB an image) until
    another build of the dataset begins: DVC deletes `out` and runs the stage again if it is killed between the
    publication and its own record of it.
    """
    with work_places.locked(work):
        discard_unpublished(out)
        work_places.discard_former(work, request.dataset)
        for pattern in (".*.tar.*", ".similar-*"):  # what a killed worker was writing
            for leftover in work.glob(pattern):
                leftover.unlink()
        exports = {name: path.absolute() for name, path in request.exports.items()}  # a worker may stand elsewhere
        job = Job(exports=exports, params=request.params, max_pixels=request.max_pixels)
        with engines.opened(request.workers) as run:
            selection = select(request.inventory, request.params, request.seed)
            if request.params.duplicates == "perceptual":
                selection = _without_similar(run, request, job, selection, work)
            shards = _build_rounds(run, request, job, selection, work)
        if not keep:  # it may have come there since the build began
            work_places.refuse_foreign(out)
        with publishing(out) as built:
            manifest = _publish(request, selection, shards, work, built)
        if keep and any((work / shard.name).stat().st_nlink > 1 for shard in shards):
            work_places.keep(work, request.dataset)
        else:
            work_places.discard(work)
    rejected = ", ".join(f"{count} {reason}" for reason, count in manifest["rejected"].items())
    counts = f"{manifest['read']} read, {manifest['written']} written ({manifest['upscaled']} upscaled)"
    return f"images {request.dataset}: {counts}; rejected: {rejected or 'none'}; {len(shards)} shards in {out}"


def has_finished(work: Path) -> bool:
    """Whether a work directory holds a shard with an image in it, or signatures."""
    records = (read_record(path) for path in work.glob("*.tar"))
    signed = (path.stat().st_size for path in work.glob("similar-*"))
    return any(record is not None and record["members"] for record in records) or any(signed)


def _without_similar(run: engines.Run, request: Request, job: Job, selection: Selection, work: Path) -> Selection:
    """Decode every candidate once, small, and leave out those that look like an earlier one.

    The signatures are in files of `work`, where a build that is interrupted finds them.
    """
    rows = candidates(selection)
    parts = [part for part in np.array_split(rows, math.ceil(len(rows) / SIGNED_AT_ONCE) or 1) if len(part)]
    paths = [work / f"similar-{hashlib.sha256(part.tobytes()).hexdigest()[:32]}" for part in parts]
    unsigned = [(part, path) for part, path in zip(parts, paths, strict=True) if not path.exists()]
    progress = Progress(sum(len(part) for part, _ in unsigned), f"similar {request.dataset}")
    for count in run(sign, (_task(job, selection, path, part) for part, path in unsigned)):
        progress.update(count)
    progress.close(f"{len(parts) - len(unsigned)} of {len(parts)} parts were finished before")
    total = sum(path.stat().st_size for path in paths) // SIGNED.itemsize
    numbers, signatures, end = np.empty(total, np.int64), np.empty(total, SIGNATURE), 0
    for part, path in zip(parts, paths, strict=True):
        found = np.fromfile(path, SIGNED)
        numbers[end : end + len(found)] = part[found["position"]]
        signatures[end : end + len(found)] = found["signature"]
        end += len(found)
    return without_similar(selection, numbers, signatures, request.params, request.seed)


def _build_rounds(run: engines.Run, request: Request, job: Job, selection: Selection, work: Path) -> list[PlannedShard]:
    """Build all shards. A subset loses nothing to undecodable images: further rounds replace them."""
    per_shard = _images_per_shard(run, request, job, selection)
    shards: list[PlannedShard] = []
    chosen, number = selection.chosen, 0
    while len(chosen):
        planned = plan_shards(selection, chosen, per_shard, number)
        _build_planned(run, request, job, selection, planned, work)
        shards += planned
        chosen, number = _replacements(selection, planned, work), number + 1
    for reserve in selection.reserve.values():
        selection.rejected |= {idx: ("not_in_subset", "") for idx in reserve}
    return shards


def plan_shards(selection: Selection, chosen: np.ndarray, per_shard: int, number: int) -> list[PlannedShard]:
    """Cut the rows of each split into shards of equal length, at most `per_shard`."""
    planned = []
    for split in SPLITS:
        rows = split_rows(selection, chosen, split)
        parts = np.array_split(rows, math.ceil(len(rows) / per_shard)) if len(rows) else []
        planned += [PlannedShard(split, f"{split}-{number}-{idx:05d}.tar", part) for idx, part in enumerate(parts)]
    return planned


def _images_per_shard(run: engines.Run, request: Request, job: Job, selection: Selection) -> int:
    """How many images make a shard of the wanted size, by encoding a few that lie evenly over all of them."""
    picks = np.unique(np.linspace(0, max(len(selection.chosen) - 1, 0), PROBES).astype(np.int64))
    rows = selection.chosen[picks] if len(selection.chosen) else selection.chosen
    tasks = [_task(job, selection, Path("probe"), part) for part in np.array_split(rows, 8) if len(part)]
    sizes = [size for part in run(encoded_sizes, tasks) for size in part]
    mean = sum(sizes) / len(sizes) if sizes else 1
    return max(1, int(request.params.shard_mb * 2**20 / (mean + _MEMBER_OVERHEAD)))


def _build_planned(
    run: engines.Run, request: Request, job: Job, selection: Selection, planned: list[PlannedShard], work: Path
) -> None:
    def task(shard: PlannedShard) -> ShardTask:
        return _task(job, selection, work / shard.name, shard.rows)

    unfinished = [shard for shard in planned if not (work / shard.name).exists() or not is_finished(task(shard))]
    tasks = map(task, unfinished)
    total = sum(len(shard.rows) for shard in unfinished)
    progress = Progress(total, f"images {request.dataset}")
    for count in run(build_shard, tasks):
        progress.update(count)
    progress.close(f"{len(planned) - len(unfinished)} of {len(planned)} shards were finished before")


def _task(job: Job, selection: Selection, path: Path, rows: np.ndarray) -> ShardTask:
    table = selection.rows.take(pa.array(rows))
    columns = [table[name].to_pylist() for name in ("sample_key", "export", "lmdb_key", "bytes")]
    return ShardTask(job=job, path=path.absolute(), rows=list(zip(*columns, strict=True)))


def _replacements(selection: Selection, planned: list[PlannedShard], work: Path) -> np.ndarray:
    """Rows of the reserves, as many for each export as the round has lost."""
    if not any(selection.reserve.values()):
        return np.array([], dtype=np.int64)
    lost: dict[str, int] = {}
    for shard in planned:
        record = _record(work, shard)
        rejected = {row["sample_key"] for row in record["rejected"]}
        table = selection.rows.take(pa.array(shard.rows))
        for key, export in zip(table["sample_key"].to_pylist(), table["export"].to_pylist(), strict=True):
            lost[export] = lost.get(export, 0) + (key in rejected)
    taken: list[int] = []
    for export, count in lost.items():
        taken += selection.reserve[export][:count]
        selection.reserve[export] = selection.reserve[export][count:]
    return np.array(sorted(taken), dtype=np.int64)


def _record(work: Path, shard: PlannedShard) -> dict[str, Any]:
    record = read_record(work / shard.name)
    if record is None:
        raise UserError(f"{work / shard.name}: vanished while the build ran; repeat the command")
    return record


def _publish(
    request: Request, selection: Selection, shards: list[PlannedShard], work: Path, built: Path
) -> dict[str, Any]:
    """Fill `built` with the finished shards, their index, the rejected rows and the manifest."""
    splits: dict[str, dict[str, Any]] = {split: {"images": 0, "shards": []} for split in SPLITS}
    keys = selection.rows["sample_key"]
    rejected = [
        {"sample_key": keys[idx].as_py(), "reason": reason, "detail": detail}
        for idx, (reason, detail) in sorted(selection.rejected.items())
    ]
    upscaled = 0
    with parquet.ParquetWriter(built / "index.parquet", INDEX, compression="zstd") as index:
        for shard in shards:
            record = _record(work, shard)
            upscaled += record["upscaled"]
            rejected += record["rejected"]
            if not record["members"]:
                continue
            split = splits[shard.split]
            number = len(split["shards"])
            name = f"{shard.split}-{number:05d}.tar"
            _link(work / shard.name, built / name)
            members = record["members"]
            split["images"] += len(members)
            split["shards"].append(
                {"name": name, "images": len(members), "bytes": record["bytes"], "sha256": record["sha256"]}
            )
            index.write_table(_index_rows(shard.split, number, members))
    rejected.sort(key=lambda row: (row["sample_key"], row["reason"]))
    parquet.write_table(pa.Table.from_pylist(rejected, REJECTED), built / "rejected.parquet", compression="zstd")
    reasons = [row["reason"] for row in rejected]
    width, height = geometry.canvas_size(request.params.geometry, request.params.width, request.params.height)
    manifest = {
        "format": FORMAT,
        "dataset": request.dataset,
        "width": width,
        "height": height,
        "geometry": request.params.geometry,
        "small": request.params.small,
        "resampling": imaging.RESAMPLING,
        "encoding": {"format": request.params.format, "quality": request.params.quality},
        "read": len(selection.rows),
        "written": sum(split["images"] for split in splits.values()),
        "upscaled": upscaled,
        "rejected": {reason: reasons.count(reason) for reason in sorted(set(reasons))},
        "splits": splits,
    }
    if manifest["read"] != manifest["written"] + len(rejected):
        counts = f"read {manifest['read']}, wrote {manifest['written']}, rejected {len(rejected)}"
        raise AssertionError(f"{built}: {counts}: images were lost")
    if not manifest["written"]:
        places = ", ".join(str(path) for path in request.exports.values())
        raise UserError(f"{places}: none of {manifest['read']} images can be kept: {manifest['rejected']}")
    write_json(built / "manifest.json", manifest)
    return manifest


def _index_rows(split: str, number: int, members: list[list[Any]]) -> pa.Table:
    names, offsets, sizes = zip(*members, strict=True)
    stems = [name.rsplit(".", 1)[0] for name in names]
    columns = [[split] * len(names), [number] * len(names), stems, list(offsets), list(sizes)]
    return pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, INDEX, strict=True)], schema=INDEX)


def _link(source: Path, target: Path) -> None:
    """A second name for a finished shard, or a copy where the places are on different file systems."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
