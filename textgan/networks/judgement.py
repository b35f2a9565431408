"""What a discriminator says of a batch of images, for any texts.

N batch, P places, V views (heads), D text features, M texts
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Judgement:
    """Logits of one batch: is it real, and which words does it show."""

    patches: Tensor  # [N,P] real or not, place by place, whatever the words
    base: Tensor  # [N,V] real or not, as a whole
    vectors: Tensor  # [N,V,D] compared with the sentence vector

    def matched(self, c: Tensor) -> Tensor:  # [N,D] -> [N,V]
        """Projection conditioning (Miyato and Koyama 2018), scaled by 1/sqrt(D): a long vector would drown `base`."""
        return self.base + torch.einsum("nvd,nd->nv", self.vectors, c) * c.shape[1] ** -0.5

    def similarities(self, c: Tensor) -> Tensor:  # [M,D] -> [N,M]
        """How well each text suits each image, over all views; what `base` says is the same for every text."""
        return torch.einsum("nvd,md->nm", self.vectors, c) * c.shape[1] ** -0.5

    def __getitem__(self, part: slice) -> Judgement:
        """A part of the batch."""
        return Judgement(self.patches[part], self.base[part], self.vectors[part])
