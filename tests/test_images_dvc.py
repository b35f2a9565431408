"""The data stages under DVC: what a kill leaves, and what workers, engine and place do not change."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from flows import torn
from tests.lmdb_exports import encode, picture, write_lmdb
from textgan.files import sha256_file

PROJECT = Path(__file__).parents[1]
STAGES = ("ingest", "images")
KILLS = 20
ENTRIES = 1600
OUT = "data/images/catcar"


def repository(place: Path) -> Path:
    """Our graph's ingest and images stages and their code, on exports of repeated pictures with some bad values."""
    place.mkdir()
    (place / ".dvc").mkdir()
    config = (PROJECT / ".dvc/config").read_text().replace("[core]\n", "[core]\n    no_scm = true\n")
    (place / ".dvc/config").write_text(config)
    shutil.copy(PROJECT / ".dvcignore", place)
    for package in ("pipeline", "textgan"):
        shutil.copytree(PROJECT / package, place / package, ignore=shutil.ignore_patterns("__pycache__"))
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
    (place / "dvc.yaml").write_text(yaml.safe_dump({"stages": {name: stages[name] for name in STAGES}}))
    params = yaml.safe_load((PROJECT / "presets/sample.yaml").read_text())
    params["datasets"]["catcar"]["images"] |= {"width": 128, "height": 128, "shard_mb": 1, "duplicates": "keep"}
    (place / "params.yaml").write_text(yaml.safe_dump(params))
    values = [encode(picture(200, 160, idx)) for idx in range(24)]
    for export in ("cat", "car"):
        entries = {f"{export}{idx:036d}".encode(): values[idx % len(values)] for idx in range(ENTRIES // 2)}
        write_lmdb(place / "data/exports/catcar" / export, entries | {b"cut": values[0][:900], b"text": b"none"})
    return place


def dvc(place: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """A DVC command that leads a process group of its own."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    paths = {"PATH": programs, "DVC_SITE_CACHE_DIR": str(place.parent / "site"), "DVC_NO_ANALYTICS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=place,
        env=os.environ | {"TEXTGAN_WORKERS": "2"} | paths | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def finished(process: subprocess.Popen[str]) -> str:
    """What a command prints, which must end well."""
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    return printed


def result(place: Path) -> dict[str, str]:
    """The sha256 of dvc.lock and of every file of the shards, manifest included."""
    files = [place / "dvc.lock", *sorted((place / OUT).iterdir())]
    return {file.name: sha256_file(file) for file in files}


def finished_shards(place: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of writing of each finished shard of a build that is not published."""
    tars = place.glob(".state/unfinished/images/*/*.tar")
    stats = {tar.name: tar.stat() for tar in tars if tar.with_suffix(".json").exists()}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


def forget(place: Path) -> None:
    """Nothing was ever built here."""
    for name in ("data/inventory", "data/images", ".dvc/cache", ".dvc/tmp", ".state"):
        shutil.rmtree(place / name, ignore_errors=True)
    (place / "dvc.lock").unlink(missing_ok=True)


def killed(place: Path, process: subprocess.Popen[str], seconds: float, shards: float) -> bool:
    """End all of a command when it has taken so long or has finished so many shards; False where it ended before."""
    start = time.monotonic()
    while time.monotonic() - start < seconds and len(finished_shards(place)) < shards:
        if process.poll() is not None:
            return False
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return True


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_repros_lose_and_change_nothing(tmp_path: Path) -> None:
    """SIGKILL of all of `dvc repro` at 20 random moments: equal results, and no finished shard is built again.

    Half of the moments lie anywhere in the command, half of them in the midst of the building.
    """
    place = repository(tmp_path / "place")
    start = time.monotonic()
    finished(dvc(place, "repro"))
    whole = time.monotonic() - start
    expected = result(place)
    planned = len([name for name in expected if name.endswith(".tar")])
    assert planned > 12
    random = np.random.default_rng(0)
    kills = resumed = 0
    forget(place)
    while kills < KILLS or finished_shards(place):
        before = finished_shards(place)
        torn.mend(place, print)  # as `textgan repro` does: DVC does not write its own files atomically
        process = dvc(place, "repro")
        seconds, shards = float("inf"), float("inf")
        if kills % 2:
            shards = len(before) + random.integers(1, max(2, planned - len(before)))
        elif kills < KILLS:
            seconds = random.uniform(0, whole)
        if killed(place, process, seconds, shards):
            kills += 1
            assert before.items() <= finished_shards(place).items()  # also where it was killed after the publication
            continue
        printed, _ = process.communicate()
        assert process.returncode == 0, printed
        assert result(place) == expected
        if before and "Running stage 'images@catcar'" in printed:  # else DVC had recorded it before it was killed
            assert f"{len(before)} of {planned} shards were finished before" in printed
            resumed += 1
        forget(place)
    finished(dvc(place, "repro"))
    assert result(place) == expected
    assert "up to date" in finished(dvc(place, "status"))
    assert [path.name for path in (place / OUT).parent.iterdir() if path.name != ".gitignore"] == ["catcar"]
    assert resumed > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_workers_engine_and_place_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another number of workers, Dask, and another place leave `dvc status` clean, and building again the same lock."""
    distributed = pytest.importorskip("distributed")
    place = repository(tmp_path / "place")
    finished(dvc(place, "repro"))
    expected = result(place)
    place = place.rename(tmp_path / "elsewhere")
    monkeypatch.chdir(place)  # where Dask's workers start
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        for environment in ({"TEXTGAN_WORKERS": "1"}, {"TEXTGAN_DASK": cluster.scheduler_address}):
            assert "up to date" in finished(dvc(place, "status", **environment))
            assert "Running stage 'images@catcar'" in finished(dvc(place, "repro", "--force", **environment))
            assert result(place) == expected
            assert "up to date" in finished(dvc(place, "status"))
