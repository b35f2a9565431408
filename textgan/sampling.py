"""From a snapshot and prompts to pictures: the same (seed, prompt), the same picture, whatever else is asked for.

N pictures, L prompt length, Z latent
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from textgan import params
from textgan.errors import UserError
from textgan.networks.build import TextToImage, build_text_to_image
from textgan.networks.text_encoder import PAD_ID, Deaf
from textgan.seeds import derive_seed
from textgan.sheets import to_uint8

CHUNK = 16
"""Pictures at once: always exactly so many, because the last bits of a convolution depend on the batch's size."""

STYLES_IN_MEAN = 64
"""Latents whose mean style a truncated picture is drawn to."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A generator that can be sampled."""

    net: TextToImage
    info: dict[str, Any]
    """snapshot.json"""
    settings: params.TrainParams
    directory: Path

    @property
    def vocabulary_file(self) -> Path:
        """The words that it knows."""
        return self.directory / "vocabulary.json"


def load_snapshot(directory: Path, device: torch.device | None = None) -> Snapshot:
    """Read and check a snapshot. Raises UserError naming the file and what does not fit."""
    file = directory / "snapshot.json"
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
        words = json.loads((directory / "vocabulary.json").read_text(encoding="utf-8"))
        tensors = load_file(directory / "G_ema.safetensors")
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename or directory}: no such file; a snapshot is written by the stage train"
        ) from None
    except (ValueError, SafetensorError) as error:
        raise UserError(f"{directory}: no snapshot: {error}") from None
    if info.get("format") != 1:
        raise UserError(f"{file}: format is {info.get('format')!r}; this version reads 1")
    if words.get("sha256") != info["vocabulary_sha256"] or len(words["words"]) != info["num_words"]:
        raise UserError(f"{directory / 'vocabulary.json'}: is not the vocabulary that {file.name} names")
    settings = params.from_mapping(params.TrainParams, info["train"], str(file), "train")
    net = build_text_to_image(settings, info["width"], info["height"], info["num_words"])
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"{directory / 'G_ema.safetensors'}: belongs to another architecture: {error}") from None
    if settings.captions == "none":
        net.text = Deaf(net.text)  # type: ignore[assignment]
    net = net.eval().requires_grad_(False).to(device or torch.device("cpu"))
    return Snapshot(net, info, settings, directory)


def latents(seeds: Sequence[int], z_dim: int) -> Tensor:  # -> [N,Z]
    """z of each seed; no seed's z depends on its neighbours."""
    rows = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(derive_seed(seed, "z"))
        rows.append(torch.randn(z_dim, generator=generator))
    return torch.stack(rows)


@torch.no_grad()
def generate(
    snapshot: Snapshot,
    token_ids: Sequence[Sequence[int]],  # one prompt for each picture
    seeds: Sequence[int],  # one for each picture
    batch: int = CHUNK,  # pictures at once; compare pictures made with the same number only
    truncation: float = 1.0,  # how far from the mean style of the prompt; 0 is the mean
) -> np.ndarray:  # -> [N,H,W,3] uint8
    """Pictures of prompts and seeds, in order."""
    if len(token_ids) != len(seeds):
        raise ValueError(f"{len(token_ids)} prompts and {len(seeds)} seeds; they must be as many")
    device = next(snapshot.net.parameters()).device
    length = int(snapshot.info["max_tokens"])
    pictures = []
    for first in range(0, len(seeds), batch):
        ids = [list(prompt)[:length] for prompt in token_ids[first : first + batch]]
        part = list(seeds[first : first + batch])
        missing = batch - len(part)
        z = latents(part + [0] * missing, snapshot.settings.z_dim).to(device)
        # Padded to one length and one batch size: what is asked for besides must not change a bit.
        padded = torch.tensor([row + [PAD_ID] * (length - len(row)) for row in ids + [[]] * missing], device=device)
        pictures.append(to_uint8(_synthesise(snapshot.net, z, padded, truncation))[: len(part)])
    return np.concatenate(pictures)


def _synthesise(net: TextToImage, z: Tensor, token_ids: Tensor, truncation: float) -> Tensor:  # -> [N,3,H,W]
    """Images; a truncated style is drawn towards the mean style of its own prompt, so that the words keep their say."""
    c = net.text(token_ids)
    style = net.generator.mapping(z, c)
    if truncation != 1.0:
        others = latents(range(STYLES_IN_MEAN), z.shape[1]).to(z.device)
        means = [net.generator.mapping(others, row.expand(len(others), -1)).mean(dim=0) for row in c]
        style = torch.stack(means).lerp(style, truncation)
    return net.generator.synthesise(style)
