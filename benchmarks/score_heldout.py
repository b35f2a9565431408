"""How many pictures of a snapshot show what their prompts say, on combinations that training never saw.

`python benchmarks/score_heldout.py models/catcar [--prompts heldout|seen] [--seed 1] [--count 300] [--sheet FILE]`
prints, for each language, the share of pictures in which the drawn-picture measurer reads the fact that
the prompt names. Choose a training by one seed of prompts and report it by another.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from textgan.errors import program
from textgan.facts.drawn import picture_facts
from textgan.facts.heldout import heldout, heldout_facts
from textgan.facts.measure import measure_drawn
from textgan.facts.wording import realise
from textgan.metrics.agreement import best_values
from textgan.sampling import generate, load_snapshot, read_prompts
from textgan.sheets import contact_sheet
from textgan.text import Vocabulary, encode_prompt

FACTS = ("kind", "colour", "background", "side", "framing")
COLUMNS, ROWS = 14, 7


def main(argv: list[str] | None = None) -> None:
    """Print one JSON line a language."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("snapshot", type=Path)
    parser.add_argument("--prompts", choices=("heldout", "seen"), default="heldout")
    parser.add_argument("--seed", type=int, default=1, help="of the prompts and of z")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--sheet", type=Path, help="a PNG of the first pictures of the English prompts")
    args = parser.parse_args(argv)
    snapshot = load_snapshot(args.snapshot)
    vocabulary = Vocabulary.load(snapshot.vocabulary_file)
    if args.prompts == "heldout":
        facts = heldout_facts(args.seed, args.count)
    else:
        facts = [picture_facts(args.seed, ("cat", "car")[idx % 2], idx, heldout()) for idx in range(args.count)]
    seeds = list(range(1000 * args.seed, 1000 * args.seed + args.count))
    for language in ("en", "es"):
        prompts = [realise(known, language, idx, args.seed)[0] for idx, known in enumerate(facts)]
        tokens = [encode_prompt(prompt, vocabulary, snapshot.info["max_tokens"]) for prompt in prompts]
        images = generate(snapshot, read_prompts(snapshot, prompts, tokens, [language] * len(prompts), facts), seeds)
        read = [best_values(measured) for measured in measure_drawn(images)]
        right = {}
        for name in FACTS:
            told = [got.get(name) == known[name] for got, known in zip(read, facts, strict=True) if name in known]
            right[name] = round(100 * sum(told) / max(1, len(told)), 1)
        wrong = Counter(
            f"{known['colour']} drawn {got.get('colour')}"
            for got, known in zip(read, facts, strict=True)
            if got.get("colour") != known["colour"]
        )
        print(
            json.dumps(
                {
                    "prompts": args.prompts,
                    "seed": args.seed,
                    "count": args.count,
                    "language": language,
                    "right_percent": right,
                    "colours_most_often_wrong": dict(wrong.most_common(5)),
                }
            ),
            flush=True,
        )
        if args.sheet and language == "en":
            rows = [
                list(images[row * COLUMNS : (row + 1) * COLUMNS]) for row in range(min(ROWS, len(images) // COLUMNS))
            ]
            contact_sheet(rows).save(args.sheet)


if __name__ == "__main__":
    program(main)
