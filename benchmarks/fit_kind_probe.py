"""Fit the measure that tells drawn cats from drawn cars by their outline: writes textgan/facts/kind_probe.json.

Usage: python -m benchmarks.fit_kind_probe [PICTURES]    (of each kind; pictures of the training split's kind,
held-out combinations left out; scored on pictures of another seed)
"""

from __future__ import annotations

import io
import sys

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression

from pipeline.draw import KINDS, picture
from textgan.facts.colour import srgb_to_lab
from textgan.facts.drawn import picture_facts
from textgan.facts.heldout import heldout
from textgan.facts.measure import PROBE_FILE, SIDE_PX, find_outlines, outline_features
from textgan.files import write_json
from textgan.seeds import derive_seed

_FIT_SEED, _SCORE_SEED = 101, 102
_QUALITIES = (95, 60)


def small_picture(facts: dict[str, str], seed: int, index: int, quality: int) -> np.ndarray:
    """The central square of a drawn picture at 64 px after JPEG."""
    image = Image.fromarray(picture(facts, seed, index))
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0)
    return np.asarray(Image.open(buffer).convert("RGB"))


def pictures(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` pictures of each kind [N,64,64,3], and whether each is a car [N]."""
    images, cars = [], []
    for kind in KINDS:
        for idx in range(count):
            quality = _QUALITIES[derive_seed(seed, "quality", idx) % len(_QUALITIES)]
            images.append(small_picture(picture_facts(seed, kind, idx, heldout()), seed, idx, quality))
            cars.append(kind == "car")
    return np.stack(images), np.array(cars)


def blotched(images: np.ndarray) -> np.ndarray:
    """The pictures with the blotches that generated ones have: noise of 4 and of 10 px, uint8 [N,64,64,3]."""
    rng = np.random.default_rng(derive_seed(_FIT_SEED, "blotches"))
    noisy = images.astype(np.float32)
    for cells, strength in ((16, 8), (6, 6)):
        noise = rng.standard_normal((len(images), cells, cells, 3)).astype(np.float32) * strength
        steps = np.arange(SIDE_PX) * cells // SIDE_PX
        noisy += noise[:, steps][:, :, steps]
    return np.clip(noisy, 0, 255).astype(np.uint8)


def main() -> None:
    """Fit on one seed, score on another, store the coefficients rounded to five digits."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    images, cars = pictures(_FIT_SEED, count)
    versions = (images, images[:, :, ::-1], blotched(images))
    features = [outline_features(find_outlines(srgb_to_lab(part))) for part in versions]
    model = LogisticRegression(C=0.1, max_iter=2000).fit(np.concatenate(features), np.tile(cars, len(versions)))
    weights = [round(float(value), 5) for value in model.coef_[0]]
    bias = round(float(model.intercept_[0]), 5)
    images, cars = pictures(_SCORE_SEED, count // 2)
    outlines = find_outlines(srgb_to_lab(np.ascontiguousarray(images)))
    right = ((outline_features(outlines) @ np.array(weights) + bias > 0) == cars).mean()
    write_json(PROBE_FILE, {"weights": weights, "bias": bias, "fitted_on": 2 * count, "right": round(float(right), 5)})
    print(f"{PROBE_FILE.name}: right in {100 * right:.2f} % of {len(cars)} pictures of another seed")


if __name__ == "__main__":
    main()
