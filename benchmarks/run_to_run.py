"""How far reruns lie apart, for docs/tolerances.json: the snapshot evaluated elsewhere, then whole trainings.

    python benchmarks/run_to_run.py                              # seeds 0, 1, 2 with two threads, seed 0 with one
    python benchmarks/run_to_run.py --runs                       # the evaluations alone: minutes
    python benchmarks/run_to_run.py --runs 0:2 1:2 2:2 --kimg 1 --out build/tolerances.json

Needs a result (`make repro`): images, pairs, captions, the matcher and, for the evaluations, the snapshot of this tree
are used as they are. First the snapshot is evaluated with other numbers of threads and as on a processor without
AVX-512 (INSTRUCTIONS), and the table `evaluation` is written; then the trainings, and `training` is written. Each run
is a directory in build/run-to-run/ with parameters of its own; one that has ended with the same parameters, data and
code is not made again, so a stopped benchmark goes on. A run takes what train and evaluate take.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import trials
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from flows import environment, tolerances
from flows.commit import dvc_hash
from flows.history import git
from textgan import params
from textgan.errors import UserError, program
from textgan.files import fingerprint, sha256_file, write_bytes, write_json

RUNS = ("0:2", "1:2", "2:2", "0:1")
EVALUATIONS = ("2:native", "1:native", "4:native", "2:avx2")
INSTRUCTIONS: dict[str, dict[str, str]] = {
    "native": {},
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
}
"""What has the libraries round as on a processor that has no more; onnxruntime has no such switch."""
PLACE = Path("build/run-to-run")


def main() -> None:
    """Make the runs, write the file, print each metric's values and tolerance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", help="default: the first of params.yaml")
    parser.add_argument("--runs", nargs="*", default=RUNS, metavar="SEED:THREADS", help="trainings")
    parser.add_argument("--evaluations", nargs="*", default=EVALUATIONS, metavar="THREADS:INSTRUCTIONS")
    parser.add_argument("--kimg", type=float, help="a shorter training, to try this program; no evaluations")
    parser.add_argument("--out", type=Path, default=tolerances.PLACE)
    args = parser.parse_args()
    if args.kimg is not None and args.out == tolerances.PLACE:
        raise UserError("run_to_run: --kimg is for trying; name another file with --out")
    trainings = [seed_and_threads(text) for text in args.runs]
    evaluations = [] if args.kimg is not None else [threads_and_instructions(text) for text in args.evaluations]
    loaded = params.load()
    dataset = args.dataset or sorted(loaded.datasets)[0]
    if dataset not in loaded.datasets:
        raise UserError(f"--dataset {dataset!r}: params.yaml has {', '.join(sorted(loaded.datasets))}")
    value = yaml.safe_load(params.PARAMS_FILE.read_text(encoding="utf-8"))
    training = value["datasets"][dataset]["train"]
    if args.kimg is not None:
        training.update(trials.of_length(training, args.kimg))
    made_of, measured = sources(dataset), where_and_when()

    def part_of(table: str, found: list[dict[str, Any]]) -> dict[str, Any]:
        return tolerances.section(table, found, tolerances.parameters_of(value, dataset), measured)

    if evaluations:
        found = [{**run, "metrics": one_evaluation(value, dataset, made_of, **run)} for run in evaluations]
        part = part_of(tolerances.EVALUATION, found) | {"snapshot": snapshot_of(dataset)}
        keep(args.out, loaded.preset, dataset, tolerances.EVALUATION, part)
    if trainings:
        found = []
        for run in trainings:
            training["seed"] = run["seed"]
            found.append({**run, "metrics": one_run(value, dataset, made_of, run["threads"])})
        keep(args.out, loaded.preset, dataset, tolerances.TRAINING, part_of(tolerances.TRAINING, found))


def sources(dataset: str) -> str:
    """Names the data and the code that a run takes from this tree: another of either is another run."""
    root = Path.cwd()
    places = [f"data/{name}/{dataset}" for name in ("images", "pairs", "captions")] + [f"models/{dataset}-matcher"]
    for place in places:
        if not (root / place).exists():
            raise UserError(f"{root / place}: no such directory; `make repro` or `textgan storage pull` brings it")
    code = {path.as_posix(): sha256_file(path) for path in sorted(Path("textgan").rglob("*.py"))}
    return fingerprint([{place: dvc_hash(root / place)[0] for place in places}, code])


def where_and_when() -> dict[str, str]:
    """The commit, with `-dirty` where its code or parameters are not the tree's, and what here may change a float."""
    dirty = "-dirty" if git("status", "--porcelain", "--", "textgan", str(params.PARAMS_FILE)) else ""
    here = environment.present()
    kept = {key: here[key] for key in ("cpu", "cores", "instructions", "torch")}
    return {"commit": git("rev-parse", "--short=12", "HEAD").strip() + dirty, **kept}


def keep(out: Path, preset: str, dataset: str, table: str, part: dict[str, Any]) -> None:
    """Put one table into the file, beside what it has, and print it."""
    known = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    known.setdefault(preset, {}).setdefault(dataset, {})[table] = part
    write_json(out, known)
    for name, tolerance in part["tolerance"].items():
        print(f"{name:<48} {tolerance:9.4g}   {'  '.join(f'{number:.4g}' for number in part['values'][name])}")
    print(f"{table}, {len(part['runs'])} runs: {out}")


def seed_and_threads(text: str) -> dict[str, int]:
    """`1:2` as a training. Raises UserError."""
    seed, _, threads = text.partition(":")
    if not (seed.isdigit() and threads.isdigit()):
        raise UserError(f"--runs {text!r}: it must be SEED:THREADS, e.g. 1:2")
    return {"seed": int(seed), "threads": int(threads)}


def threads_and_instructions(text: str) -> dict[str, Any]:
    """`2:avx2` as an evaluation. Raises UserError."""
    threads, _, instructions = text.partition(":")
    if not threads.isdigit() or instructions not in INSTRUCTIONS:
        raise UserError(f"--evaluations {text!r}: it must be THREADS:{{{','.join(INSTRUCTIONS)}}}, e.g. 2:avx2")
    return {"threads": int(threads), "instructions": instructions}


def snapshot_of(dataset: str) -> str:
    """The sha256 of this tree's weights. Raises UserError where there are none."""
    path = Path("models") / dataset / "snapshot.json"
    if not path.exists():
        raise UserError(f"{path}: no such file; `make repro` or `textgan storage pull` brings it")
    return str(json.loads(path.read_text(encoding="utf-8"))["weights_sha256"])


def one_run(value: dict[str, Any], dataset: str, made_of: str, threads: int) -> dict[str, Any]:
    """Metrics of one training of these parameters; from its directory where it has ended before."""
    place, metrics = prepared(value, dataset, [made_of, threads])
    if not metrics.exists():
        seed = value["datasets"][dataset]["train"]["seed"]
        print(f"run of seed {seed} with {threads} threads in {place}", flush=True)
        for stage in ("train", "evaluate"):
            run_stage(stage, dataset, place, {"TEXTGAN_THREADS": str(threads)})
    return dict(json.loads(metrics.read_text(encoding="utf-8"))["metrics"])


def one_evaluation(
    value: dict[str, Any], dataset: str, made_of: str, threads: int, instructions: str
) -> dict[str, Any]:
    """Metrics of this tree's snapshot, measured so; from its directory where it has ended before."""
    place, metrics = prepared(value, dataset, [made_of, threads, instructions, snapshot_of(dataset)])
    if not metrics.exists():
        link(Path.cwd() / "models" / dataset, place / "models" / dataset)
        print(f"evaluation with {threads} threads, instructions {instructions} in {place}", flush=True)
        own = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        run_stage("evaluate", dataset, place, own | INSTRUCTIONS[instructions])
    return dict(json.loads(metrics.read_text(encoding="utf-8"))["metrics"])


def prepared(value: dict[str, Any], dataset: str, identity: list[Any]) -> tuple[Path, Path]:
    """The directory of a run, with parameters and links to what it only reads; and where its metrics will be."""
    root = Path.cwd()
    place = PLACE / fingerprint([value, dataset, *identity])
    for name in ("images", "pairs", "captions"):
        link(root / "data" / name, place / "data" / name)
    link(root / "models" / f"{dataset}-matcher", place / "models" / f"{dataset}-matcher")
    write_bytes(place / "params.yaml", yaml.safe_dump(value, sort_keys=False).encode())
    return place, place / "data" / "evaluation" / dataset / "metrics.json"


def run_stage(stage: str, dataset: str, place: Path, own: dict[str, str]) -> None:
    """`python -m textgan.STAGE D` there, with the code of the present tree. Raises UserError where it fails."""
    plain = {key: text for key, text in os.environ.items() if key not in ("OMP_NUM_THREADS", "TEXTGAN_THREADS")}
    environment = {**plain, "PYTHONPATH": str(Path.cwd()), "PYTHONHASHSEED": "0", **own}
    code = subprocess.run([sys.executable, "-m", f"textgan.{stage}", dataset], cwd=place, env=environment).returncode
    if code:
        raise UserError(f"{place}: {stage} failed (exit {code}); the same command again goes on there")


def link(target: Path, place: Path) -> None:
    """A link to what the run only reads."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_symlink():
        place.symlink_to(target)


if __name__ == "__main__":
    program(main)
