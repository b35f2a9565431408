"""The plan is what the stages then take, and says what it does not know."""

from __future__ import annotations

import json
import os
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import build, costs, ingest
from pipeline.exports import LmdbExport, open_export
from pipeline.plan import locate, plan, scale, seconds_per_image
from tests.lmdb_exports import encode, picture, pictures, write_lmdb
from textgan import params as params_file
from textgan.errors import UserError
from textgan.params import DatasetParams

SAMPLE = Path(__file__).parents[1] / "presets" / "sample.yaml"
REAL = os.environ.get("TEXTGAN_LSUN_ROOT")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, and no exports from this machine's settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TEXTGAN_LSUN_ROOT", raising=False)


def write_preset(path: Path, is_drawn: bool = False, exports: tuple[str, ...] = ("cat",), **images: Any) -> Path:
    """A parameter file with one dataset `d`."""
    value = yaml.safe_load(SAMPLE.read_text())
    dataset = next(iter(value["datasets"].values()))
    dataset["exports"] = list(exports)
    dataset["images"] |= {"width": 48, "height": 48, "small": "reject", "shard_mb": 1} | images
    draw = next(iter(value["draw"].values()))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(value | {"draw": {"d": draw} if is_drawn else {}, "datasets": {"d": dataset}}))
    return path


def dataset(preset: Path) -> DatasetParams:
    return params_file.dataset("d", preset)


def build_really(params: DatasetParams, export: Path, out: Path) -> dict[str, Any]:
    """The manifest that ingest and images make of the export."""
    out.mkdir()
    ingest.write_inventory({"cat": export}, params.ingest, out)
    request = build.Request(
        dataset="d",
        inventory=out / "inventory.parquet",
        exports={"cat": export},
        params=params.images,
        seed=0,
        max_pixels=params.ingest.max_pixels,
        workers=1,
    )
    build.build(request, out / "work", out / "images")
    return json.loads((out / "images/manifest.json").read_text())


def test_a_whole_sample_is_exactly_what_the_stages_make(tmp_path: Path) -> None:
    """Where every entry is sampled, images, rejects and bytes are those of the build."""
    values = pictures(60) | {b"broken": b"text", b"cut": encode(picture(90, 90))[:600]}
    export = write_lmdb(tmp_path / "cat", values)
    params = dataset(write_preset(tmp_path / "p.yaml"))
    measured = costs.measure("cat", export, params, 1000)
    manifest = build_really(params, export, tmp_path / "built")
    assert measured.sampled == measured.entries == 62 and measured.kept == manifest["written"]
    assert measured.rejected == manifest["rejected"] and sum(measured.rejected.values()) > 3
    assert measured.kept_interval == (measured.kept / 62,) * 2 and measured.image_bytes_error == 0
    payload = sum(shard["bytes"] for split in manifest["splits"].values() for shard in split["shards"])
    estimate = scale(measured, params)
    assert estimate.images == manifest["written"]
    assert measured.image_bytes is not None
    assert payload * 0.7 < measured.image_bytes * measured.kept <= payload  # tars also end in padding


def test_a_sample_is_scaled_with_its_uncertainty(tmp_path: Path) -> None:
    """From a third of the entries: the true count lies in the interval, the same numbers on every run."""
    export = write_lmdb(tmp_path / "cat", pictures(90))
    params = dataset(write_preset(tmp_path / "p.yaml"))
    once, again = (costs.measure("cat", export, params, 30) for _ in range(2))
    assert (once.sampled, once.kept, once.image_bytes) == (30, again.kept, again.image_bytes)
    true = costs.measure("cat", export, params, 90)
    low, high = once.kept_interval
    assert low < true.kept / 90 < high and high - low > 0.1 and once.image_bytes_error > 0


def test_max_images_caps_images_and_not_ingest(tmp_path: Path) -> None:
    """A subset builds fewer images; the inventory still has a row for each entry."""
    export = write_lmdb(tmp_path / "cat", pictures(40))
    whole = dataset(write_preset(tmp_path / "p.yaml", small="upscale"))
    part = dataset(write_preset(tmp_path / "q.yaml", small="upscale", max_images=10))
    measured = costs.measure("cat", export, whole, 40)
    assert scale(measured, whole).images == 40 and scale(measured, part).images == 10
    saved = scale(measured, whole).bytes - scale(measured, part).bytes
    assert saved == pytest.approx(30 * ((measured.image_bytes or 0) + (measured.caption_bytes or 0)))


def test_large_exports_are_entered_at_random_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without listing the keys: all of the range is met, whatever the letters are, and the choice is repeatable."""
    monkeypatch.setattr(costs, "LISTED", 0)
    for name, keys in {
        "hex": [f"{index * 0x9E3779B97F4A7C15 % 2**64:016x}".encode() for index in range(3000)],
        "decimal": [f"{index:07d}".encode() for index in range(3000)],
    }.items():
        export = open_export(write_lmdb(tmp_path / name, {key: b"x" for key in keys}))
        assert isinstance(export, LmdbExport)
        chosen = costs.spread_keys(export, 100)
        assert chosen == costs.spread_keys(export, 100) and len(set(chosen)) == len(chosen) == 100
        ranks = [sorted(keys).index(key) / len(keys) for key in chosen]
        assert 0.3 < sum(ranks) / len(ranks) < 0.7 and max(ranks) > 0.8 and min(ranks) < 0.2


def test_missing_exports_are_said_and_have_no_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is not on the machine is named, with how to get it; the total says that it is without it."""
    write_lmdb(tmp_path / "root/cat", pictures(12))
    preset = write_preset(tmp_path / "p.yaml", exports=("cat", "car", "mine"))
    plan(str(preset), exports=[str(tmp_path / "root")], sample=5)
    out = capsys.readouterr().out
    assert "car: not on this machine, so not measured" in out and "`textgan fetch` would download 186 GB" in out
    assert "mine: not on this machine" in out and out.count("textgan fetch") == 1
    assert "total without car, mine: " in out
    assert "hours are not measured" in out
    plan(str(preset), exports=None, sample=5)
    assert "nothing was measured: no export is on this machine" in capsys.readouterr().out


def test_exports_are_found_where_the_stages_find_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given ones first, then exports.local.yaml, then the root; a drawn dataset is only where it is drawn."""
    for place in ("given", "local", "root", "data/exports/d"):
        write_lmdb(tmp_path / place / "cat", pictures(1))
    monkeypatch.setenv("TEXTGAN_LSUN_ROOT", str(tmp_path / "root"))
    assert locate("cat", "d", False, []) == tmp_path / "root/cat"
    Path("exports.local.yaml").write_text(f"cat: {tmp_path}/local/cat\n")
    assert locate("cat", "d", False, []) == tmp_path / "local/cat"
    assert locate("cat", "d", False, [f"cat={tmp_path}/given/cat"]) == tmp_path / "given/cat"
    assert locate("cat", "d", True, []) == Path("data/exports/d/cat")
    assert locate("car", "d", True, []) is None


def test_presets_are_found_by_name_and_by_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """presets/NAME.yaml, or a file; a drawn export that is not drawn yet is said to be so."""
    write_preset(tmp_path / "presets/tiny.yaml", is_drawn=True)
    plan("tiny", sample=5)
    assert "`dvc repro draw@d` draws" in capsys.readouterr().out
    mistakes: list[tuple[str, str, dict[str, Any]]] = [
        ("preset 'big' is unknown; presets/ has tiny", "big", {}),
        ("--exports dog=/: the preset has no export 'dog'; it has cat", "tiny", {"exports": ["dog=/"]}),
        ("--exports cat=nowhere: no such file", "tiny", {"exports": ["cat=nowhere"]}),
        ("--sample is 0", "tiny", {"sample": 0}),
    ]
    for message, name, options in mistakes:
        with pytest.raises(UserError, match=message):
            plan(name, **({"exports": None, "sample": 5} | options))


def test_supplied_presets_are_known_anywhere(capsys: pytest.CaptureFixture[str]) -> None:
    """In a directory that has no presets/ of its own, a name is one of the checkout's."""
    plan("sample", sample=5)
    assert "presets/sample.yaml" in capsys.readouterr().out
    with pytest.raises(UserError, match="preset 'big' is unknown; .*presets/ has .*sample"):
        plan("big", sample=5)


def test_too_small_a_disk_is_an_error_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan ends with an error where the outs do not fit."""
    export = write_lmdb(tmp_path / "cat", pictures(9))
    preset = write_preset(tmp_path / "p.yaml")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2000, 1000, 1000))
    with pytest.raises(UserError, match="1 kB are free here: not enough"):
        plan(str(preset), exports=[f"cat={export}"], sample=9)


def test_training_hours_come_from_a_run_of_the_same_parameters(tmp_path: Path) -> None:
    """The clock of the last run counts where params.yaml has the same train section; else nothing is said."""
    preset = write_preset(tmp_path / "p.yaml")
    assert seconds_per_image("d", dataset(preset)) is None
    Path("runs/d").mkdir(parents=True)
    ticks = [{"cur_nimg": 1000, "seconds": 30.0}, {"cur_nimg": 3000, "seconds": 70.0}]
    Path("runs/d/clock.jsonl").write_text("".join(json.dumps(tick) + "\n" for tick in ticks))
    assert seconds_per_image("d", dataset(preset)) is None
    write_preset(Path("params.yaml"))
    assert seconds_per_image("d", dataset(preset)) == pytest.approx(0.02)
    Path("runs/d/clock.jsonl").write_text(json.dumps(ticks[0]) + "\n")
    assert seconds_per_image("d", dataset(preset)) is None


def test_an_export_of_rejects_is_no_crash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing can be built from it: said, with the reasons."""
    export = write_lmdb(tmp_path / "cat", {b"a": b"", b"b": b"text", b"c": encode(picture(20, 20))})
    plan(str(write_preset(tmp_path / "p.yaml")), exports=[f"cat={export}"], sample=9)
    out = capsys.readouterr().out
    assert "1 empty, 1 too_small, 1 unknown_format" in out and "no image of the sample can be built" in out


@pytest.mark.photos
@pytest.mark.skipif(REAL is None, reason="TEXTGAN_LSUN_ROOT is not set")
@pytest.mark.parametrize("name", ["cat", "car"])
def test_the_plan_of_real_photos_holds(tmp_path: Path, name: str) -> None:
    """From 200 of some 3,000 photos: the images that the geometry keeps lie in the interval."""
    export = Path(REAL or "") / name
    params = dataset(write_preset(tmp_path / "p.yaml", width=256, height=256))
    measured = costs.measure(name, export, params, 200)
    rows = list(ingest.inventory_rows(name, open_export(export), params.ingest))
    kept = sum(row["status"] == "ok" and min(row["width"], row["height"]) >= 256 for row in rows)
    low, high = measured.kept_interval
    assert low <= kept / len(rows) <= high
