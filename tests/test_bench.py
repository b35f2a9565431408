"""`make bench` ends with 1 where a bar is missed, after all benchmarks have run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[1] / "Makefile"
WITH_A_BAR = 'import sys\nprint("ran", sys.argv[1:])\nif "--check" in sys.argv:\n    sys.exit({code})\n'
WITHOUT = 'import sys\nprint("ran", sys.argv[1:])\nassert not sys.argv[1:]\n'


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize(("code", "expected"), [("0", 0), ("'below the bar'", 2)])
def test_a_missed_bar_ends_bench_with_an_error(tmp_path: Path, code: str, expected: int) -> None:
    """All scripts run, with --check where they know it; the end names those that missed."""
    (tmp_path / "benchmarks").mkdir()
    for name, text in (("first", WITH_A_BAR.format(code=code)), ("second", WITHOUT), ("third", WITH_A_BAR)):
        (tmp_path / f"benchmarks/{name}.py").write_text(text.replace("{code}", "0"))
    command = ["make", "-f", str(MAKEFILE), "-o", "setup-dev", "bench", f"PY={sys.executable}"]
    # under `make test` the variables of that make would have this one speak of the directories it enters
    env = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    command.append("BENCH=first second third")
    done = subprocess.run(command, cwd=tmp_path, env=env, text=True, capture_output=True)
    assert done.returncode == expected, done.stderr
    assert done.stdout.splitlines() == [
        "== first",
        "ran ['--check']",
        "== second",
        "ran []",
        "== third",
        "ran ['--check']",
    ]
    assert ("missed or failed: first" in done.stderr) == bool(expected)
