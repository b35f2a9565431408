"""How far reruns of a training lie apart: trains and evaluates with other seeds and threads; docs/tolerances.json.

    python benchmarks/run_to_run.py                              # seeds 0, 1, 2 with two threads, seed 0 with one
    python benchmarks/run_to_run.py --runs 0:2 1:2 2:2 --kimg 1 --out build/tolerances.json

Needs a result (`make repro`): images, pairs, captions and the matcher of this tree are used as they are. Each run
is a directory in build/run-to-run/ with parameters of its own; one that has ended is not made again, so a stopped
benchmark goes on. A run takes what train and evaluate take.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from flows import tolerances
from textgan import params
from textgan.errors import UserError, program
from textgan.files import fingerprint, write_bytes, write_json

RUNS = ("0:2", "1:2", "2:2", "0:1")
PLACE = Path("build/run-to-run")


def main() -> None:
    """Make the runs, write the file, print each metric's values and tolerance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", help="default: the first of params.yaml")
    parser.add_argument("--runs", nargs="+", default=RUNS, metavar="SEED:THREADS")
    parser.add_argument("--kimg", type=float, help="a shorter training, to try this program")
    parser.add_argument("--out", type=Path, default=tolerances.PLACE)
    args = parser.parse_args()
    if args.kimg is not None and args.out == tolerances.PLACE:
        raise UserError("run_to_run: --kimg is for trying; name another file with --out")
    loaded = params.load()
    dataset = args.dataset or sorted(loaded.datasets)[0]
    if dataset not in loaded.datasets:
        raise UserError(f"--dataset {dataset!r}: params.yaml has {', '.join(sorted(loaded.datasets))}")
    value = yaml.safe_load(params.PARAMS_FILE.read_text(encoding="utf-8"))
    training = value["datasets"][dataset]["train"]
    if args.kimg is not None:
        training["total_kimg"] = args.kimg
    runs = []
    for text in args.runs:
        seed, _, threads = text.partition(":")
        if not (seed.isdigit() and threads.isdigit()):
            raise UserError(f"--runs {text!r}: it must be SEED:THREADS, e.g. 1:2")
        training["seed"] = int(seed)
        runs.append({"seed": int(seed), "threads": int(threads), "metrics": one_run(value, dataset, int(threads))})
    known = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    part = tolerances.section(runs, training["total_kimg"])
    known.setdefault(loaded.preset, {})[dataset] = part
    write_json(args.out, known)
    for name, tolerance in part["tolerance"].items():
        print(f"{name:<48} {tolerance:9.4g}   {'  '.join(f'{number:.4g}' for number in part['values'][name])}")
    print(f"{len(runs)} runs: {args.out}")


def one_run(value: dict[str, Any], dataset: str, threads: int) -> dict[str, Any]:
    """Metrics of one training of these parameters; from its directory where it has ended before."""
    root = Path.cwd()
    data = fingerprint({name: (root / "data" / name / dataset).stat().st_mtime_ns for name in ("images", "pairs")})
    place = PLACE / fingerprint([value, dataset, threads, data])[:16]
    result = place / "data" / "evaluation" / dataset / "metrics.json"
    if not result.exists():
        for name in ("images", "pairs", "captions"):
            link(root / "data" / name, place / "data" / name)
        link(root / "models" / f"{dataset}-matcher", place / "models" / f"{dataset}-matcher")
        write_bytes(place / "params.yaml", yaml.safe_dump(value, sort_keys=False).encode())
        seed = value["datasets"][dataset]["train"]["seed"]
        print(f"run of seed {seed} with {threads} threads in {place}", flush=True)
        for stage in ("train", "evaluate"):
            run_stage(stage, dataset, place, threads)
    return dict(json.loads(result.read_text(encoding="utf-8"))["metrics"])


def run_stage(stage: str, dataset: str, place: Path, threads: int) -> None:
    """`python -m textgan.STAGE D` there, with the code of the present tree. Raises UserError where it fails."""
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "PYTHONHASHSEED": "0", "TEXTGAN_THREADS": str(threads)}
    environment.pop("OMP_NUM_THREADS", None)
    code = subprocess.run([sys.executable, "-m", f"textgan.{stage}", dataset], cwd=place, env=environment).returncode
    if code:
        raise UserError(f"{place}: {stage} failed (exit {code}); the same command again goes on there")


def link(target: Path, place: Path) -> None:
    """A link to what the run only reads. Raises UserError where it is not there."""
    if not target.exists():
        raise UserError(f"{target}: no such directory; `make repro` or `dvc pull` brings it")
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_symlink():
        place.symlink_to(target)


if __name__ == "__main__":
    program(main)
