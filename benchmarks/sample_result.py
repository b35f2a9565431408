"""The section of docs/results.md on the committed result, from the files that the graph wrote.

`python benchmarks/sample_result.py COMMIT` prints it, for a clone in which `make repro` of COMMIT has ended.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from textgan.errors import program

FACTS = {"kind": "kind", "colour": "object colour", "background": "background", "side": "side"}
SCORES = {"kid1k": "KID", "fd1k": "Fréchet distance", "recall_k5_1k": "recall", "coverage_k5_1k": "coverage"}


def main(argv: list[str] | None = None) -> None:
    """Print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit")
    commit = parser.parse_args(argv).commit
    numbers = json.loads(Path("metrics/catcar.json").read_text())["metrics"]
    facts = json.loads(Path("data/evaluation/catcar/metrics.json").read_text())["agreement"]["facts"]
    shown = json.loads(Path("models/catcar/snapshot.json").read_text())
    seconds = json.loads(Path("report/run.json").read_text())["seconds"]
    train, evaluate, whole = seconds["train@catcar"], seconds["evaluate@catcar"], sum(seconds.values())
    kept, length = shown["cur_nimg"], round(shown["train"]["total_kimg"] * 1000)
    print(f"`make repro` in a fresh clone of commit {commit}, two cores: training {train:.0f} s of wall time,")
    print(f"evaluation {evaluate:.0f} s, all stages {whole:.0f} s. Kept are the weights after {kept:,} of {length:,}.")
    print("`metrics/catcar.json`, `report/run.json` and `dvc.lock` are of that run; the report page has every number")
    print("with its floor, ceilings and interval.\n")
    print("| fact, on held-out combinations (600 pictures) | right | shuffled prompts | prompt base rate |")
    print("|---|---|---|---|")
    for fact in facts:
        if fact["name"] in FACTS:
            shares = (fact["matched"]["value"], fact["shuffled"]["value"], fact["base_rate"])
            print(f"| {FACTS[fact['name']]} | " + " | ".join(f"{100 * share:.1f} %" for share in shares) + " |")
    print("\n| against 1,000 test images | Lite2 | patches8 |\n|---|---|---|")
    for name, label in SCORES.items():
        print(
            f"| {label} | " + " | ".join(f"{numbers[f'{name}_{eye}_test']:.4g}" for eye in ("lite2", "patches8")) + " |"
        )
    own, control = (100 * numbers[f"r_precision100_1k_matcher_test{end}"] for end in ("", "_shuffled"))
    print(f"\nR-precision {own:.1f} % (shuffled prompts {control:.1f} %; chance 1 %).")


if __name__ == "__main__":
    program(main)
