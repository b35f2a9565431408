"""How much faster two processes train than one, on one machine: wall-clock images a second, on a quiet machine only.

    python benchmarks/two_processes.py [D] [--batch-size 16] [--kimg 3] [--rounds 3] [--work DIR]

Reads the data of the present directory (after `make repro`). One process and two take turns with the same parameters,
one thread each, so that two have twice the cores; the batch is the same in total, as the training means it. Counted are
the images of the game alone, from its first row of the curve to its last: start, text phase and scores are left out.
Nothing is kept: each run begins in an empty directory. Exit code 1 where the median ratio is below the bar.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
from pathlib import Path

import trials

from textgan.errors import program
from textgan.files import write_json

BAR = 1.7
TEXT_KIMG = 0.5
"""The first row of the curve ends the text phase."""


def main(argv: list[str] | None = None) -> None:
    """Print a line a round and the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?", default="catcar")
    parser.add_argument("--batch-size", type=int, default=16, help="in total")
    parser.add_argument("--kimg", type=float, default=3.0, help="of each training")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("build/two-processes"))
    args = parser.parse_args(argv)
    lengths = dict.fromkeys(("total_kimg", "checkpoint_kimg", "select_kimg"), args.kimg)
    changes = {
        "batch_size": args.batch_size,
        "text_kimg": TEXT_KIMG,
        "tick_kimg": TEXT_KIMG,
        "grow_kimg": 0.0,
        **lengths,
    }
    parameters = trials.changed(trials.read_parameters(args.dataset), args.dataset, train=changes)
    rates: dict[int, list[float]] = {1: [], 2: []}
    for number in range(args.rounds):
        for processes in (1, 2) if number % 2 else (2, 1):
            place = args.work / f"{processes}-{number}"
            shutil.rmtree(place, ignore_errors=True)
            trial = trials.Trial(
                name=f"{processes} processes, round {number + 1}",
                place=place,
                dataset=args.dataset,
                parameters=parameters,
                threads=1,
            )
            trials.prepare(trial)
            os.environ["TEXTGAN_PROCESSES"] = str(processes)
            trials.train(trial)
            rates[processes].append(rate_of_game(trial.clock))
        print(f"round {number + 1}: {rates[1][-1]:.1f} and {rates[2][-1]:.1f} images a second", flush=True)
    ratio = statistics.median(two / one for one, two in zip(rates[1], rates[2], strict=True))
    print(f"two processes: {ratio:.2f} x one (bar {BAR}), batch {args.batch_size} in total")
    write_json(args.work / "result.json", {"batch_size": args.batch_size, "rates": rates, "ratio": ratio, "bar": BAR})
    raise SystemExit(0 if ratio >= BAR else 1)


def rate_of_game(clock: Path) -> float:
    """Images a second between the first row with a loss of the game and the last."""
    rows = [json.loads(line) for line in clock.read_text(encoding="utf-8").splitlines()]
    game = [row for row in rows if "d_loss" in row]
    return float((game[-1]["cur_nimg"] - game[0]["cur_nimg"]) / (game[-1]["seconds"] - game[0]["seconds"]))


if __name__ == "__main__":
    program(main)
