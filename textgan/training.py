"""What a training consists of: networks, optimisers, counters, and what D sees of the real images.

N images
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from textgan.augment import augment
from textgan.growth import Part
from textgan.networks.build import Networks
from textgan.networks.layers import is_spectral_norm
from textgan.optimisers import build_optimiser
from textgan.params import TrainParams
from textgan.training_data import TrainingData

FEATURE_CHUNK = 32
"""Images at once where features are computed for keeping: fixed, so that a resumed training keeps the same bits."""


@dataclass(slots=True)
class State:
    """Where a training stands, beside its tensors; all of it goes into a checkpoint."""

    cur_nimg: int = 0
    nan_steps: int = 0
    micro_batch: int = 0
    """Images at once in a process, where not all of its part of a batch fit into memory; 0: all did."""
    sums: dict[str, float] = field(default_factory=dict)
    """Of the statistics since the last row of the curve."""
    counts: dict[str, int] = field(default_factory=dict)
    """Of how many steps each sum is: not every step has every statistic."""
    curve: list[dict[str, float]] = field(default_factory=list)
    best_nimg: int = 0
    """Where the weights that are kept were made; 0: none were scored yet."""
    best_score: float = 0.0
    part: int = 0
    """At which of its sizes it is."""


@dataclass(slots=True)
class Training:
    """The networks, optimisers and counters of one training."""

    part: Part
    networks: Networks
    D_opt: torch.optim.Optimizer
    G_opt: torch.optim.Optimizer
    state: State
    D_weights: Sequence[Tensor]
    """What is trained of D."""
    D_norms: list[Tensor]
    """What a forward pass of D changes, the vectors of its spectral norms: undoing a step puts them back."""

    @property
    def params(self) -> TrainParams:
        """Of the networks of its size."""
        return self.part.params

    def means(self) -> dict[str, float]:
        """Of each statistic since the last row."""
        return {name: total / self.state.counts[name] for name, total in self.state.sums.items()}

    def grow_from(self, half: Training) -> None:
        """Go on where `half` stands. Optimisers begin anew: moments of the text encoder and of G, which go on, come
        back within steps (beta2 0.99 remembers a hundred)."""
        ours, theirs = self.networks, half.networks
        ours.G.grow_from(theirs.G)
        ours.text.load_state_dict(theirs.text.state_dict())
        ours.G_ema.generator.grow_from(theirs.G_ema.generator)
        ours.G_ema.text.load_state_dict(theirs.G_ema.text.state_dict())
        self.state = half.state
        self.state.part += 1


def new_training(part: Part, networks: Networks) -> Training:
    """At image 0."""
    params, D_weights = part.params, list(networks.D.parameters())
    return Training(
        part,
        networks,
        D_opt=build_optimiser(params, [*D_weights, *networks.text.parameters()], params.d_lr),
        G_opt=build_optimiser(params, networks.G.parameters(), params.g_lr),
        state=State(),
        D_weights=D_weights,
        D_norms=[buffer for module in networks.D.modules() if is_spectral_norm(module) for buffer in module.buffers()],
    )


class RealFeatures:
    """What D sees of real images: computed once and kept in fp16 where all of it fits, else computed each time."""

    def __init__(self, data: TrainingData, training: Training, device: torch.device) -> None:
        networks, params = training.networks, training.params
        self.D, self.device, self.policy = networks.D, device, params.augment
        self.images = data.images
        self.smaller = data.images.shape[3] // training.part.width  # by so much is its side
        self.kept: list[Tensor] | None = None
        with torch.no_grad():
            networks.D.calibrate(self.images_at(torch.arange(min(len(data), 256))))
            probe = networks.D.features(self.images_at(torch.arange(1)))
            self.bytes = len(data) * sum(level.numel() for level in probe) * 2
            if params.architecture == "projected" and params.augment == "none" and self.bytes <= params.cache_mb << 20:
                self.kept = [
                    torch.empty(len(data), *level.shape[1:], dtype=torch.float16, device=device).contiguous(
                        memory_format=torch.channels_last
                    )
                    for level in probe
                ]
                for first in range(0, len(data), FEATURE_CHUNK):
                    chunk = torch.arange(first, min(first + FEATURE_CHUNK, len(data)))
                    levels = networks.D.features(self.images_at(chunk))
                    for kept, level in zip(self.kept, levels, strict=True):
                        kept[first : first + FEATURE_CHUNK] = level

    def images_at(self, index: Tensor) -> Tensor:  # [N] -> [N,3,H,W] in [-1,1]
        """The images themselves."""
        images = self.images[index].to(self.device).float() / 127.5 - 1
        return images if self.smaller == 1 else F.avg_pool2d(images, self.smaller)  # each pixel the mean of four

    def __call__(self, index: Tensor, numbers: Tensor) -> list[Tensor]:
        """Features of the images `index`, augmented by `numbers` where a policy says so."""
        if self.kept is not None:
            index = index.to(self.device)
            return [level[index].float().contiguous(memory_format=torch.channels_last) for level in self.kept]
        with torch.no_grad():
            return self.D.features(augment(self.images_at(index), self.policy, numbers))
