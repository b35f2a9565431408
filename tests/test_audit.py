"""An audit that did not look is no audit."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
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


ONE, TORCH = ({"name": name, "version": "1", "vulns": []} for name in ("one", "torch"))


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ({"dependencies": [ONE, TORCH]}, 0, "2 packages of the.lock and torch.lock, 0 problems"),
        ({"dependencies": [ONE]}, 1, "torch: not looked up: the report does not name it"),
        ({"dependencies": [{"name": "one", "skip_reason": "no answer"}]}, 1, "one: not looked up: no answer"),
        ({"dependencies": []}, 1, "one: not looked up: the report does not name it"),
        (None, 1, "pip-audit gave no report (exit 0)"),
    ],
)
def test_the_exit_code_is_0_only_where_every_package_was_looked_up(
    audit, tmp_path, monkeypatch, capsys, said, code, words
):
    """pip-audit itself ends with 0 in each of these cases."""
    monkeypatch.chdir(tmp_path)
    program = audit.PLACE / "bin" / "pip-audit"
    program.parent.mkdir(parents=True)
    (tmp_path / "report").write_text(json.dumps(said) if said else "")
    program.write_text("#!/bin/sh\ncat report\n")
    program.chmod(0o700)
    (tmp_path / "the.lock").write_text("one==1 \\\n    --hash=sha256:0\n")
    (tmp_path / "torch.lock").write_text("torch==2\n")
    monkeypatch.setattr(audit.sys, "argv", ["audit.py", "the.lock"])
    assert audit.main() == code
    captured = capsys.readouterr()
    assert words in captured.out + captured.err


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("torch.load(path)", "B614"),
        ("pickle.loads(path)", "B301"),
        ("tarfile.open(path).extractall(path)", "B202"),
        ("subprocess.run(path, shell=True)", "B602"),
        ("torch.load(path, weights_only=True)", ""),
    ],
)
def test_make_lint_refuses_what_the_security_page_says_it_refuses(tmp_path, line, rule):
    """By the options of the Makefile and the settings of pyproject.toml."""
    pytest.importorskip("bandit")
    file = tmp_path / "file.py"
    file.write_text(f"import pickle\nimport subprocess\nimport tarfile\nimport torch\n\n\ndef f(path):\n    {line}\n")
    options = ["-q", "-ll", "-c", str(SCRIPT.parents[1] / "pyproject.toml"), "-f", "json"]
    done = subprocess.run([sys.executable, "-m", "bandit", *options, str(file)], capture_output=True, text=True)
    found = [result["test_id"] for result in json.loads(done.stdout)["results"]]
    assert "-r textgan pipeline flows benchmarks scripts" in (SCRIPT.parents[1] / "Makefile").read_text()
    assert found == ([rule] if rule else []) and done.returncode == bool(rule)
