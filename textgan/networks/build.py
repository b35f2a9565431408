"""The networks of a training, from its parameters."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from textgan.errors import UserError
from textgan.networks.dfgan import dfgan
from textgan.networks.fastgan import fastgan
from textgan.networks.generator import Generator
from textgan.networks.projected import ProjectedDiscriminator
from textgan.networks.scratch import ScratchDiscriminator
from textgan.networks.text_encoder import MinilmEncoder, WordsEncoder, build_text_encoder
from textgan.params import TrainParams
from textgan.seeds import derive_seed

Discriminator = ProjectedDiscriminator | ScratchDiscriminator
KINDS = {"fastgan": fastgan, "dfgan": dfgan}
"""Of generators, by the name that params give them."""

SNAPSHOT_FORMAT = 2
"""Raised where weights of a snapshot change their names or their meaning."""


class TextToImage(nn.Module):
    """A text (token ids, or its frozen sentence vector) and z to an image: what a snapshot holds."""

    def __init__(self, text: WordsEncoder | MinilmEncoder, generator: Generator) -> None:
        super().__init__()
        self.text, self.generator = text, generator

    def forward(self, z: Tensor, token_ids: Tensor) -> Tensor:  # [N,Z], [N,L] -> [N,3,H,W] in [-1,1]
        return self.generator(z, self.text(token_ids))


@dataclass(frozen=True, slots=True)
class Networks:
    """Everything that is trained; `text` is trained with D, and G and D share it."""

    text: WordsEncoder | MinilmEncoder
    G: Generator
    D: Discriminator
    G_ema: TextToImage
    G_best: TextToImage
    """G_ema as it was where it scored best: what a snapshot holds."""

    def modules(self) -> dict[str, nn.Module]:
        """By the name that checkpoints use."""
        return {"text": self.text, "G": self.G, "D": self.D, "G_ema": self.G_ema, "G_best": self.G_best}


def build_text_to_image(params: TrainParams, width: int, height: int, num_words: int) -> TextToImage:
    """G and its text encoder, initialised from the seed. Raises UserError where the size cannot be built."""
    torch.manual_seed(derive_seed(params.seed, "initialise", "G"))
    parts = KINDS[params.generator](params.z_dim, params.text_dim)
    grown = params.grow_kimg > 0
    try:
        generator = Generator(width, height, params.z_dim, params.g_channels, params.g_max_channels, parts, grown)
    except ValueError as error:
        raise UserError(f"params.yaml: images: {error}") from None
    net = TextToImage(build_text_encoder(params.text_encoder, num_words, params.text_dim), generator)
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def build_networks(params: TrainParams, width: int, height: int, num_words: int, device: torch.device) -> Networks:
    """All networks, initialised from the seed alone."""
    net = build_text_to_image(params, width, height, num_words)
    torch.manual_seed(derive_seed(params.seed, "initialise", "D"))
    if params.architecture == "projected":
        D: Discriminator = ProjectedDiscriminator(
            width,
            height,
            params.text_dim,
            params.extractor,
            params.extractor_px,
            params.d_channels,
            seed=derive_seed(params.seed, "projections"),
            pretrained=params.features == "pretrained",
        )
    else:
        D = ScratchDiscriminator(width, height, params.text_dim, params.d_channels, params.g_max_channels)
    D = D.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    net = net.to(device)
    G_ema = copy.deepcopy(net).eval().requires_grad_(False)
    return Networks(net.text, net.generator, D, G_ema, copy.deepcopy(G_ema))
