"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import tiny_repository as tiny
from tests import toy_graph

# Before torch is imported: `make test` runs two processes, and bits depend on the number of threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def tiny_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small git and DVC repository, not yet run; the working directory of the test."""
    place = tiny.make(tmp_path / "tiny")
    monkeypatch.chdir(place)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    return place


def pytest_sessionfinish() -> None:
    """In every test process: what `toy_graph` shares between the files of one."""
    toy_graph.clear()
