"""Dask as an engine: workers elsewhere, with threads, killed, without a scheduler."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from pipeline import build, engines, ingest
from tests import dask_machines
from tests.dying_workers import die_always, own_pid
from tests.lmdb_exports import pictures, write_lmdb
from tests.test_images import INGEST, PARAMS
from textgan.errors import UserError
from textgan.files import sha256_file


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nonsense", "it must be HOST:PORT"),
        ("nonsense://x:1", "it must be HOST:PORT"),
        ("tcp://", "it must be HOST:PORT"),
        ("127.0.0.1:port", "it must be HOST:PORT"),
        ("tls://127.0.0.1:1", "knows no certificates"),
        ("tcp://127.0.0.1:1", "Timed out trying to connect"),
    ],
)
def test_an_address_of_no_scheduler_is_one_line(monkeypatch: pytest.MonkeyPatch, address: str, message: str) -> None:
    """Whatever stands in TEXTGAN_DASK."""
    pytest.importorskip("distributed")
    monkeypatch.setenv("TEXTGAN_DASK", address)
    monkeypatch.setattr(engines, "CONNECT_SECONDS", 0.5)
    with pytest.raises(UserError, match=f"TEXTGAN_DASK is .*{message}"), engines.opened(1):
        pass


@pytest.mark.slow
def test_workers_elsewhere_with_threads_get_whole_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths, as the stages have them, mean the same files to a worker that stands in another directory."""
    pytest.importorskip("distributed")
    monkeypatch.chdir(tmp_path)
    exports = {"cat": write_lmdb(Path("data/exports/d/cat"), pictures(40))}
    Path("inventory").mkdir()
    ingest.write_inventory(exports, INGEST, Path("inventory"))
    request = build.Request(
        dataset="d",
        inventory=Path("inventory/inventory.parquet"),
        exports=exports,
        params=dataclasses.replace(PARAMS, duplicates="perceptual"),
        seed=0,
        max_pixels=1_000_000,
        workers=1,
    )
    build.build(request, Path("work"), Path("here"))
    with dask_machines.started(tmp_path, threads=4) as (address, _):
        monkeypatch.setenv("TEXTGAN_DASK", address)
        build.build(request, Path("work"), Path("there"))
    assert {path.name: sha256_file(path) for path in Path("here").iterdir()} == {
        path.name: sha256_file(path) for path in Path("there").iterdir()
    }


@pytest.mark.slow
def test_killed_workers_and_a_lost_scheduler_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback of Dask's, and no waiting for ever."""
    pytest.importorskip("distributed")
    with dask_machines.started(tmp_path, threads=1) as (address, scheduler):
        monkeypatch.setenv("TEXTGAN_DASK", address)
        with pytest.raises(UserError, match="Dask workers were killed"), engines.opened(1) as run:
            list(run(die_always, range(2)))
        with pytest.raises(UserError, match="a Dask worker: .*nowhere: No such file"), engines.opened(1) as run:
            list(run(os.stat, ["/nowhere"]))
        with pytest.raises(UserError, match="scheduler at .* is lost"), engines.opened(1) as run:
            results = run(own_pid, range(1000))
            next(results)
            scheduler.kill()
            list(results)
