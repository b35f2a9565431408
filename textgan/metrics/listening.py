"""Does the picture do what the words say: facts measured again, and R-precision, each beside its control."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from textgan.errors import UserError
from textgan.metrics import beyond
from textgan.metrics.agreement import agreement, all_right
from textgan.metrics.chance import chance_of_pairs
from textgan.metrics.features import Images
from textgan.metrics.intervals import mean_interval
from textgan.metrics.kernel import MIN_IMAGES
from textgan.metrics.matcher import Matcher, MatcherBackbone, image_vectors, load_matcher, text_vectors
from textgan.metrics.measuring import Measurer
from textgan.metrics.prompts import Prompts, units
from textgan.metrics.retrieval import mismatches, r_precision, why_not
from textgan.metrics.sheets import Sheets
from textgan.metrics.splits import Split
from textgan.metrics.suite import count_name
from textgan.metrics.supplied import ClipExtractor, clip_scores
from textgan.params import DatasetParams
from textgan.seeds import derive_seed
from textgan.text import Vocabulary

Metrics = dict[str, float | None]
REAL_MEASURED = 300
"""Real test pictures measured too: what the measurer gets right at best."""
MAIN_FACTS = ("kind", "colour", "background", "side")


def _only(facts: dict[str, str], names: set[str]) -> dict[str, str]:
    """Facts that the measurer can say at all; of the others nothing can be learnt."""
    return {name: value for name, value in facts.items() if name in names}


def agreement_numbers(
    asked: Prompts,
    pictures: Images,
    test: Split,
    measurer: Measurer | None,
    reason: str,
    params: DatasetParams,
    metrics: Metrics,
    sheets: Sheets,
) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """Facts of the pictures measured again, against the prompts; metrics get one number a fact and its control.

    `reason` says why there is no measurer, where there is none.
    """
    protocol, seed = params.evaluate.prompts, params.evaluate.seed
    suffix = f"{count_name(len(asked))}_{protocol}"
    if measurer is None:
        metrics[f"agreement_colour_{suffix}"] = None
        return None, {f"agreement_*_{suffix}": reason}
    measured = measurer.measure(pictures)
    places = test.drawn(REAL_MEASURED, seed, "measured")
    real = measurer.measure(test.images[places])
    said = {name for facts in real for name in facts}
    wanted = [_only(facts, said) for facts in asked.facts]
    apart = units(asked, protocol)
    facts = agreement(wanted, measured, seed, asked.seeds, apart)
    if not facts:
        metrics[f"agreement_colour_{suffix}"] = None
        reason = f"Of {len(real)} real images {measurer.name} reads no fact that a prompt says."
        return None, {f"agreement_*_{suffix}": reason}
    beyond.worst(asked, wanted, measured, pictures, sheets)
    given = test.said()
    truth = agreement([_only(given[place], said) for place in places], real, seed)
    by_language = {}
    for language in sorted(set(asked.languages)):
        of = [place for place, other in enumerate(asked.languages) if other == language]
        groups = [asked.seeds[p] for p in of], [apart[p] for p in of]
        own = agreement([wanted[p] for p in of], [measured[p] for p in of], seed, *groups)
        by_language[language] = {fact.name: {**asdict(fact.matched), "chance": asdict(fact.chance)} for fact in own}
        for fact in own:
            metrics[f"agreement_{language}_{fact.name}_{count_name(len(of))}_{protocol}"] = fact.matched.value
    together = all_right(wanted, measured, MAIN_FACTS, seed, asked.seeds, apart)
    metrics[f"agreement_all_{suffix}"] = together.value if together.count else None
    metrics[f"agreement_all_{suffix}_shuffled"] = together.shuffled if together.count else None
    for fact in facts:
        metrics[f"agreement_{fact.name}_{suffix}"] = fact.matched.value
        metrics[f"agreement_{fact.name}_{suffix}_shuffled"] = fact.shuffled.value
    return {
        "protocol": protocol,
        "measurer": measurer.name,
        "pictures": len(asked),
        "facts": [asdict(fact) for fact in facts],
        "main_facts": [name for name in MAIN_FACTS if name in {fact.name for fact in facts}],
        "caveat": measurer.caveat,
        "main_all_right": asdict(together),
        "units": len(set(apart)),
        "real": {fact.name: {**asdict(fact.matched), "count": fact.count} for fact in truth},
        "measured": sorted(said),
        "never_measured": sorted({name for facts in asked.facts for name in facts} - said),
        "by_language": by_language,
    }, {}


def scorer_of(directory: Path, vocabulary: Vocabulary) -> Matcher:
    """The matcher. Raises UserError where it is not here, damaged, or reads other words than these pairs."""
    try:
        scorer = load_matcher(directory)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{directory / 'matcher.safetensors'}: no matcher: {str(error).splitlines()[0]}") from None
    if scorer.spec.vocabulary_sha256 != vocabulary.sha256:
        raise UserError(f"{directory}: its vocabulary is not that of the pairs; run the stage matcher again")
    return scorer


def retrieval_numbers(
    matcher: Matcher,
    backbone: MatcherBackbone,
    test: Split,
    fake: Images,
    prompts: Prompts,
    seed: int,
    metrics: Metrics,
) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """R-precision of generated pictures, between that of real pairs and that of shuffled ones; or why there is none."""
    name = f"r_precision100_{count_name(len(fake))}_matcher_test"
    wrong = mismatches(prompts.texts, prompts.facts)
    reason = why_not(wrong)
    if reason is not None:
        metrics[name] = metrics[f"{name}_shuffled"] = None
        return None, {name: reason}
    texts = text_vectors(matcher, prompts.token_ids)
    fakes = image_vectors(matcher, backbone, fake, "generated images")
    reals = image_vectors(matcher, backbone, test.images, "test images")
    other = np.random.default_rng(derive_seed(seed, "shuffle")).permutation(len(fake))
    counts = len(set(prompts.texts)), len({json.dumps(facts, sort_keys=True) for facts in prompts.facts})
    results = {
        key: r_precision(images, texts, wrong, seed, *counts)
        for key, images in (("generated", fakes), ("real", reals), ("shuffled", fakes[other]))
    }
    metrics[name] = results["generated"].value
    metrics[f"{name}_shuffled"] = results["shuffled"].value
    return {
        "name": name,
        "mismatches_sha256": hashlib.sha256(np.packbits(wrong).tobytes()).hexdigest(),
        **{key: asdict(value) for key, value in results.items()},
    }, {}


def clip_numbers(
    clip: ClipExtractor, test: Split, fake: Images, prompts: Prompts, seed: int, metrics: Metrics
) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """CLIP score of the English prompts, between that of real pairs and that of shuffled ones, beside chance."""
    places = [place for place, language in enumerate(prompts.languages) if language == "en"]
    if len(places) < MIN_IMAGES:
        return None, {"clip_score": f"CLIP reads English; {len(places)} prompts are, {MIN_IMAGES} are needed."}
    name = f"clip_score{count_name(len(places))}_test"
    vectors = clip.texts([prompts.texts[place] for place in places])
    scores = {
        key: clip_scores(clip, images[places], vectors, f"{key} images of English captions")
        for key, images in (("generated", fake), ("real", test.images))
    }  # [N,N]: picture, caption
    other = np.random.default_rng(derive_seed(seed, "shuffle", "clip")).permutation(len(places))
    rows = np.arange(len(places))
    pairs = {
        "generated": scores["generated"][rows, rows],
        "real": scores["real"][rows, rows],
        "shuffled": scores["generated"][rows, other],
    }
    found = {key: asdict(mean_interval(values, seed, "clip")) for key, values in pairs.items()}
    metrics[name], metrics[f"{name}_shuffled"] = found["generated"]["value"], found["shuffled"]["value"]
    chance = asdict(chance_of_pairs(scores["generated"], seed, "clip"))
    return {"name": name, "pictures": len(places), "chance": chance, **found}, {}
