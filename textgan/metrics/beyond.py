"""Beyond the averages: copies, diversity, smoothness, kinds apart, z and words apart, the worst cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import Image

from textgan.metrics.agreement import Facts
from textgan.metrics.features import Extractor, Features, Images, extract, extract_cached
from textgan.metrics.kernel import MIN_IMAGES, kernels, kid
from textgan.metrics.latent import diversity, walk
from textgan.metrics.measuring import Measurer
from textgan.metrics.memorisation import memorisation
from textgan.metrics.prompts import Prompts, read_by
from textgan.metrics.sheets import Sheets
from textgan.metrics.splits import thumbnail
from textgan.metrics.suite import References
from textgan.params import DatasetParams
from textgan.sampling import Prompt, Snapshot, generate, read_prompts
from textgan.seeds import derive_seed
from textgan.text import Vocabulary, encode_prompt

STEPS = 8
SHOWN = 16
KEPT_BY_WORDS = ("kind", "side", "background")


def copies(references: References, fake: Images, extractor: Extractor, sheets: Sheets) -> dict[str, Any]:
    """Memorisation in features, and the closest pairs as a sheet: samples above their nearest training images."""
    train = extract_cached(references.train, extractor, "train images")
    found = memorisation(
        extract_cached(fake, extractor, "generated images"),
        extract_cached(references.test, extractor, "test images"),
        train,
    )
    pairs = [fake[row] for row, _ in found.nearest] + [references.train[place] for _, place in found.nearest]
    sheets.tiles("neighbours", np.stack(pairs), columns=len(found.nearest))
    return {key: value for key, value in asdict(found).items() if key != "nearest"}


def copied_pixels(fake: Images, test: Images, train: Images, all_of_train: bool) -> dict[str, Any]:
    """The same in pixels of thumbnails, so cheap that (nearly) all training images take part."""
    px = train.shape[1]
    samples, reals = (np.stack([thumbnail(Image.fromarray(image), px) for image in images]) for images in (fake, test))
    found = memorisation(_flat(samples), _flat(reals), _flat(train))
    values = {key: value for key, value in asdict(found).items() if key != "nearest"}
    return {**values, "side_px": px, "all_of_train": all_of_train}


def _flat(images: Images) -> Features:
    return images.reshape(len(images), -1).astype(np.float32)


def by_kind(references: References, fake: Images, prompts: Prompts, extractor: Extractor, seed: int) -> dict[str, Any]:
    """KID of each kind alone, with its floor."""
    features = {
        "test": extract_cached(references.test, extractor, "test images"),
        "train": extract_cached(references.train, extractor, "train images"),
        "fake": extract_cached(fake, extractor, "generated images"),
    }
    kinds = {
        "test": references.test_kinds,
        "train": references.train_kinds,
        "fake": [facts.get("kind", "") for facts in prompts.facts],
    }
    results: dict[str, Any] = {}
    for kind in sorted(set(kinds["test"]) - {""}):
        part = {side: features[side][np.asarray([other == kind for other in kinds[side]])] for side in features}
        if min(map(len, part.values())) >= MIN_IMAGES:
            value = kid(kernels(part["test"], part["fake"]), seed)
            floor = kid(kernels(part["test"], part["train"]), seed, resamples=2)
            results[kind] = {
                "kid": value.value, "low": value.low, "high": value.high, "floor": floor.value,
                "images": len(part["fake"]),
            }  # fmt: skip
    return results


def within_prompts(rows: Sequence[Images], kinds: Sequence[str], references: References, extractor: Extractor) -> float:
    """Diversity of the grid's rows, relative to real pictures of their kinds."""
    test = extract_cached(references.test, extractor, "test images")
    real = {
        kind: test[np.asarray([other == kind for other in references.test_kinds])]
        for kind in set(references.test_kinds)
    }
    features = extract(np.concatenate(rows), extractor, "the grid's samples")
    return diversity(np.split(features, len(rows)), real, kinds)


def walks(snapshot: Snapshot, asked: Prompts, places: Sequence[int], extractor: Extractor, sheets: Sheets) -> float:
    """Mean unevenness over a few prompts, and the walks as a sheet."""
    prompts = read_by(snapshot, asked)
    found = [walk(snapshot, prompts[place], (0, 1), STEPS, extractor) for place in places]
    sheets.rows(
        "interpolation",
        [one.images for one in found],
        [asked.texts[place] for place in places],
        [asked.languages[place] for place in places],
    )
    return float(np.mean([one.unevenness for one in found]))


def worst(asked: Prompts, wanted: Sequence[Facts], measured: Sequence[Facts], pictures: Images, sheets: Sheets) -> None:
    """The pictures with the most wrong facts, on purpose."""
    wrong = [
        [name for name, value in facts.items() if seen.get(name) != value]
        for facts, seen in zip(wanted, measured, strict=True)
    ]
    order = sorted(range(len(wrong)), key=lambda place: (-len(wrong[place]), place))[:SHOWN]
    texts = [f"{asked.texts[place]} ({', '.join(wrong[place]) or 'nothing'} wrong)" for place in order]
    sheets.tiles("worst", pictures[order], texts)


def words_apart(
    snapshot: Snapshot,
    vocabulary: Vocabulary,
    params: DatasetParams,
    asked: Prompts,
    places: Sequence[int],
    measurer: Measurer,
    sheets: Sheets,
) -> dict[str, Any] | None:
    """The same z with another colour word: is the new colour there, and does the rest stay?"""
    from textgan.facts.wording import realise

    colours = sorted({facts["colour"] for facts in asked.facts if "colour" in facts})[:STEPS]
    rows, languages, texts, wanted, groups = [], [], [], [], []
    for row, place in enumerate(places):
        facts, language = asked.facts[place], asked.languages[place]
        if "colour" not in facts or len(colours) < 2:
            continue
        prompts: list[Prompt] = []
        for colour in colours:
            changed = {**facts, "colour": colour}
            text = realise(changed, language, derive_seed(params.evaluate.seed, "apart", place), 1)[0]
            ids = encode_prompt(text, vocabulary, params.pairs.max_tokens)
            prompts += read_prompts(snapshot, [text], [ids], [language], [changed])
            wanted.append(changed)
            groups.append(row)
        rows.append(generate(snapshot, prompts, [asked.seeds[place]] * len(prompts)))
        texts.append(asked.texts[place])
        languages.append(language)
    if not rows:
        return None
    sheets.rows("apart", rows, texts, languages)
    measured = measurer.measure(np.concatenate(rows))
    both = zip(wanted, measured, strict=True)
    changed_right = float(np.mean([seen.get("colour") == facts["colour"] for facts, seen in both]))
    kept = {}
    for name in (one for one in KEPT_BY_WORDS if any(one in seen for seen in measured)):
        shares = []
        for group in sorted(set(groups)):
            values = [seen.get(name) for seen, own in zip(measured, groups, strict=True) if own == group]
            shares.append(max(values.count(value) for value in values) / len(values))
        kept[name] = float(np.mean(shares))
    return {"colours": colours, "colour_right": changed_right, "kept": kept, "pictures": len(measured)}


def separation(apart: dict[str, Any] | None) -> dict[str, float]:
    """The numbers of `words_apart`: the changed word is right, and each other fact keeps its commonest value."""
    if apart is None:
        return {}
    return {"colour_right": apart["colour_right"], **{f"{name}_kept": share for name, share in apart["kept"].items()}}
