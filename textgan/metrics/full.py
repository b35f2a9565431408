"""fid50k_full: the Fréchet distance that papers print, against the whole train split; statistics are streamed.

Only on Inception whose weights the user supplied. Images generated from train captions drawn by lot, all real train
images. The name counts the images: with 10,000 generated ones it is fid10k_full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

from textgan.files import fingerprint, write_bytes
from textgan.metrics.distances import Gaussian, RunningStatistics, frechet_distance
from textgan.metrics.features import BATCH, CACHE, Images, extract
from textgan.metrics.splits import manifest_of, read_captions, read_english, samples
from textgan.metrics.suite import count_name
from textgan.metrics.supplied import InceptionExtractor
from textgan.sampling import Prompt, Snapshot, generate, read_prompts
from textgan.seeds import derive_seed

BLOCK = 16 * BATCH


def full_distance(
    dataset: str, snapshot: Snapshot, extractor: InceptionExtractor, count: int, seed: int
) -> dict[str, Any]:
    """Name, value, and from how many images."""
    real_count, real = _real(dataset, extractor)
    captions = read_captions(dataset, "train")
    rng = np.random.default_rng(derive_seed(seed, "full"))
    places = rng.integers(0, len(captions), count)
    picks: Sequence[Prompt] = [captions[place] for place in places]
    if snapshot.settings.text_encoder == "minilm":
        english = read_english(dataset, "train")
        picks = read_prompts(snapshot, [english[place] for place in places], [], ["en"] * count)
    fake = RunningStatistics(len(real.mean))
    for start in range(0, count, BLOCK):
        part = picks[start : start + BLOCK]
        seeds = [derive_seed(seed, "full", start + offset) for offset in range(len(part))]
        fake.add(extract(generate(snapshot, part, seeds), extractor, f"generated images from {start} on"))
    return {
        "name": f"fid{count_name(count)}_full{'' if extractor.verified else '_unverified'}",
        "value": frechet_distance(real, fake.gaussian()),
        "generated_images": count,
        "real_images": real_count,
        "verified": extractor.verified,
    }


def _real(dataset: str, extractor: InceptionExtractor) -> tuple[int, Gaussian]:
    """Statistics of all train images, kept by the hashes of their shards and of the extractor."""
    shards = [shard["sha256"] for shard in manifest_of(dataset)["splits"]["train"]["shards"]]
    file = Path(CACHE) / f"full-{fingerprint({'shards': shards, **extractor.identity, 'batch': BATCH})}.safetensors"
    if file.is_file():
        kept = load_file(file)
        return int(kept["count"][0]), Gaussian(kept["mean"], kept["covariance"])
    running: RunningStatistics | None = None
    for block in _blocks(dataset):
        features = extract(block, extractor, "train images")
        running = running or RunningStatistics(features.shape[1])
        running.add(features)
    assert running is not None, "an empty split is refused while it is read"
    found = running.gaussian()
    count = np.asarray([running.count])
    write_bytes(file, save({"mean": found.mean, "covariance": found.covariance, "count": count}))
    return running.count, found


def _blocks(dataset: str) -> Iterator[Images]:
    rows: list[Images] = []
    for picture, _ in samples(dataset, "train", None, 0):
        rows.append(np.asarray(picture, dtype=np.uint8))
        if len(rows) == BLOCK:
            yield np.stack(rows)
            rows = []
    if rows:
        yield np.stack(rows)
