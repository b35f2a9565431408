"""From token ids to a sentence vector.

N batch, L caption length, D text features
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PAD_ID = 0


SENTENCE_DIM = 384
"""Of the frozen sentence vectors (`textgan.minilm.DIM`, which a test compares)."""
CALIBRATED = 8192
"""Sentence vectors whose mean and spread are measured: more change little."""


class TextEncoder(Protocol):
    """What the networks ask of a text encoder; others plug in here."""

    dim: int

    def __call__(self, texts: Tensor) -> Tensor:  # [N,...] -> [N,D]
        """Sentence vectors of unit mean square from what `TrainingData.texts` gives; padding changes nothing."""
        ...


class WordsEncoder(nn.Module):
    """Trained over the vocabulary of the pairs: embeddings, two convolutions over neighbouring words, mean and maximum.

    The words beside a word say what it belongs to ("red car", "coche rojo"), and what is local is
    learnt from few captions and holds for combinations that were never seen together.
    """

    def __init__(self, num_words: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.embedding = nn.Embedding(num_words, dim)
        self.neighbours = nn.ModuleList(nn.Conv1d(dim, dim, 3, padding=1) for _ in range(2))
        self.out = nn.Linear(2 * dim, dim)

    def forward(self, token_ids: Tensor) -> Tensor:  # [N,L] -> [N,D]
        mask = (token_ids != PAD_ID).unsqueeze(1)  # [N,1,L]
        weight = mask.to(self.embedding.weight.dtype)
        x = self.embedding(token_ids).transpose(1, 2) * weight  # [N,D,L]
        for layer in self.neighbours:
            x = (x + F.leaky_relu(layer(x), 0.2)) * weight
        mean = x.sum(dim=2) / weight.sum(dim=2).clamp(min=1)
        highest = x.masked_fill(~mask, -1e4).amax(dim=2) * (weight.sum(dim=2) > 0)
        sentence = self.out(torch.cat([mean, highest], dim=1))
        return _unit_mean_square(sentence)


class MinilmEncoder(nn.Module):
    """A trained projection of frozen sentence vectors, which come instead of token ids; the zero vector is no text.

    Captions of one data set are much alike to a network that knows all of English: their mean is taken away and
    each direction scaled, by what `calibrate` saw in the train split, before the projection.
    """

    mean: Tensor  # [384]
    scale: Tensor  # [384]

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("mean", torch.zeros(SENTENCE_DIM))
        self.register_buffer("scale", torch.full((SENTENCE_DIM,), SENTENCE_DIM**-0.5))
        self.projection = nn.Linear(SENTENCE_DIM, dim)

    def calibrate(self, vectors: Tensor) -> None:  # float16 [R,384]
        """Remember mean and spread of the sentence vectors of a data set, of CALIBRATED of them at most."""
        sample = vectors[:: max(1, len(vectors) // CALIBRATED)].double()
        self.mean.copy_(sample.mean(dim=0))
        self.scale.copy_(sample.std(dim=0, correction=0).clamp(min=1e-3))

    def forward(self, vectors: Tensor) -> Tensor:  # [N,384] -> [N,D]
        return _unit_mean_square(self.projection((vectors - self.mean) / self.scale))


class Deaf(nn.Module):
    """Hears no word: what a training without texts is sampled with, for it never learnt what a word means."""

    def __init__(self, encoder: WordsEncoder | MinilmEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, texts: Tensor) -> Tensor:  # [N,...] -> [N,D], the vector of the empty text
        return self.encoder(torch.full_like(texts, PAD_ID))


def build_text_encoder(name: str, num_words: int, dim: int) -> WordsEncoder | MinilmEncoder:
    """By the name that parameters use."""
    return MinilmEncoder(dim) if name == "minilm" else WordsEncoder(num_words, dim)


def _unit_mean_square(sentence: Tensor) -> Tensor:  # [N,D] -> [N,D]
    return sentence * torch.rsqrt(sentence.square().mean(dim=1, keepdim=True) + 1e-8)
