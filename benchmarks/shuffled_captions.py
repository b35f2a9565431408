"""Does the training listen to its captions? Real ones against captions of random images, at equal budget.

    python benchmarks/shuffled_captions.py [D] [--kimg N] [--images N] [--agreement N] [--seed N] [--threads N]
                                           [--work DIR] [--plain | --spread]

Reads data/images/D, data/pairs/D, data/captions/D, models/D-matcher and params.yaml of the present directory (after
`make repro`), trains D twice in DIR (the same parameters, but `captions: shuffled` in one), evaluates both with the
stage's own program, and prints for each fact and for R-precision the score with the interval of chance.

Expected, and the exit code says whether it came out: every score of the shuffled training lies within its interval of
chance, no main fact nor R-precision of the real one does. Six intervals of 95 % miss by luck in one run of four, so the
verdict widens them to 95 % for all together (Bonferroni); both are printed.
A collapsed G is a poor control: the few pictures that it knows hang on words in ways that no meaning was taught for.
--spread makes two pictures of each caption and weighs energy scores (SPREAD), so that G draws what varies by z; with
--plain neither of the two has a term that ties a picture to its own image or caption but D's judgement (PLAIN).

What was trained is kept in DIR: the same command again goes on. The two are ablations.py's `full` and `shuffled`: with
its DIR, length, seed and threads they are not trained again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import trials

from textgan.errors import UserError, program
from textgan.files import write_json
from textgan.report.bands import widened

KINDS: dict[str, trials.Values] = {"full": {}, "shuffled": {"captions": "shuffled"}}
SPREAD: trials.Values = {"z_per_caption": 2, "g_pair_every": 1}
PLAIN: trials.Values = {"d_choice": 0.0, "g_choice": 0.0, "g_pair": 0.0, "g_pixels": 0.0, "g_pair_every": 1}


def main(argv: list[str] | None = None) -> None:
    """Train, evaluate, print; exit code 0 where the control fails and the real training does not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?", default="catcar")
    parser.add_argument("--kimg", type=float, help="of each training; that of params.yaml by default")
    parser.add_argument("--images", type=int, help="evaluate.num_images; that of params.yaml by default")
    parser.add_argument("--agreement", type=int, help="evaluate.agreement_images; that of params.yaml by default")
    parser.add_argument("--seed", type=int, help="of the training; that of params.yaml by default")
    parser.add_argument("--threads", type=int, help="of each training; as the stage by default")
    terms = parser.add_mutually_exclusive_group()
    terms.add_argument("--plain", action="store_const", dest="terms", const=PLAIN, default={}, help="no further terms")
    terms.add_argument("--spread", action="store_const", dest="terms", const=SPREAD, help="two pictures a caption")
    parser.add_argument("--work", type=Path, default=Path("build/shuffled-captions"))
    args = parser.parse_args(argv)
    results = {kind: run(kind, args) for kind in KINDS}
    rows = [row for kind in KINDS for row in verdicts(kind, results[kind])]
    for row in rows:
        print(
            f"{row['captions']:<9} {row['score']:<12} {row['value']:>6.1%}  chance {row['chance']:.1%}"
            f" [{row['low']:.1%}, {row['high']:.1%}], for all together [{row['wide_low']:.1%}, {row['wide_high']:.1%}]"
            f"  {'chance' if row['is_chance'] else 'beyond chance'}"
        )
    as_told = all(row["is_chance"] == (row["captions"] == "shuffled") for row in rows if row["decides"])
    kimg = args.kimg or trials.read_parameters(args.dataset)["datasets"][args.dataset]["train"]["total_kimg"]
    print(f"{kimg:g} kimg each: {'as expected' if as_told else 'NOT as expected'}")
    write_json(args.work / "result.json", {"kimg": kimg, "rows": rows, "as_expected": as_told})
    raise SystemExit(0 if as_told else 1)


def run(kind: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train and evaluate one; what evaluation measured."""
    parameters = trials.read_parameters(args.dataset)
    train = parameters["datasets"][args.dataset]["train"]
    seed = {} if args.seed is None else {"seed": args.seed}
    evaluate = {"num_images": args.images, "agreement_images": args.agreement}
    trial = trials.Trial(
        name=kind,
        place=args.work / kind,
        dataset=args.dataset,
        parameters=trials.changed(
            parameters,
            args.dataset,
            train=trials.of_length(train, args.kimg) | seed | args.terms | KINDS[kind],
            evaluate={key: value for key, value in evaluate.items() if value is not None},
        ),
        threads=args.threads,
    )
    trials.prepare(trial)
    trials.train(trial)
    return trials.evaluate(trial)


def verdicts(kind: str, result: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each score: its value and what chance gives."""
    agreed, retrieval = result["agreement"], result["retrieval"]
    if agreed is None or retrieval is None:
        raise UserError(f"{kind} captions: no agreement or no R-precision: {result['not_computed']}")
    scores = [(fact["name"], fact["matched"]["value"], fact["chance"]) for fact in agreed["facts"]]
    scores.append(("R-precision", retrieval["generated"]["value"], retrieval["generated"]["chance"]))
    rows = []
    for name, value, chance in scores:
        low, high = widened(chance, len(scores))
        rows.append(
            {
                "captions": kind,
                "score": name,
                "value": value,
                "chance": chance["value"],
                "low": chance["low"],
                "high": chance["high"],
                "wide_low": low,
                "wide_high": high,
                "is_chance": low <= value <= high,
                "decides": kind == "shuffled" or name in (*agreed["main_facts"], "R-precision"),
            }
        )
    return rows


if __name__ == "__main__":
    program(main)
