"""Stage matcher@D: train the frozen text-image scorer on a part of train that scores nothing else.

Usage: python -m textgan.match D        reads data/images/D, data/pairs/D; writes models/D-matcher/
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from textgan import params as parameters
from textgan.errors import UserError, program
from textgan.files import publishing
from textgan.metrics.features import extract_cached
from textgan.metrics.matcher import Matcher, MatcherBackbone, MatcherSpec, drawing_seed, save_matcher
from textgan.metrics.splits import Split, read_split
from textgan.params import MatcherParams
from textgan.progress import Progress
from textgan.seeds import derive_seed
from textgan.text import Vocabulary
from textgan.training_data import pad

WEIGHT_DECAY = 1e-2
HELD_BACK = 0.1
"""Part of the matcher's images that it does not learn from: its own accuracy is measured on them."""


def main(argv: list[str] | None = None) -> None:
    """Train the matcher of one dataset."""
    parser = argparse.ArgumentParser(prog="python -m textgan.match", description="Train the text-image scorer.")
    parser.add_argument("dataset")
    name = parser.parse_args(argv).dataset
    params = parameters.dataset(name).matcher
    vocabulary = Vocabulary.load(Path("data/pairs") / name / "vocabulary.json")
    split = read_split(name, "train", params.images, drawing_seed(params.seed))
    with publishing(Path("models") / f"{name}-matcher") as out:
        matcher, record = train(split, params, len(vocabulary), vocabulary.sha256)
        save_matcher(matcher, out, {"dataset": name, "params": asdict(params), **record})
        print(f"matcher: {record['images']} images, own caption first among 100 in {record['accuracy']:.1%}")


def train(split: Split, params: MatcherParams, words: int, vocabulary_sha256: str) -> tuple[Matcher, dict[str, object]]:
    """Contrastive training; captions of equal facts in a batch are no negatives of each other."""
    if len(split.keys) < 2 * params.batch_size:
        raise UserError(
            f"params.yaml: matcher.batch_size is {params.batch_size}; it must be at most half of the"
            f" {len(split.keys)} train images that the matcher gets"
        )
    features = torch.from_numpy(extract_cached(split.images, MatcherBackbone(), "train images of the matcher"))
    learn = len(features) - max(1, int(len(features) * HELD_BACK))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the network is small: threads would wait for each other more than they work
    torch.manual_seed(derive_seed(params.seed, "matcher", "weights"))
    matcher = Matcher(MatcherSpec(params.dim, words, vocabulary_sha256, features.shape[1]))
    matcher.mean.copy_(features[:learn].mean(dim=0))
    matcher.scale.copy_(features[:learn].std(dim=0) + 1e-3)
    _, groups = np.unique(np.asarray(split.facts), return_inverse=True)
    same = torch.from_numpy(groups)
    optimiser = torch.optim.AdamW(matcher.parameters(), lr=params.lr, weight_decay=WEIGHT_DECAY)
    steps_per_epoch = learn // params.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, params.lr, total_steps=params.epochs * steps_per_epoch)
    progress = Progress(params.epochs * steps_per_epoch * params.batch_size, "matcher")
    for epoch in range(params.epochs):
        rng = np.random.default_rng(derive_seed(params.seed, "matcher", "epoch", epoch))
        order = rng.permutation(learn)
        for step in range(steps_per_epoch):
            rows = order[step * params.batch_size : (step + 1) * params.batch_size]
            texts = pad([split.token_ids[row][rng.integers(len(split.token_ids[row]))] for row in rows])
            index = torch.from_numpy(rows)
            pictures, captions = matcher.encode_images(features[index]), matcher.encode_texts(texts)
            loss = contrastive_loss(pictures, captions, same[index], matcher.log_temperature)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            progress.update(len(rows), f"loss {loss.item():.3f}")
    progress.close()
    torch.set_num_threads(threads)
    matcher.eval()
    return matcher, {"images": learn, "accuracy": _accuracy(matcher, features[learn:], split, learn, same)}


def contrastive_loss(images: Tensor, texts: Tensor, groups: Tensor, log_temperature: Tensor) -> Tensor:
    """Symmetric InfoNCE of unit vectors [N,E]; other captions that say the same (equal group) are left out."""
    logits = images @ texts.T * log_temperature.clamp(max=4.6).exp()  # [N,N]
    twins = (groups[:, None] == groups[None, :]) & ~torch.eye(len(groups), dtype=torch.bool)
    logits = logits.masked_fill(twins, float("-inf"))
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def _accuracy(matcher: Matcher, features: Tensor, split: Split, start: int, groups: Tensor) -> float:
    """Own caption first among 100, on the images held back (in blocks of 100; fewer where there are fewer)."""
    hits = total = 0
    with torch.inference_mode():
        for begin in range(0, len(features), 100):
            block = slice(begin, begin + 100)
            texts = pad([ids[0] for ids in split.token_ids[start:][block]])
            scores = matcher.encode_images(features[block]) @ matcher.encode_texts(texts).T
            own = groups[start:][block]
            twins = (own[:, None] == own[None, :]) & ~torch.eye(len(own), dtype=torch.bool)
            hits += int((scores.masked_fill(twins, -2).argmax(dim=1) == torch.arange(len(own))).sum())
            total += len(own)
    return hits / total


if __name__ == "__main__":
    program(main)
