"""From token ids to a sentence vector.

N batch, L caption length, D text features
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PAD_ID = 0


class TextEncoder(Protocol):
    """What the networks ask of a text encoder; `minilm` and others plug in here."""

    dim: int

    def __call__(self, token_ids: Tensor) -> Tensor:  # [N,L] -> [N,D]
        """Sentence vectors of unit mean square; padding changes nothing."""
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
        return sentence * torch.rsqrt(sentence.square().mean(dim=1, keepdim=True) + 1e-8)


class Deaf(nn.Module):
    """Hears no word: what a training without texts is sampled with, for it never learnt what a word means."""

    def __init__(self, encoder: WordsEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, token_ids: Tensor) -> Tensor:  # [N,L] -> [N,D], the vector of the empty text
        return self.encoder(torch.full_like(token_ids, PAD_ID))
