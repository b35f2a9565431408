"""What does each part of the training bring? One switch changed in each training, all at equal budget.

    python benchmarks/ablations.py [D] [--kimg N] [--switch NAME ...] [--seed N] [--threads N] [--work DIR]

Reads data/images/D, data/pairs/D, data/captions/D, models/D-matcher and params.yaml of the present directory (after
`make repro`), trains D once for each switch, evaluates each with the stage's own program and writes one table:
DIR/result.json, and DIR/table.md for docs/results.md. All see as many images; CPU-seconds stand in the table, for
some switches cost time. With --kimg the other lengths (text_kimg, ema_kimg, ...) shrink in proportion.

What was trained is kept in DIR: the same command goes on, and two commands with other switches may work side by side
on one DIR. The table has every switch that is complete there.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trials
from trials import Trial, Values

from textgan.errors import UserError, program
from textgan.files import write_bytes, write_json

FULL = "full"
SWITCHES: dict[str, tuple[str, Values]] = {
    FULL: ("as the preset", {}),
    "mismatch-off": ("no mismatched captions among D's negatives", {"mismatch": False}),
    "ema-off": ("G itself, no moving average", {"ema_kimg": 0.0}),
    "augmentation": ("", {"augment": "translate_cutout"}),
    "text-off": ("no captions, in training nor in sampling", {"captions": "none"}),
    "shuffled": ("captions of random images", {"captions": "shuffled"}),
    "random-features": ("the frozen network with random weights", {"features": "random"}),
    "pair-off": ("no pair loss", {"g_pair": 0.0}),
    "pixels-off": ("no pixel loss", {"g_pixels": 0.0}),
    "pair-all": ("every picture held against its image", {"g_pair_every": 1}),
    "one-z": ("one picture a caption: the mean of its images scores best", {"z_per_caption": 1}),
    "two-z": ("two pictures a caption, held by energy scores", {"z_per_caption": 2}),
    "fastgan": ("G after FastGAN, each layer normalised by image", {"generator": "fastgan"}),
    "dfgan": ("G after DF-GAN, nothing normalised", {"generator": "dfgan"}),
    "ungrown": ("the full size from the start", {"grow_kimg": 0.0}),
    "choice-off": ("no picking of the own caption, in D nor in G", {"d_choice": 0.0, "g_choice": 0.0}),
    "g-choice-off": ("no picking of the own caption in G", {"g_choice": 0.0}),
}
"""Name -> what it says in the table, and what it changes in `train`."""
ABSENT = {"g_pair_every": 1, "z_per_caption": 1, "generator": "fastgan"}
"""What a key has that a preset leaves out, where that is not 0."""
RARE = ("choice-off", "g-choice-off")
"""Only where they are asked for: without them the words decide little, and hours go by."""
BY_DEFAULT = tuple(name for name in SWITCHES if name not in RARE)


def main(argv: list[str] | None = None) -> None:
    """Train, evaluate, collect; the files are written anew after each switch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?", default="catcar")
    parser.add_argument("--kimg", type=float, help="of each training; that of params.yaml by default")
    parser.add_argument("--switch", nargs="+", choices=SWITCHES, metavar="NAME", help=f"of {', '.join(SWITCHES)}")
    parser.add_argument("--seed", type=int, help="of the training; that of params.yaml by default")
    parser.add_argument("--images", type=int, help="evaluate.num_images; that of params.yaml by default")
    parser.add_argument("--agreement", type=int, help="evaluate.agreement_images; that of params.yaml by default")
    parser.add_argument("--threads", type=int, help="of each training; as the stage by default")
    parser.add_argument("--work", type=Path, default=Path("build/ablations"))
    args = parser.parse_args(argv)
    parameters = trials.read_parameters(args.dataset)
    train = parameters["datasets"][args.dataset]["train"]
    given = {"num_images": args.images, "agreement_images": args.agreement}
    parameters = trials.changed(
        parameters,
        args.dataset,
        train={**trials.of_length(train, args.kimg), **({} if args.seed is None else {"seed": args.seed})},
        evaluate={key: value for key, value in given.items() if value is not None},
    )
    possible = {
        name: Trial(
            name=name,
            place=args.work / name,
            dataset=args.dataset,
            parameters=trials.changed(parameters, args.dataset, train=changes),
            threads=args.threads,
        )
        for name, changes in applicable(parameters["datasets"][args.dataset]["train"]).items()
    }
    wanted = args.switch or [name for name in BY_DEFAULT if name in possible]
    for name in wanted:
        if name not in possible:
            raise UserError(f"--switch {name}: changes nothing in this preset, or has no meaning with its architecture")
    for name in sorted(set(BY_DEFAULT) - set(possible)) if not args.switch else ():
        print(f"{name}: left out, it changes nothing in this preset", flush=True)
    for name in wanted:
        trials.prepare(possible[name])
        trials.train(possible[name])
        trials.evaluate(possible[name])
        table = write(possible, args.work)
    print(table, end="")


def applicable(train: Mapping[str, Any]) -> dict[str, Values]:
    """Switches that change something in these parameters, and what: augmentation goes off where it is on."""
    found = {}
    for name, (_, changes) in SWITCHES.items():
        if name == "augmentation" and train["augment"] != "none":
            changes = {"augment": "none"}
        if name == "random-features" and train["architecture"] != "projected":
            continue
        changes = {key: value for key, value in changes.items() if train.get(key, ABSENT.get(key, 0.0)) != value}
        if changes or name == FULL:
            found[name] = changes
    return found


def describe(name: str, changes: Values) -> str:
    """What a row of the table is called."""
    if name == "augmentation":
        return "no augmentation" if changes["augment"] == "none" else f"augmentation on ({changes['augment']})"
    return SWITCHES[name][0]


def write(possible: Mapping[str, Trial], work: Path) -> str:
    """Collect what is complete into the two files; the table."""
    rows = []
    full = possible[FULL].parameters
    for name, trial in possible.items():
        if not trial.measured.is_file():
            continue
        trials.prepare(trial)  # refuses what other settings left there
        result, train = trials.evaluate(trial), trial.parameters["datasets"][trial.dataset]["train"]
        plain = full["datasets"][trial.dataset]["train"]
        changes = {key: value for key, value in train.items() if plain.get(key) != value}
        rows.append(
            {
                "switch": name,
                "says": describe(name, changes),
                "changes": changes,
                "scores": trials.scores(result),
                "kept_nimg": result["snapshot"]["cur_nimg"],
                "cpu_seconds": trials.cpu_seconds(trial),
            }
        )
    train = full["datasets"][possible[FULL].dataset]["train"]
    table = as_markdown(rows)
    settings = {key: train[key] for key in ("total_kimg", "batch_size", "seed")}
    about = {"preset": full["preset"], "dataset": possible[FULL].dataset, "threads": possible[FULL].threads, **settings}
    write_json(work / "result.json", {**about, "rows": rows})
    write_bytes(work / "table.md", table.encode())
    return table


IMAGE_COLUMNS = {
    "KID Lite2": "kid lite2",
    "FD Lite2": "fd lite2",
    "KID patches8": "kid patches8",
    "FD patches8": "fd patches8",
    "recall": "recall lite2",
    "coverage": "coverage lite2",
}


def as_markdown(rows: list[Values]) -> str:
    """One line a switch; facts in the order of evaluation, recall and coverage on Lite2."""
    facts: list[str] = []
    for row in rows:
        facts += [name for name in row["scores"] if " " not in name and name not in (*facts, "R-precision")]
    head = ["switch", *IMAGE_COLUMNS, *facts, "R-precision", "CPU-s"]
    lines = []
    for row in rows:
        scores = row["scores"]
        images = [trials.number(scores.get(name)) for name in IMAGE_COLUMNS.values()]
        words = [trials.percent(scores.get(name)) for name in (*facts, "R-precision")]
        lines.append([row["says"], *images, *words, f"{row['cpu_seconds']:.0f}"])
    return trials.markdown(head, lines)


if __name__ == "__main__":
    program(main)
