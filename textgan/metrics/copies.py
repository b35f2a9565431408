"""Are samples copies of training images: searched in features and in pixels, beside a control with planted copies.

Both searches go through all of train, or through the 20,000 of the smallest seeded hash. Features are those of
Lite2 at 64 px, a sixth of the cost at 128; pixels are those of 16 x 16 thumbnails. The control: one in twenty of the
samples gives way to a training image, through JPEG once more as the shards do it. The rule that judges the samples
must flag it. A second control, through JPEG of quality 75, says how far a copy may be from its original: of drawn
pictures features find next to none of those, pixels all.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import PIL
from PIL import Image

from textgan.dataset import ImageShards
from textgan.files import fingerprint
from textgan.metrics.corruptions import jpeg
from textgan.metrics.features import Extractor, Features, Images, extract_cached
from textgan.metrics.intervals import wilson
from textgan.metrics.memorisation import Distances, distances, memorisation
from textgan.metrics.sheets import Sheets
from textgan.metrics.splits import DATA, manifest_of, samples, thumbnail
from textgan.seeds import derive_seed

SEARCHED = 20_000
SEARCH_PX, THUMBNAIL_PX = 64, 16
BLOCK = 1024
"""Training images at once: of large ones only so many are held."""
SHOWN = 8
PLANTED = 0.05
QUALITY, HARD_QUALITY = 95, 75
"""Of the JPEG that copies go through: full colour at 95 as in the shards; colours at half the size at 75."""
SUSPECTED = 0.02
"""Copying is suspected where a larger share of samples is nearer to training than 99 % of test images are."""


@dataclass(frozen=True, slots=True)
class Searched:
    """Training images that are searched, as both searches see them."""

    keys: list[str]
    features: Features
    pixels: Features
    all_of_train: bool

    def print(self) -> dict[str, Any]:
        """What the fingerprint says of them."""
        keys = fingerprint(self.keys)
        made = {"thumbnail_px": THUMBNAIL_PX, "pillow": PIL.__version__}  # which makes thumbnails and planted copies
        return {"searched_images": len(self.keys), "searched_keys": keys, **made}


def read_searched(dataset: str, extractor: Extractor, seed: int, count: int = SEARCHED) -> Searched:
    """Features and thumbnails of all training images, at most `count`, block by block."""
    keys: list[str] = []
    features: list[Features] = []
    thumbnails: list[Images] = []
    block: list[Images] = []

    def see() -> None:
        what = f"train images {len(keys) - len(block) + 1} to {len(keys)}"
        features.append(extract_cached(np.stack(block), extractor, what))
        block.clear()

    for picture, row in samples(dataset, "train", count, seed):
        keys.append(row.sample_key)
        block.append(np.asarray(picture, dtype=np.uint8))
        thumbnails.append(thumbnail(picture, THUMBNAIL_PX))
        if len(block) == BLOCK:
            see()
    if block:
        see()
    whole = len(keys) == manifest_of(dataset)["splits"]["train"]["images"]
    return Searched(keys, np.concatenate(features), _flat(np.stack(thumbnails)), whole)


def _flat(images: Images) -> Features:
    return images.reshape(len(images), -1).astype(np.float32)


def pixels_of(images: Images) -> Features:  # [N,H,W,3] -> [N,768]
    """Thumbnails as rows of numbers."""
    return _flat(np.stack([thumbnail(Image.fromarray(image), THUMBNAIL_PX) for image in images]))


def read_pictures(dataset: str, keys: list[str]) -> Images:
    """Training images by key, in the order of `keys`; shards are not read through for them."""
    shards = ImageShards(DATA / "images" / dataset, "train")
    places = {key: place for place, key in enumerate(shards.keys)}
    rows = []
    for key in keys:
        with Image.open(io.BytesIO(shards.encoded(places[key]))) as picture:
            rows.append(np.asarray(picture.convert("RGB"), dtype=np.uint8))
    return np.stack(rows)


def copies(
    fake: Images,
    test: Images,
    searched: Searched,
    pictures: Callable[[list[str]], Images],  # training images by key
    extractor: Extractor,
    seed: int,
    sheets: Sheets,
) -> dict[str, Any]:
    """Both searches, the control beside each, and the closest samples above their nearest training images."""
    places, keys = plant(len(fake), searched.keys, seed)
    taken = pictures(keys)
    planted, hard = jpeg(taken, QUALITY, full_colour=True), jpeg(taken, HARD_QUALITY)

    named = {"generated images": fake, "test images": test, "planted copies": planted, "copies of quality 75": hard}
    features = [extract_cached(images, extractor, what) for what, images in named.items()]
    by_features, found = _judged(features, places, searched.features, seed)
    by_pixels, found_in_pixels = _judged(
        [pixels_of(images) for images in named.values()], places, searched.pixels, seed
    )
    closest = np.argsort(found.samples, kind="stable")[:SHOWN]
    neighbours = [searched.keys[place] for one in (found, found_in_pixels) for place in one.places[closest]]
    rows = np.concatenate([fake[closest], pictures(neighbours)])
    sheets.tiles("neighbours", rows, ("samples", "nearest in features", "nearest in pixels"), columns=len(closest))
    said = {"all_of_train": searched.all_of_train, "suspected_from": SUSPECTED}
    return {**by_features, **said, "pixels": {**by_pixels, **said, "side_px": THUMBNAIL_PX}}


def copied_names(found: dict[str, Any]) -> dict[str, float | None]:
    """The numbers that have a name of their own, the control's beside them."""
    named: dict[str, float | None] = {}
    for how, part in (("lite2", found), (f"pixels{found['pixels']['side_px']}", found["pixels"])):
        named[f"memorisation_ratio_{how}"] = part["ratio"]
        named[f"memorisation_nearer_{how}"] = part["nearer_than_test"]
        named[f"memorisation_nearer_{how}_planted"] = part["planted"]["nearer_than_test"]
    return named


def plant(count: int, keys: list[str], seed: int) -> tuple[np.ndarray, list[str]]:
    """Places among `count` samples, and the training images that take them: both by lot."""
    rng = np.random.default_rng(derive_seed(seed, "planted copies"))
    number = min(max(1, round(PLANTED * count)), len(keys))
    return rng.permutation(count)[:number], [keys[place] for place in rng.permutation(len(keys))[:number]]


def _judged(
    seen: Sequence[Features],  # of samples, test images, planted copies, hard ones
    places: np.ndarray,
    train: Features,
    seed: int,
) -> tuple[dict[str, Any], Distances]:
    """Numbers of the samples and of the controls; and how far each sample is from its nearest."""
    fake, test, planted, hard = seen
    own = distances(fake, test, train)
    judged = memorisation(own, seed)
    near = wilson(round(judged.nearer_than_test * len(fake)), len(fake))
    values = {**asdict(judged), "low": near.low, "high": near.high, "flagged": judged.nearer_than_test > SUSPECTED}
    for name, copied, quality in (("planted", planted, QUALITY), ("planted_hard", hard, HARD_QUALITY)):
        control = own.with_samples(places, copied, train)
        share = control.nearer_than_test
        values[name] = {
            "share": len(places) / len(fake),
            "jpeg_quality": quality,
            "nearer_than_test": share,
            "found": float(np.mean(control.samples[places] < own.threshold)),
            "flagged": share > SUSPECTED,
        }
    return values, own
