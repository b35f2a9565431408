"""The pairs that a training sees: images, captions, and which captions contradict which images.

N images, B batch, L caption length, F facts
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from textgan.dataset import ImageShards, Pairs
from textgan.errors import UserError
from textgan.facts.schema import VALUES
from textgan.networks.text_encoder import PAD_ID
from textgan.seeds import derive_seed

SAID_ALWAYS = ("kind", "colour", "background", "side")
"""Facts that every caption says where they are known (`textgan.facts.wording.ALWAYS`, which a test compares)."""

MINOR_FACT = 0.5
"""A hard mismatch turns on a fact that is not always said less often: the largest of random numbers, scaled by this."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step sees, for all processes together: M = B + B*K texts, the images' own ones first."""

    index: Tensor  # [B] which images
    token_ids: Tensor  # [M,L] a caption of each image, then K hard mismatches of each, padded
    wrong: Tensor  # [B,M] bool: text j contradicts image i


class TrainingData:
    """One split in memory, as bytes; batches are functions of the seed and of the images seen."""

    def __init__(self, images: Tensor, captions: list[list[list[int]]], says_all: list[list[bool]], facts: Tensor):
        self.images = images  # [N,3,H,W] uint8
        self.captions, self.says_all = captions, says_all
        self.facts = facts  # [N,F] index of the value, -1 where not known

    def __len__(self) -> int:
        return len(self.images)

    def order(self, seed: int, first: int, count: int) -> Tensor:  # -> [count]
        """Images first..first+count of the endless sequence of shuffled epochs."""
        parts, size = [], len(self)
        while count > 0:
            epoch, offset = divmod(first, size)
            generator = torch.Generator().manual_seed(derive_seed(seed, "epoch", epoch))
            part = torch.randperm(size, generator=generator)[offset : offset + count]
            parts.append(part)
            first, count = first + len(part), count - len(part)
        return torch.cat(parts)

    def batch(self, seed: int, cur_nimg: int, size: int, hard: int, captions: str = "matched") -> Batch:
        """The batch that begins at image `cur_nimg`; `captions` shuffled or none are ablations.

        `hard` more texts an image contradict it in one fact, chosen at random, and in little else: against
        any other caption the background would give the answer, and no one would look at the object's colour.
        """
        index = self.order(seed, cur_nimg, size)
        generator = torch.Generator().manual_seed(derive_seed(seed, "captions", cur_nimg))
        draws = torch.rand(size, generator=generator).tolist()
        said = index[torch.randperm(size, generator=generator)] if captions == "shuffled" else index
        chosen, full = [], []
        for image, draw in zip(said.tolist(), draws, strict=True):
            pick = int(draw * len(self.captions[image]))
            chosen.append([] if captions == "none" else self.captions[image][pick])
            full.append(self.says_all[image][pick])
        facts = self.facts[said]
        others = self._nearly(facts, hard, generator)
        for image, draw in zip(others.tolist(), torch.rand(len(others), generator=generator).tolist(), strict=True):
            complete = [ids for ids, whole in zip(self.captions[image], self.says_all[image], strict=True) if whole]
            chosen.append([] if captions == "none" else complete[int(draw * len(complete))])
            full.append(True)
        wrong = contradictions(facts, self.facts[torch.cat([said, others])], torch.tensor(full))
        return Batch(index, pad(chosen), wrong & (captions != "none"))

    def _nearly(self, facts: Tensor, hard: int, generator: torch.Generator) -> Tensor:  # [B,F] -> [B*hard]
        """Images that differ in one fact drawn at random, and in as few others as the data allow."""
        if hard == 0:
            return torch.empty(0, dtype=torch.int64)
        size, num_facts = facts.shape
        differs = (facts[:, None, :] >= 0) & (self.facts >= 0) & (facts[:, None, :] != self.facts)  # [B,N,F]
        cost = differs.sum(dim=2).float()[:, None, :] + torch.rand(size, hard, len(self), generator=generator)
        possible = differs.any(dim=1)  # [B,F] facts in which some image differs
        odds = torch.tensor([1.0 if name in SAID_ALWAYS else MINOR_FACT for name in VALUES])
        draws = torch.rand(size, hard, num_facts, generator=generator) * odds * possible[:, None, :]
        name = draws.argmax(dim=2)  # [B,hard]
        has_name = differs.transpose(1, 2).gather(1, name[:, :, None].expand(-1, -1, len(self)))  # [B,hard,N]
        return cost.masked_fill(~has_name, float("inf")).argmin(dim=2).flatten()


def pad(captions: list[list[int]]) -> Tensor:  # -> [B,L] int64, L at least 1
    """Token ids of equal length."""
    length = max(1, max(map(len, captions), default=1))
    return torch.tensor([[*ids, *[PAD_ID] * (length - len(ids))] for ids in captions], dtype=torch.int64)


def contradictions(image_facts: Tensor, caption_facts: Tensor, full: Tensor) -> Tensor:  # [A,F], [B,F], [B] -> [A,B]
    """Whether caption j says something that is false of image i.

    Only facts that the caption is known to say count: all of them where it is `full`, else SAID_ALWAYS.
    Rolling a batch instead would call captions wrong that suit the image too.
    """
    always = torch.tensor([name in SAID_ALWAYS for name in VALUES])
    ours, theirs = image_facts[:, None, :], caption_facts[None, :, :]
    differs = (ours >= 0) & (theirs >= 0) & (ours != theirs)  # [A,B,F]
    return (differs & (always | full[None, :, None])).any(dim=2)


def load_split(images_dir: Path, pairs_dir: Path, split: str, num_words: int) -> TrainingData:
    """Read one split of the shards and its pairs, checked against each other. Raises UserError naming file and rule."""
    shards, pairs = ImageShards(images_dir, split), Pairs(pairs_dir, split)
    pairs.check_aligned(shards)
    captions, says_all, facts = [], [], []
    for key, known, languages, tokens in zip(
        pairs.keys, pairs.column("facts"), pairs.column("languages"), pairs.column("token_ids"), strict=True
    ):
        if not tokens:
            raise UserError(f"{pairs_dir}: {key} of {split} has no caption")
        if max(max(ids, default=0) for ids in tokens) >= num_words:
            raise UserError(f"{pairs_dir}: {key} of {split} has a token id outside the vocabulary of {num_words} words")
        captions.append(tokens)
        says_all.append([languages.index(language) == idx for idx, language in enumerate(languages)])
        values = json.loads(known)
        facts.append([VALUES[name].index(values[name]) if name in values else -1 for name in VALUES])
    images = torch.from_numpy(shards.all()).permute(0, 3, 1, 2).contiguous()
    return TrainingData(images, captions, says_all, torch.tensor(facts, dtype=torch.int16))
