"""Seconds of `textgan reproduce --verify hashes` and, with --metrics, of `metrics` beside evaluate's own, from a clone.

    python benchmarks/reproduce_speed.py [COMMIT] [--metrics] [--rounds 3] [--out FILE.json]

Run in the clone that has the result and its storage: a bare clone is made in a temporary directory, attached, and
reproduces COMMIT (default HEAD) with this environment. Bars: hashes 60 s; metrics 60 s more than evaluate itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from flows import dvc_program
from textgan.errors import UserError, program
from textgan.files import to_json, write_json


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", nargs="?", default="HEAD")
    parser.add_argument("--metrics", action="store_true", help="evaluate again as well")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    sha = subprocess.run(["git", "rev-parse", args.commit], capture_output=True, text=True, check=True).stdout.strip()
    first = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="reproduce-") as place:
        second = Path(place) / "clone"
        subprocess.run(["git", "clone", "-q", str(first), str(second)], check=True)
        textgan(first, "storage", "start")
        textgan(second, "storage", "attach", str(first))
        hashes = [textgan(second, "reproduce", sha, "--verify", "hashes")[0] for _ in range(args.rounds)]
        result: dict[str, object] = {"commit": sha, "hashes_seconds": statistics.median(hashes), "rounds": hashes}
        if args.metrics:
            seconds = textgan(second, "reproduce", sha, "--verify", "metrics")[0]
            path = second / ".state" / "verdicts" / sha[:12] / "verdict.json"
            evaluate = sum(json.loads(path.read_text(encoding="utf-8"))["ran"].values())
            result |= {"metrics_seconds": seconds, "evaluate_seconds": evaluate, "beside_evaluate": seconds - evaluate}
    print(to_json(result), end="")
    if args.out:
        write_json(args.out, result)


def textgan(place: Path, *arguments: str) -> tuple[float, str]:
    """Seconds and output of a command there. Raises UserError where its exit code is not 0."""
    start = time.monotonic()
    command = [sys.executable, "-m", "textgan.cli", *arguments]
    done = subprocess.run(command, cwd=place, env=dvc_program.environment(), capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"textgan {' '.join(arguments)}: exit {done.returncode}: {(done.stdout + done.stderr)[-600:]}")
    return time.monotonic() - start, done.stdout


if __name__ == "__main__":
    program(main)
