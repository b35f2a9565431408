"""A trial: one training with parameters of its own, in a directory of its own, by the stages' own programs.

What the benchmarks that compare trainings share. A trial reads the images, pairs, captions and matcher of the present
directory; what was trained and evaluated is kept, and the same trial again goes on where it stopped.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from textgan import params
from textgan.errors import UserError
from textgan.files import sha256_file, write_json

Values = dict[str, Any]
REPOSITORY = Path(__file__).parents[1]
DATA = ("data/images", "data/pairs", "data/captions")
IN_PROPORTION = ("text_kimg", "ema_kimg", "tick_kimg", "checkpoint_kimg", "select_kimg", "grow_kimg")
"""Lengths of TrainParams that belong to the total one."""
POLL_SECONDS = 0.2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Where, with which parameters and with how many threads (null: as the stage does)."""

    name: str
    place: Path
    dataset: str
    parameters: Values
    threads: int | None = None

    @property
    def model(self) -> Path:
        """Its snapshot, once it is trained."""
        return self.place / "models" / self.dataset

    @property
    def measured(self) -> Path:
        """What evaluation measured, once it did."""
        return self.place / "data/evaluation" / self.dataset / "metrics.json"

    @property
    def clock(self) -> Path:
        """What each row of the curve has cost."""
        return self.place / "runs" / self.dataset / "clock.jsonl"


def read_parameters(dataset: str, file: Path = params.PARAMS_FILE) -> Values:
    """The parameter file as it stands, checked. Raises UserError."""
    params.dataset(dataset, file)
    return dict(yaml.safe_load(file.read_text(encoding="utf-8")))


def changed(parameters: Values, dataset: str, **sections: Values) -> Values:
    """A copy with other values in sections of the dataset (`train={"seed": 1}`), checked. Raises UserError."""
    parameters = copy.deepcopy(parameters)
    for section, values in sections.items():
        parameters["datasets"][dataset][section] |= values
    params.from_mapping(params.Params, parameters, str(params.PARAMS_FILE))
    return parameters


def variant(trial: Trial, name: str, place: str, **sections: Values) -> Trial:
    """Another trial beside it, with changes."""
    parameters = changed(trial.parameters, trial.dataset, **sections)
    return dataclasses.replace(trial, name=name, place=trial.place / place, parameters=parameters)


def of_length(train: Values, kimg: float | None) -> Values:
    """Changes that give the training another length, in the same proportions; none where it has that length."""
    if kimg is None or kimg == train["total_kimg"]:
        return {}
    share = kimg / train["total_kimg"]
    return {"total_kimg": kimg, **{key: round(train[key] * share, 4) for key in IN_PROPORTION if key in train}}


def prepare(trial: Trial, data: Sequence[str] = DATA, root: Path = Path()) -> None:
    """Its directory: parameters, links to what it reads in `root`. Raises UserError where it was made of others."""
    parts = [*(f"{part}/{trial.dataset}" for part in data), f"models/{trial.dataset}-matcher"]
    for part in parts:
        if not (root / part).is_dir():
            raise UserError(f"{root / part}: no such directory; `make repro` makes it")
    made_of = {
        "parameters": trial.parameters,
        "threads": trial.threads,
        "data": {part: sha256_file(path) for part in parts if (path := root / part / "manifest.json").is_file()},
    }
    file = trial.place / "trial.json"
    if file.is_file() and json.loads(file.read_text(encoding="utf-8")) != made_of:
        raise UserError(f"{file}: made with other settings or data; give another --work")
    trial.place.mkdir(parents=True, exist_ok=True)
    (trial.place / "params.yaml").write_text(yaml.safe_dump(trial.parameters, sort_keys=False), encoding="utf-8")
    write_json(file, made_of)
    for part in parts:
        link(root / part, trial.place / part)
    features = trial.place.parent / "features"  # real pictures are looked at once for all trials beside each other
    features.mkdir(exist_ok=True)
    link(features, trial.place / ".state/features")


def link(target: Path, place: Path) -> None:
    """A link, unless there is one."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        place.symlink_to(target.resolve())


def train(trial: Trial, watch: Callable[[], None] | None = None) -> None:
    """Train it, unless that is done."""
    if not (trial.model / "snapshot.json").is_file():
        run_program(trial, "textgan.train", watch=watch)


def evaluate(trial: Trial) -> Values:
    """What evaluation measures on it; evaluated once."""
    if not trial.measured.is_file():
        run_program(trial, "textgan.evaluate")
    return dict(json.loads(trial.measured.read_text(encoding="utf-8")))


def run_program(trial: Trial, module: str, *arguments: str, watch: Callable[[], None] | None = None) -> None:
    """`python -m MODULE D` in its directory, with the code of this repository. Raises UserError where it fails."""
    print(f"{trial.name}: {module}", flush=True)
    # GUARDED: a training does not outlive the benchmark that was killed.
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": "0", "TEXTGAN_GUARDED": "1"}
    if trial.threads is not None:
        environment |= {"TEXTGAN_THREADS": str(trial.threads), "OMP_NUM_THREADS": str(trial.threads)}
    command = [sys.executable, "-m", module, trial.dataset, *arguments]
    with subprocess.Popen(command, cwd=trial.place, env=environment) as process:
        while process.poll() is None:
            if watch is not None:
                watch()
            time.sleep(POLL_SECONDS)
    if process.returncode != 0:
        raise UserError(f"{trial.name}: python -m {module} ended with {process.returncode}; see {trial.place}")


def costs(clock: Path) -> dict[int, float]:
    """CPU-seconds of the training up to each row: images seen -> seconds, the start of the program included.

    A process counts from its own start: where one went on after another, theirs add up, repeated images included.
    """
    found: dict[int, float] = {}
    before = last = 0.0
    for line in clock.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["cpu_seconds"] < last:
            before += last
        last = row["cpu_seconds"]
        found[row["cur_nimg"]] = round(before + last, 2)
    return found


def cpu_seconds(trial: Trial) -> float:
    """Of all of its training, to the last row; the last scoring on `select` comes after that row."""
    return max(costs(trial.clock).values())


def scores(result: Values) -> dict[str, float | None]:
    """The numbers that trainings are compared by, of what evaluation measured; null where it was not computed."""
    found: dict[str, float | None] = {
        f"{number['what']} {number['extractor']}": number["value"] for number in result["numbers"]
    }
    if result["agreement"]:
        found |= {fact["name"]: fact["matched"]["value"] for fact in result["agreement"]["facts"]}
    found["R-precision"] = result["retrieval"]["generated"]["value"] if result["retrieval"] else None
    return found


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for docs/results.md."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def number(value: float | None) -> str:
    """Three significant digits, or a dash."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def percent(value: float | None) -> str:
    """One decimal, or a dash."""
    return "-" if value is None else f"{value:.1%}".replace("%", " %")
