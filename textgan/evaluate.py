"""Stage evaluate@D: measure a snapshot on what it never saw, each number beside its floor and its control.

Usage: python -m textgan.evaluate D [--model DIR] [--out DIR]
Reads models/D, models/D-matcher, data/images/D, data/pairs/D; writes data/evaluation/D/: `metrics.json`
(every number), sheets of pictures (PNG) and `curve.csv` of the training. No clock, no host: same inputs, same bytes.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

import textgan
from textgan import params as parameters
from textgan.errors import UserError, program
from textgan.files import publishing, sha256_file, write_json
from textgan.metrics import beyond
from textgan.metrics.agreement import agreement, all_right
from textgan.metrics.features import Images, LiteExtractor, PatchExtractor
from textgan.metrics.matcher import MatcherBackbone, image_vectors, load_matcher, text_vectors
from textgan.metrics.measuring import Measurer, measurer_of
from textgan.metrics.prompts import Prompts, grid_prompts, heldout_prompts, of_split, of_split_in_full
from textgan.metrics.retrieval import r_precision, why_not
from textgan.metrics.sheets import Sheets
from textgan.metrics.splits import Split, read_split
from textgan.metrics.suite import References, count_name, fingerprint_of, image_numbers
from textgan.params import DatasetParams
from textgan.sampling import Snapshot, generate, load_snapshot
from textgan.seeds import derive_seed
from textgan.text import Vocabulary

Metrics = dict[str, float | None]
REAL_MEASURED = 300
"""Real test pictures measured too: what the measurer gets right at best."""
WHY_NO_AGREEMENT = "Agreement needs a measurer of generated pictures; there is one for drawn pictures, none for photos."
MAIN_FACTS = ("kind", "colour", "background", "side")


def main(argv: list[str] | None = None) -> None:
    """Evaluate one dataset's snapshot."""
    parser = argparse.ArgumentParser(prog="python -m textgan.evaluate", description="Measure a snapshot.")
    parser.add_argument("dataset")
    parser.add_argument("--model", type=Path, help="snapshot directory; models/D by default")
    parser.add_argument("--out", type=Path, help="data/evaluation/D by default")
    args = parser.parse_args(argv)
    name = args.dataset
    params = parameters.dataset(name)
    model = args.model or Path("models") / name
    with publishing(args.out or Path("data/evaluation") / name) as out:
        result = evaluate(name, params, model, out)
        write_json(out / "metrics.json", rounded(result))
    for line in summary(result):
        print(line)


def evaluate(name: str, params: DatasetParams, model: Path, out: Path) -> dict[str, Any]:
    """All of it, in the order of the report; returns what `metrics.json` holds."""
    settings = params.evaluate
    snapshot, vocabulary = load_snapshot(model), Vocabulary.load(Path("data/pairs") / name / "vocabulary.json")
    test = read_split(name, "test", settings.num_images, settings.seed)
    train = read_split(name, "train", settings.num_images, derive_seed(settings.seed, "floor"))
    check(snapshot, vocabulary, test, train, params)
    sheets = Sheets(out)

    prompts = of_split(test, settings.seed)
    fake = sample(snapshot, prompts)
    references = References(test.images, train.images, _kinds(test), _kinds(train))
    numbers, fingerprints = [], {}
    lite = LiteExtractor("lite2")
    for extractor in (lite, PatchExtractor(train.images)):
        numbers += image_numbers(references, fake, extractor, settings.seed)
        fingerprints[extractor.name] = fingerprint_of(references, fake, extractor)
    metrics: Metrics = {number.name: number.value for number in numbers}

    asked = _asked(params, vocabulary, test)
    pictures = sample(snapshot, asked)
    measurer = measurer_of(params.captions.captioner)
    agreed, not_computed = _agreement(asked, pictures, test, measurer, params, metrics, sheets)
    retrieval, reason = _retrieval(Path("models") / f"{name}-matcher", test, fake, prompts, settings.seed, metrics)
    not_computed |= reason

    grid = grid_prompts(asked, settings.grid_prompts)
    seeds = list(range(settings.grid_seeds))
    rows = [generate(snapshot, [asked.token_ids[place]] * len(seeds), seeds) for place in grid]
    sheets.rows("grid", rows, [asked.texts[place] for place in grid], [asked.languages[place] for place in grid])
    sheets.tiles("uncurated", fake[:64])
    sheets.tiles("real", test.images[:64])
    kinds = [asked.facts[place].get("kind", "") for place in grid]
    further: dict[str, Any] = {
        "memorisation": beyond.copies(references, fake, lite, sheets),
        "by_kind": beyond.by_kind(references, fake, prompts, lite, settings.seed),
        "diversity": beyond.within_prompts(rows, kinds, references, lite) if len(seeds) > 1 else None,
        "unevenness": beyond.walks(snapshot, asked, grid[:4], lite, sheets),
        "apart": beyond.words_apart(snapshot, vocabulary, params, asked, grid, measurer, sheets) if measurer else None,
    }
    metrics["memorisation_ratio_lite2"] = further["memorisation"]["ratio"]
    metrics["diversity_within_prompt_lite2"] = further["diversity"]
    metrics["interpolation_unevenness_lite2"] = further["unevenness"]
    keep_records(name, model, out)
    return {
        "format": 1,
        "dataset": name,
        "seed": settings.seed,
        "versions": {"textgan": textgan.__version__, "torch": torch.__version__.partition("+")[0]},
        "snapshot": {key: snapshot.info.get(key) for key in ("cur_nimg", "weights_sha256", "width", "height")},
        "metrics": metrics,
        "numbers": [asdict(number) for number in numbers],
        "fingerprints": fingerprints,
        "agreement": agreed,
        "retrieval": retrieval,
        "sheets": sheets.index,
        "grid_seeds": seeds,
        "not_computed": not_computed,
        **further,
    }


def keep_records(name: str, model: Path, out: Path) -> None:
    """What the report shows of the data and of the training, copied: the report reads one directory."""
    sources = {
        "curve.csv": model / "curve.csv",
        "captions.json": Path("data/captions") / name / "metrics.json",
        "images.json": Path("data/images") / name / "manifest.json",
        "pairs.json": Path("data/pairs") / name / "manifest.json",
    }
    for target, source in sources.items():
        if source.is_file():
            shutil.copyfile(source, out / target)


def check(snapshot: Snapshot, vocabulary: Vocabulary, test: Split, train: Split, params: DatasetParams) -> None:
    """Refuse what would give a number that means something else."""
    wanted = params.evaluate.num_images
    for split, name in ((test, "test"), (train, "train")):
        if len(split.keys) < wanted:
            raise UserError(
                f"params.yaml: evaluate.num_images is {wanted}; it must be at most {len(split.keys)}, the images of the"
                f" {name} split"
            )
    height, width = test.images.shape[1:3]
    size = snapshot.info["width"], snapshot.info["height"]
    if size != (width, height):
        raise UserError(
            f"{snapshot.directory}: makes {size[0]}x{size[1]} pictures; the test images are {width}x{height}"
        )
    if snapshot.info["vocabulary_sha256"] != vocabulary.sha256:
        raise UserError(f"{snapshot.directory}: its vocabulary is not that of the pairs; train on these pairs")
    broken = [name for name, value in snapshot.net.state_dict().items() if not torch.isfinite(value.float()).all()]
    if broken:
        raise UserError(
            f"{snapshot.directory}: {len(broken)} tensors are not finite ({broken[0]}); its pictures are NaN"
        )


def sample(snapshot: Snapshot, prompts: Prompts) -> Images:
    """A picture of each prompt."""
    return generate(snapshot, prompts.token_ids, prompts.seeds)


def _asked(params: DatasetParams, vocabulary: Vocabulary, test: Split) -> Prompts:
    settings, languages = params.evaluate, params.pairs.languages
    if settings.prompts == "heldout":
        count = settings.agreement_images
        return heldout_prompts(vocabulary, params.pairs.max_tokens, languages, count, settings.seed)
    return of_split_in_full(test, languages, settings.agreement_images, settings.seed)


def _only(facts: dict[str, str], names: set[str]) -> dict[str, str]:
    """Facts that the measurer can say at all; of the others nothing can be learnt."""
    return {name: value for name, value in facts.items() if name in names}


def _kinds(split: Split) -> list[str]:
    return [facts.get("kind", "") for facts in split.said()]


def _agreement(
    asked: Prompts,
    pictures: Images,
    test: Split,
    measurer: Measurer | None,
    params: DatasetParams,
    metrics: Metrics,
    sheets: Sheets,
) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """Facts of the pictures measured again, against the prompts; metrics get one number a fact and its control."""
    protocol, seed = params.evaluate.prompts, params.evaluate.seed
    suffix = f"{count_name(len(asked))}_{protocol}"
    if measurer is None:
        metrics[f"agreement_colour_{suffix}"] = None
        return None, {f"agreement_*_{suffix}": WHY_NO_AGREEMENT}
    measured = measurer.measure(pictures)
    real = measurer.measure(test.images[:REAL_MEASURED])
    said = {name for facts in real for name in facts}
    wanted = [_only(facts, said) for facts in asked.facts]
    facts = agreement(wanted, measured, seed)
    beyond.worst(asked, wanted, measured, pictures, sheets)
    truth = agreement([_only(facts, said) for facts in test.said()[:REAL_MEASURED]], real, seed)
    by_language = {}
    for language in sorted(set(asked.languages)):
        places = [place for place, other in enumerate(asked.languages) if other == language]
        own = agreement([wanted[p] for p in places], [measured[p] for p in places], seed)
        by_language[language] = {fact.name: asdict(fact.matched) for fact in own}
    for fact in facts:
        metrics[f"agreement_{fact.name}_{suffix}"] = fact.matched.value
        metrics[f"agreement_{fact.name}_{suffix}_shuffled"] = fact.shuffled.value
    return {
        "protocol": protocol,
        "measurer": measurer.name,
        "pictures": len(asked),
        "facts": [asdict(fact) for fact in facts],
        "main_facts": list(MAIN_FACTS),
        "main_all_right": asdict(all_right(wanted, measured, MAIN_FACTS)),
        "real": {fact.name: {**asdict(fact.matched), "count": fact.count} for fact in truth},
        "never_measured": sorted({name for facts in asked.facts for name in facts} - said),
        "by_language": by_language,
    }, {}


def _retrieval(
    directory: Path, test: Split, fake: Images, prompts: Prompts, seed: int, metrics: Metrics
) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """R-precision of generated pictures, between that of real pairs and that of shuffled ones; or why there is none."""
    name = f"r_precision100_{count_name(len(fake))}_matcher_test"
    said = [json.dumps(facts, sort_keys=True) for facts in prompts.facts]
    reason = why_not(said)
    if reason is not None:
        metrics[name] = metrics[f"{name}_shuffled"] = None
        return None, {name: reason}
    matcher, backbone = load_matcher(directory), MatcherBackbone()
    texts = text_vectors(matcher, prompts.token_ids)
    fakes = image_vectors(matcher, backbone, fake, "generated images")
    reals = image_vectors(matcher, backbone, test.images, "test images")
    other = np.random.default_rng(derive_seed(seed, "shuffle")).permutation(len(fake))
    results = {
        "generated": r_precision(fakes, texts, said, seed),
        "real": r_precision(reals, texts, said, seed),
        "shuffled": r_precision(fakes[other], texts, said, seed),
    }
    metrics[name] = results["generated"].value
    metrics[f"{name}_shuffled"] = results["shuffled"].value
    return {
        "name": name,
        "matcher_sha256": sha256_file(directory / "matcher.safetensors"),
        **{key: asdict(value) for key, value in results.items()},
    }, {}


def rounded(value: Any) -> Any:
    """Six significant digits: more are noise of the last bits, and would make equal results look unlike."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(entry) for entry in value]
    return value


def summary(result: dict[str, Any]) -> list[str]:
    """The main numbers, a line each."""
    lines = []
    for number in result["numbers"]:
        if number["what"] in ("kid", "coverage"):
            interval = f"[{number['low']:.4g}, {number['high']:.4g}]"
            lines.append(f"{number['name']}: {number['value']:.4g} {interval}, floor {number['floor']:.4g}")
    agreed = result["agreement"]
    for fact in agreed["facts"] if agreed else []:
        control = f"exactly {fact['shuffled_exact']:.1%}, prompt base rate {fact['base_rate']:.1%}"
        lines.append(
            f"agreement {fact['name']}: {fact['matched']['value']:.1%} of {fact['count']};"
            f" shuffled prompts {fact['shuffled']['value']:.1%} ({control})"
        )
    found = result["retrieval"]
    if found:
        lines.append(
            f"{found['name']}: {found['generated']['value']:.1%}; real {found['real']['value']:.1%},"
            f" shuffled {found['shuffled']['value']:.1%}"
        )
    return lines + [f"{name}: not computed. {reason}" for name, reason in result["not_computed"].items()]


if __name__ == "__main__":
    program(main)
