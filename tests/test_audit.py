"""An audit that did not look is no audit."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "audit.py"


@pytest.fixture(scope="module")
def audit():
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_findings_skips_and_silence_are_problems(audit):
    report = {
        "dependencies": [
            {"name": "fine", "version": "1", "vulns": []},
            {"name": "Bad.One", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]},
            {"name": "torch", "skip_reason": "Dependency not found on PyPI"},
        ]
    }
    lines = audit.problems_of(report, {"fine": "1", "bad-one": "1", "torch": "2", "forgotten": "3"})
    assert lines == [
        "bad-one 1: CVE-1, mended in 2",
        "torch: not looked up: Dependency not found on PyPI",
        "forgotten: not looked up: the report does not name it",
    ]
    assert audit.problems_of({"dependencies": report["dependencies"][:1]}, {"fine": "1"}) == []


def test_every_package_of_the_lock_is_asked_for(audit):
    text = (SCRIPT.parents[1] / "requirements.lock").read_text(encoding="utf-8")
    names = [line.partition("==")[0] for line in text.splitlines() if "==" in line and line[0].isalpha()]
    assert sorted(dict(audit.LOCKED.findall(text))) == sorted(names) and len(names) > 100
