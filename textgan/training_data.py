"""The pairs that a training sees: images, captions, and which captions contradict which images.

N images, B batch, L caption length, F facts
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from pyarrow import parquet
from torch import Tensor

from textgan.captions_table import Flags, TokenTable, sentence_rows
from textgan.dataset import ImageShards, Pairs
from textgan.errors import UserError
from textgan.facts.schema import VALUES
from textgan.networks.text_encoder import PAD_ID, SENTENCE_DIM
from textgan.seeds import derive_seed
from textgan.streaming import DEPTH, ImageStream, readable, split_images

SAID_ALWAYS = ("kind", "colour", "background", "side")
"""Facts that every caption says where they are known (`textgan.facts.wording.ALWAYS`, which a test compares)."""

MINOR_FACT = 0.5
"""A hard mismatch turns on a fact that is not always said less often: the largest of random numbers, scaled by this."""

CANDIDATES = 8192
"""Hard mismatches are looked for among so many images: all of a smaller split, else as many drawn anew each step."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step sees, for all processes together: M = B + B*K texts, the images' own ones first."""

    index: Tensor  # [B] which images
    token_ids: Tensor  # [M,L] a caption of each image, then K hard mismatches of each, as `TrainingData.texts` says
    wrong: Tensor  # [B,M] bool: text j contradicts image i


@dataclass(slots=True)
class TrainingData:
    """One split; batches are functions of the seed and of the images seen."""

    images: Tensor | ImageStream  # [N,3,H,W] uint8
    captions: Sequence[list[list[int]]]  # token ids of the captions of each image; or of each the row of `vectors`
    says_all: Sequence[list[bool]]  # whether each of them says all that is known
    facts: Tensor  # [N,F] index of the value, -1 where not known
    part: slice = field(default_factory=lambda: slice(None))  # of each batch: the images that this process will ask for
    at_once: int = 0  # so many images of the part are asked for at a time; 0: all
    vectors: Tensor | None = None  # float16 [R,384] frozen sentence vectors, where the encoder reads them; row 0 is 0
    skipped: list[str] = field(default_factory=list)  # images left out because they are damaged, and why
    composer: ThreadPoolExecutor | None = None  # makes the next batch while the training works, where there is one
    _composing: dict[tuple, Future[Batch]] = field(default_factory=dict)
    _epochs: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def longest_caption(self) -> int:
        """In tokens."""
        if isinstance(self.captions, TokenTable):
            return self.captions.longest
        return max(len(ids) for captions in self.captions for ids in captions)

    def texts(self, captions: list[list[int]]) -> Tensor:  # -> int64 [B,L] or float32 [B,384]
        """What the text encoder reads of captions: padded token ids, or the sentence vectors of their rows."""
        padded = pad(captions)
        return padded if self.vectors is None else self.vectors[padded[:, 0]].float()

    def order(self, seed: int, first: int, count: int) -> Tensor:  # -> [count]
        """Images first..first+count of the endless sequence of shuffled epochs."""
        parts, size = [], len(self)
        while count > 0:
            epoch, offset = divmod(first, size)
            part = self._epoch(seed, epoch)[offset : offset + count]
            parts.append(part)
            first, count = first + len(part), count - len(part)
        return torch.cat(parts)

    def _epoch(self, seed: int, epoch: int) -> Tensor:  # -> [N]
        """The permutation of one epoch; the last two are kept, for millions of images take a while to shuffle."""
        known = self._epochs.get((seed, epoch))
        if known is None:
            generator = torch.Generator().manual_seed(derive_seed(seed, "epoch", epoch))
            known = torch.randperm(len(self), generator=generator)
            self._epochs = {**dict(list(self._epochs.items())[-1:]), (seed, epoch): known}
        return known

    def expect(self, seed: int, cur_nimg: int, size: int) -> None:
        """Have the images of the batch that begins at `cur_nimg`, and of those after it, read ahead."""
        if isinstance(self.images, ImageStream):
            parts = (self.order(seed, cur_nimg + step * size, size)[self.part] for step in range(DEPTH))
            self.images.expect(cut for part in parts for cut in part.split(self.at_once or size))

    def batch(self, seed: int, cur_nimg: int, size: int, hard: int, captions: str = "matched") -> Batch:
        """The batch that begins at image `cur_nimg`; `captions` shuffled or none are ablations.

        `hard` more texts an image contradict it in one fact, chosen at random, and in little else: against
        any other caption the background would give the answer, and no one would look at the object's colour.
        """
        self.expect(seed, cur_nimg, size)
        coming = self._composing.pop((seed, cur_nimg, size, hard, captions), None)
        if self.composer is not None:
            following = (seed, cur_nimg + size, size, hard, captions)
            self._composing = {following: self.composer.submit(self._compose, *following)}
        return coming.result() if coming else self._compose(seed, cur_nimg, size, hard, captions)

    def _compose(self, seed: int, cur_nimg: int, size: int, hard: int, captions: str) -> Batch:
        index = self.order(seed, cur_nimg, size)
        generator = torch.Generator().manual_seed(derive_seed(seed, "captions", cur_nimg))
        draws = torch.rand(size, generator=generator).tolist()
        # Of any images, not those of the batch in another order: in that, one of `size` captions is right by luck.
        said = torch.randint(len(self), (size,), generator=generator) if captions == "shuffled" else index
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
        return Batch(index, self.texts(chosen), wrong & (captions != "none"))

    def _nearly(self, facts: Tensor, hard: int, generator: torch.Generator) -> Tensor:  # [B,F] -> [B*hard]
        """Images that differ in one fact drawn at random, and in as few others as the data allow."""
        if hard == 0:
            return torch.empty(0, dtype=torch.int64)
        size, num_facts = facts.shape
        theirs, among = self.facts, None
        if len(self) > CANDIDATES:
            among = torch.randint(len(self), (CANDIDATES,), generator=generator)
            theirs = self.facts[among]
        differs = (facts[:, None, :] >= 0) & (theirs >= 0) & (facts[:, None, :] != theirs)  # [B,C,F]
        cost = differs.sum(dim=2).float()[:, None, :] + torch.rand(size, hard, len(theirs), generator=generator)
        possible = differs.any(dim=1)  # [B,F] facts in which some image differs
        odds = torch.tensor([1.0 if name in SAID_ALWAYS else MINOR_FACT for name in VALUES])
        draws = torch.rand(size, hard, num_facts, generator=generator) * odds * possible[:, None, :]
        name = draws.argmax(dim=2)  # [B,hard]
        has_name = differs.transpose(1, 2).gather(1, name[:, :, None].expand(-1, -1, len(theirs)))  # [B,hard,C]
        found = cost.masked_fill(~has_name, float("inf")).argmin(dim=2).flatten()
        return found if among is None else among[found]


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


def load_split(
    images_dir: Path,
    pairs_dir: Path,
    split: str,
    num_words: int,
    damaged: str = "stop",  # at the first damaged image; skip: leave them out and count them
    device: torch.device | None = None,  # where batches will be needed
    text_encoder: str = "words",  # minilm reads the sentence vectors of the pairs
) -> TrainingData:
    """One split of the shards and its pairs, checked against each other; images in memory where they fit.

    Raises UserError naming file and rule.
    """
    shards, pairs = ImageShards(images_dir, split), Pairs(pairs_dir, split)
    pairs.check_aligned(shards)
    tokens = TokenTable.of_column(pairs.table["token_ids"])
    silent = tokens.first_without_captions()
    if silent is not None:
        raise UserError(f"{pairs_dir}: {pairs.keys[silent]} of {split} has no caption")
    outside = tokens.first_with_token_from(num_words)
    if outside is not None:
        raise UserError(
            f"{pairs_dir}: {pairs.keys[outside]} of {split} has a token id outside the vocabulary of {num_words} words"
        )
    vectors = None
    if text_encoder == "minilm":
        vectors, tokens = _sentences(pairs)
    flags = Flags.first_of_each_language(pairs.table["languages"])
    facts = _fact_rows(pairs.column("facts"))
    positions = np.arange(len(shards))
    skipped: list[str] = []
    if damaged == "skip":
        positions, skipped = readable(shards)
        if skipped:
            tokens, flags, facts = tokens.rows(positions), flags.rows(positions), facts[positions]
    images = split_images(shards, positions, device)
    return TrainingData(images, tokens, flags, torch.from_numpy(facts), vectors=vectors, skipped=skipped)


def _sentences(pairs: Pairs) -> tuple[Tensor, TokenTable]:  # -> float16 [R,384], the row of each caption
    """The sentence vectors of a split, in the order of its files, behind a row of zeros. Raises UserError."""
    files = sorted(pairs.directory.glob(f"embeddings-{pairs.split}-*.parquet"))
    if not files or "english" not in pairs.table.column_names:
        raise UserError(
            f"{pairs.directory}: has no sentence vectors of {pairs.split} for text_encoder minilm; set pairs.embeddings"
            " to minilm in params.yaml and run the stage pairs again"
        )
    table = pa.concat_tables([parquet.read_table(file) for file in files])
    vectors = np.zeros((len(table) + 1, SENTENCE_DIM), np.float16)
    try:
        start = 1
        for chunk in table["embedding"].chunks:
            vectors[start : start + len(chunk)] = chunk.flatten().to_numpy(zero_copy_only=False).reshape(len(chunk), -1)
            start += len(chunk)
        return torch.from_numpy(vectors), sentence_rows(pairs.table["english"], table["text"])
    except (KeyError, ValueError) as error:
        raise UserError(f"{pairs.directory}: embeddings-{pairs.split} do not fit the captions: {error}") from None


def _fact_rows(texts: list[str]) -> np.ndarray:  # -> [N,F] int16
    """Indices of values; few texts differ, so each is read once."""
    rows: dict[str, list[int]] = {}
    for text in texts:
        if text not in rows:
            values = json.loads(text)
            rows[text] = [VALUES[name].index(values[name]) if name in values else -1 for name in VALUES]
    return np.array([rows[text] for text in texts], dtype=np.int16).reshape(len(texts), len(VALUES))
