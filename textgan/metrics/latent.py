"""What z does and what the words do: diversity within a prompt, separation, smoothness.

All on frozen features. Diversity: mean distance between pictures of one prompt and other z, over the mean
distance between real pictures that say the same kind. Separation: the same z with another colour word must
change that colour and leave kind, side and background. Smoothness: along a line between two z, the largest of
the steps over their mean; 1 is perfectly even, the number of steps is one jump.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from textgan.metrics.features import Extractor, Features, Images, extract
from textgan.metrics.manifold import squared_distances
from textgan.sampling import Prompt, Snapshot, as_bytes, latents, padded


def mean_distance(features: Features) -> float:  # [N,D]
    """Mean Euclidean distance over pairs of different rows."""
    distances = np.sqrt(squared_distances(features.astype(np.float64), features.astype(np.float64)))
    return float(distances.sum() / (len(features) * (len(features) - 1)))


def diversity(rows: Sequence[Features], real_by_kind: dict[str, Features], kinds: Sequence[str]) -> float:
    """Mean over prompts: spread of one prompt's pictures over the spread of real pictures of its kind."""
    spread = {kind: mean_distance(features) for kind, features in real_by_kind.items() if len(features) > 1}
    ratios = [mean_distance(row) / spread[kind] for row, kind in zip(rows, kinds, strict=True) if kind in spread]
    return float(np.mean(ratios)) if ratios else float("nan")


@dataclass(frozen=True, slots=True)
class Walk:
    """Pictures between two z under one prompt."""

    images: Images
    unevenness: float


@torch.no_grad()
def walk(snapshot: Snapshot, prompt: Prompt, seeds: tuple[int, int], steps: int, extractor: Extractor) -> Walk:
    """A spherical line between the z of two seeds (Gaussians live on a shell), and how even its steps look."""
    a, b = latents(seeds, snapshot.settings.z_dim)
    angle = torch.arccos(torch.clamp((a @ b) / (a.norm() * b.norm()), -1, 1))
    at = torch.linspace(0, 1, steps)[:, None]
    z = (torch.sin((1 - at) * angle) * a + torch.sin(at * angle) * b) / torch.sin(angle)
    texts = padded([prompt] * steps, snapshot.prompt_length, steps)
    device = next(snapshot.net.parameters()).device
    images = as_bytes(snapshot, snapshot.net(z.to(device), texts.to(device)))
    features = extract(images, extractor, "interpolation").astype(np.float64)
    moves = np.linalg.norm(np.diff(features, axis=0), axis=1)
    return Walk(images, float(moves.max() / max(float(moves.mean()), 1e-12)))
