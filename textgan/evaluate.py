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
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textgan import params as parameters
from textgan.errors import UserError, program
from textgan.files import publishing, write_json
from textgan.metrics import beyond, fingerprints
from textgan.metrics.apart import separation, words_apart
from textgan.metrics.copies import SEARCH_PX, copied_names, copies, read_pictures, read_searched
from textgan.metrics.features import Extractor, Images, LiteExtractor, PatchExtractor, extract_together
from textgan.metrics.fingerprints import Prints
from textgan.metrics.full import full_distance
from textgan.metrics.kernel import MIN_IMAGES
from textgan.metrics.listening import Metrics, agreement_numbers, clip_numbers, retrieval_numbers, scorer_of
from textgan.metrics.matcher import MatcherBackbone, learnt_from
from textgan.metrics.measuring import measurer_of
from textgan.metrics.one_prompt import of_z, pictures_of_prompts, z_names
from textgan.metrics.prompts import Prompts, grid_prompts, heldout_prompts, of_split, of_split_in_full, read_by
from textgan.metrics.sheets import Sheets
from textgan.metrics.splits import Split, manifest_of, read_split
from textgan.metrics.suite import References, image_numbers
from textgan.metrics.summary import summary
from textgan.metrics.supplied import ClipExtractor, InceptionExtractor, load_supplied
from textgan.params import DatasetParams
from textgan.sampling import Snapshot, generate, load_snapshot
from textgan.seeds import derive_seed
from textgan.text import Vocabulary

FEWEST = max(MIN_IMAGES, PatchExtractor.FEWEST)
"""Images below which some number would mean nothing."""
UNCURATED = 64


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
    matcher = Path("models") / f"{name}-matcher"
    learnt = learnt_from(matcher, name)
    train = read_split(name, "train", settings.num_images, derive_seed(settings.seed, "floor"), avoid=learnt)
    check(snapshot, vocabulary, test, train, params)
    scorer = scorer_of(matcher, vocabulary)
    supplied = load_supplied(settings.weights or {})
    sheets = Sheets(out)

    prompts = of_split(test, settings.seed)
    fake = sample(snapshot, prompts)
    references = References(test.images, train.images, _kinds(test), _kinds(train))
    numbers, prints = [], Prints()
    lite = LiteExtractor("lite2")
    backbone = MatcherBackbone(lite.levels)
    both: list[Extractor] = [lite, backbone]
    for images, what in ((test.images, "test images"), (fake, "generated images")):
        extract_together(images, both, what)
    made = fingerprints.dataset(manifest_of(name))
    against = {**fingerprints.real(test.images), **made, "prompts_of": fingerprints.asked(prompts)}
    floors = {"train": fingerprints.real(train.images)}
    extractors: list[Extractor] = [lite, PatchExtractor(train.images), *supplied]
    for extractor in extractors:
        found = image_numbers(references, fake, extractor, settings.seed)
        numbers += found
        names = [number.name for number in found]
        prints.add(extractor.name, names, fake, **against, **floors, **fingerprints.extractor(extractor))
    metrics: Metrics = {number.name: number.value for number in numbers}

    further = further_numbers(name, snapshot, supplied, test, fake, prompts, params, metrics, prints)
    asked = _asked(params, vocabulary, test)
    pictures = sample(snapshot, asked)
    measurer, reason = measurer_of(name, params.captions, caption_sources(name))
    agreed, not_computed = agreement_numbers(asked, pictures, test, measurer, reason, params, metrics, sheets)
    names = [metric for metric in metrics if metric.startswith("agreement_")]
    said = {
        **fingerprints.measured(measurer.identity if measurer else None, measurer.name if measurer else None),
        **fingerprints.asked(asked),
    }
    counted = {"facts": agreed["measured"]} if agreed else {}
    prints.add("agreement", names, pictures, **made, **said, **counted)
    retrieval, why_not = retrieval_numbers(scorer, backbone, test, fake, prompts, settings.seed, metrics)
    not_computed |= why_not
    names = [metric for metric in metrics if metric.startswith("r_precision")]
    scored = fingerprints.matcher(matcher / "matcher.safetensors", backbone.identity)
    wrong = {"mismatches_sha256": retrieval["mismatches_sha256"], "seed": settings.seed} if retrieval else {}
    prints.add("retrieval", names, fake, **against, **scored, **wrong)

    grid = grid_prompts(asked, settings.grid_prompts)
    seeds = list(range(settings.grid_seeds))
    places, of_prompt = pictures_of_prompts(snapshot, asked, grid, seeds)
    sheets.rows(
        "grid",
        [of_prompt[place] for place in grid],
        [asked.texts[place] for place in grid],
        [asked.languages[place] for place in grid],
    )
    shown = test.drawn(UNCURATED, settings.seed, "uncurated")
    sheets.tiles("uncurated", fake[shown])
    sheets.tiles("real", test.images[shown])
    near = LiteExtractor("lite2", SEARCH_PX)
    searched = read_searched(name, near, derive_seed(settings.seed, "floor"))
    copied = copies(fake, test.images, searched, partial(read_pictures, name), near, settings.seed, sheets)
    readable = set(agreed["real"]) if agreed else set()
    alone, too_few = beyond.by_kind(references, fake, prompts, lite, settings.seed)
    z, silent = of_z(snapshot, asked, places, of_prompt, references, lite, settings.seed, sheets)
    further |= {
        "memorisation": copied,
        "by_kind": alone,
        **z,
        "apart": words_apart(snapshot, vocabulary, params, asked, grid, measurer, readable, sheets)
        if measurer
        else None,
    }
    named = copied_names(copied)
    prints.add("copies", named, fake, **against, **searched.print(), **fingerprints.extractor(near))
    latent: Metrics = {
        **z_names(z),
        **{kind["name"]: kind["kid"] for kind in further["by_kind"].values()},
        **separation(further["apart"]),
    }
    not_computed |= too_few | silent
    metrics |= named | latent
    drawn = np.concatenate([fake, *of_prompt.values()])
    more = {"grid_prompts": len(grid), "grid_seeds": len(seeds), "prompts_of_one": len(places), **floors}
    prints.add("latent", latent, drawn, **against, **said, **more, **fingerprints.extractor(lite))
    keep_records(name, model, out)
    return {
        "format": 1,
        "dataset": name,
        "seed": settings.seed,
        "versions": fingerprints.versions(),
        "snapshot": {key: snapshot.info.get(key) for key in ("cur_nimg", "weights_sha256", "width", "height")},
        "metrics": metrics,
        "numbers": [asdict(number) for number in numbers],
        "fingerprints": prints.data,
        "fingerprint_index": prints.index(),
        "agreement": agreed,
        "retrieval": retrieval,
        "sheets": sheets.index,
        "grid_seeds": seeds,
        "train_images_of_the_matcher_too": len(set(learnt) & set(train.keys)),
        **further,
        "not_computed": not_computed | further["not_computed"],
    }


def further_numbers(
    name: str,
    snapshot: Snapshot,
    supplied: list[Extractor],
    test: Split,
    fake: Images,
    prompts: Prompts,
    params: DatasetParams,
    metrics: Metrics,
    prints: Prints,
) -> dict[str, Any]:
    """What only supplied weights give: fid50k_full, and CLIP score."""
    settings = params.evaluate
    found: dict[str, Any] = {"full": None, "clip": None, "reference": [], "not_computed": {}}
    for extractor in supplied:
        if isinstance(extractor, InceptionExtractor):
            found["reference"] = [{**asdict(check), "holds": check.holds} for check in extractor.reference]
            full = full_distance(name, snapshot, extractor, settings.full_images, settings.seed)
            found["full"], metrics[full["name"]] = full, full["value"]
            made: dict[str, Any] = {key: full[key] for key in ("real_images", "generated_images")}
            made |= {key: full[key] for key in ("floor_images", "prompts_sha256", "seed")}
            shards = [shard["sha256"] for shard in manifest_of(name)["splits"]["train"]["shards"]]
            made |= {"shards": shards, fingerprints.GENERATED: "streamed, not kept"}
            prints.add("full", [full["name"]], fake, **made, **fingerprints.extractor(extractor))
        if isinstance(extractor, ClipExtractor):
            before = set(metrics)
            found["clip"], reason = clip_numbers(extractor, test, fake, prompts, settings.seed, metrics)
            found["not_computed"] |= reason
            said = {**fingerprints.real(test.images), **fingerprints.asked(prompts)}
            prints.add("clip", sorted(set(metrics) - before), fake, **said, **fingerprints.extractor(extractor))
    return found


def caption_sources(name: str) -> list[str]:
    """Where the facts of the captions come from, as the stage captions counted them."""
    file = Path("data/captions") / name / "metrics.json"
    try:
        return list(json.loads(file.read_text(encoding="utf-8"))["sources"])
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; the stage captions writes it") from None


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
    if wanted < FEWEST:
        raise UserError(
            f"params.yaml: evaluate.num_images is {wanted}; KID and whitened patches need at least {FEWEST}"
        )
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
    return generate(snapshot, read_by(snapshot, prompts), prompts.seeds)


def _asked(params: DatasetParams, vocabulary: Vocabulary, test: Split) -> Prompts:
    settings, languages = params.evaluate, params.pairs.languages
    if settings.prompts == "heldout":
        count = settings.agreement_images
        return heldout_prompts(vocabulary, params.pairs.max_tokens, languages, count, settings.seed)
    return of_split_in_full(test, languages, settings.agreement_images, settings.seed)


def _kinds(split: Split) -> list[str]:
    return [facts.get("kind", "") for facts in split.said()]


def rounded(value: Any) -> Any:
    """Six significant digits: more are noise of the last bits, and would make equal results look unlike."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(entry) for entry in value]
    return value


if __name__ == "__main__":
    program(main)
