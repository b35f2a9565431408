"""Fixtures that several test files share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import tiny_repository as tiny


@pytest.fixture
def tiny_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small git and DVC repository, not yet run; the working directory of the test."""
    place = tiny.make(tmp_path / "tiny")
    monkeypatch.chdir(place)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    return place
