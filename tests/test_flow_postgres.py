"""`make server` on a real PostgreSQL by its URL: a cron run, a database that restarts, a password that stays unsaid."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import daemon, graph
from flows.database import VARIABLES
from flows.seaweed import PORTS, is_free
from tests import tiny_repository as tiny
from tests.flow_server import OVER, Server, serving, wait_until

DEBIAN = sorted(str(path) for path in Path("/usr/lib/postgresql").glob("*/bin"))
PROGRAMS = os.pathsep.join([os.environ.get("PATH", os.defpath), *DEBIAN[::-1]])
INITDB, POSTGRES = shutil.which("initdb", path=PROGRAMS), shutil.which("postgres", path=PROGRAMS)
PASSWORD = "word-of-the-database"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(INITDB is None or POSTGRES is None, reason="PostgreSQL (initdb, postgres) is not installed"),
]


class Postgres:
    """A PostgreSQL of its own on loopback. It refuses to be root's: then it is nobody's."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.port = next(port for port in PORTS if is_free(port))
        self.user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self.user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
            shutil.chown(place, "nobody")
        (place / "password").write_text(PASSWORD)
        settings = ["-U", "textgan", "-A", "scram-sha-256", f"--pwfile={place / 'password'}", "-E", "UTF8"]
        command = [str(INITDB), "-D", str(place / "data"), "--locale=C", *settings]
        subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL, **self.user)
        self.start()

    def url(self, password: str = PASSWORD) -> str:
        return f"postgresql+asyncpg://textgan:{password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        place = str(self.place)
        command = [str(POSTGRES), "-D", f"{place}/data", "-h", "127.0.0.1", "-p", str(self.port), "-k", place]
        with open(self.place / "log", "ab") as log:
            self.process = subprocess.Popen(command, cwd=place, stdout=log, stderr=log, **self.user)
        wait_until(self.answers, "PostgreSQL answers")

    def stop(self) -> None:
        """At once, as when its machine restarts: every connection is cut."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)

    def answers(self) -> bool:
        try:
            return bool(self.ask("SELECT 1"))
        except OSError:
            return False

    def ask(self, query: str) -> Any:
        """The first value of a query."""
        import asyncpg

        async def ask() -> Any:
            connection = await asyncpg.connect(self.url().replace("+asyncpg", ""))
            try:
                return await connection.fetchval(query)
            finally:
                await connection.close()

        return asyncio.run(ask())


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    place = Path(tempfile.mkdtemp(prefix="textgan-postgres-"))  # pytest's own directories are closed to nobody
    postgres = Postgres(place)
    try:
        yield postgres
    finally:
        postgres.stop()
        shutil.rmtree(place)


@pytest.fixture(scope="module")
def server(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = tiny.make(tmp_path_factory.mktemp("postgres") / "tiny")
    with serving(place, "pipeline", cron="* * * * *", **{VARIABLES[1]: postgres.url()}) as server:
        yield server


def test_a_cron_run_is_in_postgres_and_no_database_is_here(server, postgres):
    wait_until(lambda: bool(server.runs()), "a scheduled run begins")
    server.ask("PATCH", f"/deployments/{server.deployment()}", {"paused": True, "schedules": []})
    wait_until(lambda: all(run["state_type"] in OVER for run in server.runs()), "scheduled runs end")
    runs = server.runs()
    assert {run["state_type"] for run in runs} == {"COMPLETED"} and all(run["auto_scheduled"] for run in runs)
    assert postgres.ask("SELECT count(*) FROM flow_run WHERE state_type = 'COMPLETED'") == len(runs)
    assert list(server.home.glob("*.db*")) == []
    assert graph.read(server.place).to_run() == []
    server.ask("PATCH", f"/deployments/{server.deployment()}", {"paused": False})


def test_after_the_database_restarts_the_next_run_completes(server, postgres):
    """The server stays: nobody has to start it again."""
    before = daemon.find(server.home / "server.json")
    postgres.stop()
    postgres.start()
    assert server.run(force=True).startswith("COMPLETED")
    assert before is not None and daemon.find(server.home / "server.json") == before


def test_the_password_is_in_no_file_and_no_worker_has_it(server):
    assert server.files_with(PASSWORD) == []
    for name, has in (("server", True), ("worker-cpu", False), ("worker-gpu", False)):
        process = daemon.find(server.home / f"{name}.json")
        assert process is not None and (PASSWORD in str(process.environ())) is has, name
        assert PASSWORD not in " ".join(process.cmdline())


def test_another_password_is_one_line_and_nothing_is_started(server, postgres):
    server.call("flows.server", "stop")
    server.environment[VARIABLES[1]] = postgres.url("another-word")
    said = server.refused("flows.server", "start")
    server.environment[VARIABLES[1]] = postgres.url()
    assert f"{VARIABLES[1]} is postgresql+asyncpg://textgan:***@127.0.0.1:{postgres.port}/postgres; " in said
    assert 'password authentication failed for user "textgan"' in said and "another-word" not in said
    assert daemon.find(server.home / "server.json") is None
