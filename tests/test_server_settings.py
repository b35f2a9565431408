"""What server and workers are told by their environment: Postgres for the server alone, loopback, no telemetry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows import daemon, server
from flows.database import VARIABLES
from textgan.errors import UserError

POSTGRES = "postgresql+asyncpg://textgan:s3cret@db.example:5432/prefect"


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[list[str], dict[str, str]]]:
    """Commands and environments of what would have been started."""
    found: list[tuple[list[str], dict[str, str]]] = []

    def spawn(_record: Path, command: list[str], _log: Path, environment: dict[str, str], _cwd: Path) -> Any:
        found.append((command, environment))

    monkeypatch.setattr(daemon, "spawn", spawn)
    monkeypatch.setattr(server, "HOME", tmp_path)
    for name in ("TEXTGAN_POOLS", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    return found


def test_postgres_reaches_the_server_and_no_worker(spawned, monkeypatch):
    """Prefect itself reads the setting, and the driver that it needs is installed."""
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", POSTGRES)
    environment = server._environment("http://127.0.0.1:4200/api")
    assert environment["PREFECT_API_DATABASE_CONNECTION_URL"] == POSTGRES
    code = (
        "import asyncpg; from prefect.settings import get_current_settings as now; "
        "print(now().server.database.connection_url.get_secret_value(), now().server.analytics_enabled)"
    )
    environment["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert shown.stdout.split() == [POSTGRES, "False"], shown.stderr
    assert server._workers(environment) == ["cpu", "gpu"]
    assert [POSTGRES in " ".join([*command, *given.values()]) for command, given in spawned] == [False, False]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", " is no address of a database; it must begin with postgresql+asyncpg:// or sqlite+aiosqlite://"),
        ("postgresql+asyncpg://me:x@y:s3cret@db.example/p", " is no address of a database; it must begin with"),
        ("postgresql+asyncpg://me:x@s3cret@db.example/p", " has more than one @; in a password, @ : / must be written"),
        ("postgresql://me:s3cret@db.example/p", " is postgresql://me:***@db.example/p; it must begin with"),
        ("postgresql+asyncpg://me:s3cret@127.0.0.1:1/p", ":***@127.0.0.1:1/p; the database cannot be used: "),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line_before_anything_starts(spawned, monkeypatch, url, words):
    """Of the two names of the setting Prefect reads this one first; the password is in no message."""
    monkeypatch.setenv(VARIABLES[1], POSTGRES)
    monkeypatch.setenv(VARIABLES[0], url)
    with pytest.raises(UserError) as caught:
        server._server()
    said = str(caught.value)
    assert said.startswith(VARIABLES[0]) and words in said and "s3cret" not in said
    assert spawned == []


def test_a_machine_starts_the_workers_of_its_pools(spawned, monkeypatch):
    """One run at once on the pool gpu: worker and pool both say so."""
    monkeypatch.setenv("TEXTGAN_POOLS", "gpu")
    assert server._workers(server._environment("http://127.0.0.1:1/api")) == ["gpu"]
    [(command, environment)] = spawned
    assert command[command.index("--pool") + 1] == "gpu" and command[command.index("--limit") + 1] == "1"
    assert server.POOLS["gpu"] == 1
    assert environment["TEXTGAN_HERE"] == str(server.ROOT)
    monkeypatch.setenv("TEXTGAN_POOLS", "tpu")
    with pytest.raises(UserError, match="TEXTGAN_POOLS is 'tpu'; it must name some of cpu, gpu"):
        server._workers(server._environment("http://127.0.0.1:1/api"))


def test_a_flow_by_hand_without_its_server_is_one_line(monkeypatch, tiny_repository):
    """Nothing has run then, and Prefect has not been asked."""
    from flows import pipeline

    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    with pytest.raises(UserError, match="no Prefect server answers there, and `make server` starts one"):
        pipeline.main()
    assert not (tiny_repository / "pids").exists()


def test_a_worker_without_its_server_says_so(spawned, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="PREFECT_API_URL is not set"):
        server.worker()
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    with pytest.raises(UserError, match="no Prefect server answers there"):
        server.worker()
    assert spawned == []
