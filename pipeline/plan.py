"""`textgan plan PRESET`: disk, hours and images before anything starts, from a measured sample of the exports.

An export that is not on this machine is said to be missing, with what the server lists where it is in S3; no number
is made up for it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
import yaml

from pipeline.costs import Costs, measure
from pipeline.engines import worker_count
from pipeline.lsun import ARCHIVES
from pipeline.s3 import SCHEME, brought, listed
from textgan import params as params_file
from textgan.errors import UserError
from textgan.params import DatasetParams, Params

PRESETS = Path("presets")
SUPPLIED = Path(__file__).resolve().parents[1] / "presets"
"""Those of the checkout that this code is in, for any other working directory."""
EXPORTS = Path("data/exports")
PLACES = Path("exports.local.yaml")
ROOT_VARIABLE = "TEXTGAN_LSUN_ROOT"
RUNS = Path("runs")
SAMPLE = 200
"""Images of each export that are measured."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one export will take, scaled from its costs."""

    images: int
    bytes: float
    """Of all outs that were measured: inventory, image shards, captions."""
    seconds: float
    """Of one core, without waiting for the disk."""


def plan(
    preset: Annotated[str, typer.Argument(help="A preset's name, or a parameter file.")],
    exports: Annotated[
        list[str] | None, typer.Option(help="NAME=PLACE of an export, or a place that has them by name. Repeatable.")
    ] = None,
    sample: Annotated[int, typer.Option(help="Images of each export to measure.")] = SAMPLE,
) -> None:
    """Say what a preset will take: disk, hours, images."""
    if sample < 1:
        raise UserError(f"--sample is {sample}; it must be at least 1")
    file = preset_file(preset)
    loaded = params_file.load(file)
    given = exports or []
    check_given(given, loaded)
    print(f"plan {file}: {sample} images of each export measured; hours are of one core, without waiting for the disk")
    total, missing = Estimate(0, 0.0, 0.0), list[str]()
    for name, dataset in sorted(loaded.datasets.items()):
        print(f"{name}: {dataset.images.width}x{dataset.images.height} {dataset.images.format}")
        for export in dataset.exports:
            place = locate(export, name, name in loaded.draw, given)
            if place is None:
                missing.append(export)
                print(f"  {export}: not on this machine, so not measured; {how_to_get(export, name, loaded)}")
                continue
            if isinstance(place, str):
                missing.append(export)
                print(f"  {export}: {place}, {describe_remote(place)}; not brought to this machine, so not measured")
                continue
            costs = measure(export, place, dataset, sample)
            estimate = scale(costs, dataset)
            total = Estimate(
                total.images + estimate.images, total.bytes + estimate.bytes, total.seconds + estimate.seconds
            )
            print("\n".join(describe(export, place, costs, estimate, dataset)))
        print(f"  training: {describe_training(name, dataset)}")
    print(conclusion(total, missing))


def preset_file(preset: str) -> Path:
    """The file of a preset's name, or the file itself. Raises UserError."""
    presets = PRESETS if PRESETS.is_dir() else SUPPLIED
    path = presets / f"{preset}.yaml"
    if path.exists():
        return path
    if preset.endswith(".yaml") and Path(preset).exists():
        return Path(preset)
    names = sorted(path.stem for path in presets.glob("*.yaml") if not path.stem.endswith(".smoke"))
    raise UserError(f"preset {preset!r} is unknown; {presets}/ has {', '.join(names) or 'none'}, or name a .yaml file")


def check_given(given: list[str], loaded: Params) -> None:
    """Refuse --exports that name nothing the preset has."""
    names = {export for dataset in loaded.datasets.values() for export in dataset.exports}
    for entry in given:
        name, is_named, path = entry.partition("=")
        if is_named and name not in names:
            raise UserError(f"--exports {entry}: the preset has no export {name!r}; it has {', '.join(sorted(names))}")
        place = path if is_named else entry
        if not place.startswith(SCHEME) and not Path(place).expanduser().exists():
            raise UserError(f"--exports {entry}: no such file or directory")


def locate(export: str, dataset: str, is_drawn: bool, given: list[str]) -> Path | str | None:
    """Where an export is: as given, as drawn, as exports.local.yaml or TEXTGAN_LSUN_ROOT say; None where nowhere.

    An `s3://` place is where it was brought to, else the URL itself.
    """
    for place in _places(export, dataset, is_drawn, given):
        if place.startswith(SCHEME):
            return brought(place) or place
        if (path := Path(place).expanduser()).exists():
            return path
    return None


def describe_remote(url: str) -> str:
    """What the server lists of an export in S3."""
    images, size = listed(url)
    return f"an LMDB of {_size(size)}" if images is None else f"{images} images of {_size(size)}"


def _places(export: str, dataset: str, is_drawn: bool, given: list[str]) -> Iterator[str]:
    for entry in given:
        name, is_named, path = entry.partition("=")
        if is_named and name == export:
            yield path
        elif not is_named:
            yield f"{entry.rstrip('/')}/{export}"
    if is_drawn:
        yield str(EXPORTS / dataset / export)
        return
    if PLACES.exists():
        try:
            places = yaml.safe_load(PLACES.read_text(encoding="utf-8")) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{PLACES}: not YAML: {error}") from None
        if isinstance(places, dict) and isinstance(places.get(export), str):
            yield places[export]
    if root := os.environ.get(ROOT_VARIABLE):
        yield f"{root.rstrip('/')}/{export}"


def how_to_get(export: str, dataset: str, loaded: Params) -> str:
    """What to do about a missing export."""
    if dataset in loaded.draw:
        return f"`dvc repro draw@{dataset}` draws {loaded.draw[dataset].images} images of each kind"
    places = f"write its place into {PLACES}, set {ROOT_VARIABLE}, or give --exports {export}=PATH"
    if export not in ARCHIVES:
        return places
    size = ARCHIVES[export].bytes
    if size is None:
        return f"{places}; `textgan fetch {export}` downloads it"
    # Archive and LMDB are both there while it is unpacked; the LMDB is at least about as large.
    return f"{places}; `textgan fetch` would download {_size(size)} and needs {_size(2 * size)} until it is unpacked"


def scale(costs: Costs, params: DatasetParams) -> Estimate:
    """Costs of a sample, times the entries of the export."""
    images = round(costs.entries * costs.kept / costs.sampled)
    if params.images.max_images is not None:
        images = min(images, params.images.max_images)
    each_bytes = (costs.image_bytes or 0.0) + (costs.caption_bytes or 0.0)
    each_seconds = (costs.image_seconds or 0.0) + (costs.caption_seconds or 0.0)
    return Estimate(
        images,
        costs.entries * costs.inventory_bytes + images * each_bytes,
        costs.entries * costs.ingest_seconds + images * each_seconds,
    )


def describe(export: str, place: Path, costs: Costs, estimate: Estimate, params: DatasetParams) -> list[str]:
    """The lines about one export."""
    low, high = costs.kept_interval
    reasons = ", ".join(f"{count} {reason}" for reason, count in costs.rejected.items())
    limit = params.images.max_images
    raw = f"about {_size(costs.entries * costs.entry_bytes)} of images"
    lines = [
        f"  {export}: {place}, {costs.entries} entries, {raw}",
        f"    kept: {costs.kept} of {costs.sampled}, so {_percent(low, high)}; rejected: {reasons or 'none'}",
        f"    images: {estimate.images}" + (f" (max_images {limit})" if limit is not None else ""),
        f"    ingest: {_hours(costs.entries * costs.ingest_seconds)}, {_size(costs.entries * costs.inventory_bytes)}",
    ]
    if costs.image_bytes is None or costs.image_seconds is None:
        return [*lines, "    shards: not measured, no image of the sample can be built"]
    error = f" +- {100 * costs.image_bytes_error:.0f} %" if costs.image_bytes_error else ""
    rate = f"{1 / max(costs.image_seconds, 1e-9):.0f} images a second and core"
    size = _size(estimate.images * costs.image_bytes)
    lines.append(f"    shards: {_hours(estimate.images * costs.image_seconds)} ({rate}), {size}{error}")
    if costs.caption_seconds is None or costs.caption_bytes is None:
        lines.append(f"    captions: {costs.caption_note}")
    else:
        size = _size(estimate.images * costs.caption_bytes)
        lines.append(f"    captions: {_hours(estimate.images * costs.caption_seconds)}, {size}")
    return lines


def describe_training(name: str, params: DatasetParams) -> str:
    """How long training is, and its hours where the same training ran here before."""
    shown = f"{params.train.total_kimg:g} kimg shown, batches of {params.train.batch_size}"
    seconds = seconds_per_image(name, params)
    if seconds is None:
        return f"{shown}; hours are not measured, the first tick of a run says them"
    hours = params.train.total_kimg * 1000 * seconds / 3600
    return f"{shown}; {hours:.1f} h at the rate of {RUNS / name}/clock.jsonl, the last run of these parameters here"


def seconds_per_image(name: str, params: DatasetParams) -> float | None:
    """By the clock of the last training of dataset `name`, where params.yaml has the same train section."""
    try:
        if params_file.load().datasets[name].train != params.train:
            return None
        lines = (RUNS / name / "clock.jsonl").read_text(encoding="utf-8").splitlines()
        ticks = [(tick["cur_nimg"], tick["seconds"]) for tick in map(json.loads, lines)]
        # Its clock begins anew where a training goes on; of all ticks since, for images of half the size are faster.
        begun = max((idx for idx in range(1, len(ticks)) if ticks[idx][1] < ticks[idx - 1][1]), default=0)
        before, after = ticks[begun], ticks[-1]
    except (UserError, OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    images, seconds = after[0] - before[0], after[1] - before[1]
    return seconds / images if images > 0 and seconds > 0 else None


def conclusion(total: Estimate, missing: list[str]) -> str:
    """The closing lines. Raises UserError where the disk is too small."""
    if not total.images and missing:
        return "nothing was measured: no export is on this machine"
    workers, free = worker_count(), shutil.disk_usage(".").free
    part = f" without {', '.join(missing)}" if missing else ""
    counts = f"{total.images} images, {_size(total.bytes)} of disk (pairs, models and the storage's copy not counted)"
    hours = f"{_hours(total.seconds)} of one core, {_hours(total.seconds / workers)} with {workers} workers"
    if total.bytes > free:
        raise UserError(f"total{part}: {counts}; {_size(free)} are free here: not enough")
    return f"total{part}: {counts}; {hours}; {_size(free)} are free here"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.2g} h" if seconds >= 360 else f"{seconds:.2g} s"


def _percent(low: float, high: float) -> str:
    return f"{100 * low:.1f} %" if low == high else f"{100 * low:.1f} to {100 * high:.1f} %"
