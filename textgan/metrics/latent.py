"""What z does and what the words do: diversity within a prompt, separation, smoothness.

All on frozen features. Diversity: mean distance between pictures of one prompt and other z, over the mean
distance between real pictures that say the same kind. Separation: the same z with another colour word must
change that colour and leave kind, side and background. Smoothness: along a line between two z, the largest of
the steps over their mean; 1 is perfectly even, the number of steps is one jump. Each over several prompts, which are
drawn again for the interval.
"""

from __future__ import annotations

import numpy as np
import torch

from textgan.metrics.features import Features, Images
from textgan.metrics.manifold import squared_distances
from textgan.sampling import Prompt, Snapshot, as_bytes, latents, padded


def mean_distance(features: Features) -> float:  # [N,D]
    """Mean Euclidean distance over pairs of different rows."""
    distances = np.sqrt(squared_distances(features.astype(np.float64), features.astype(np.float64)))
    return float(distances.sum() / (len(features) * (len(features) - 1)))


def steps_of(features: Features) -> tuple[float, float]:  # [S+1,D], along a line
    """The largest step over the mean one, and the distance between the ends."""
    line = features.astype(np.float64)
    moves = np.linalg.norm(np.diff(line, axis=0), axis=1)
    return float(moves.max() / max(float(moves.mean()), 1e-12)), float(np.linalg.norm(line[-1] - line[0]))


@torch.no_grad()
def walk(snapshot: Snapshot, prompt: Prompt, seeds: tuple[int, int], steps: int) -> Images:
    """Pictures on a spherical line between the z of two seeds (Gaussians live on a shell), under one prompt."""
    a, b = latents(seeds, snapshot.settings.z_dim)
    angle = torch.arccos(torch.clamp((a @ b) / (a.norm() * b.norm()), -1, 1))
    at = torch.linspace(0, 1, steps)[:, None]
    z = (torch.sin((1 - at) * angle) * a + torch.sin(at * angle) * b) / torch.sin(angle)
    texts = padded([prompt] * steps, snapshot.prompt_length, steps)
    device = next(snapshot.net.parameters()).device
    return as_bytes(snapshot, snapshot.net(z.to(device), texts.to(device)))
