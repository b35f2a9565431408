"""The matcher: a small dual encoder on frozen features that says how well a caption fits a picture.

The picture goes through a frozen EfficientNet-Lite2 (strides 8 and 16, averaged to 4x4 places) and as
8x8 raw pixels; the words through two convolutions; both end as unit vectors, compared by cosine.
Trained once on real pairs (`textgan.match`), then frozen: it scores R-precision.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from textgan.errors import UserError
from textgan.files import sha256_file, write_json
from textgan.metrics.features import LITE_PX, Images, Levels, extract_cached, to_unit
from textgan.metrics.splits import drawn_keys, keys_of
from textgan.seeds import derive_seed
from textgan.training_data import pad

PLACES = 4
RAW_PX = 8
# N batch, L caption length, P input features, E shared space


@dataclass(frozen=True, slots=True)
class MatcherSpec:
    """Sizes of the network, and what it was trained with."""

    dim: int
    words: int
    vocabulary_sha256: str
    features: int
    backbone: str = "lite2"
    hidden: int = 384


class MatcherBackbone:
    """Frozen features of a picture, as an extractor: uint8 [N,H,W,3] -> [N,P]."""

    def __init__(self, levels: Levels | None = None) -> None:
        """`levels` of another extractor's Lite2, to share its network."""
        from textgan.extractors import load_extractor, weights_file

        self.name = "matcher-lite2"
        self.identity: dict[str, str | int] = {
            "extractor": self.name,
            "weights_sha256": sha256_file(weights_file("lite2")),
            "input_px": LITE_PX,
            "places": PLACES,
            "raw_px": RAW_PX,
        }
        self.levels = levels or Levels(load_extractor("lite2"))

    def __call__(self, images: Tensor) -> Tensor:
        """Strides 8 and 16 at 4x4 places, and 8x8 raw pixels."""
        places = [F.adaptive_avg_pool2d(level, PLACES).flatten(1) for level in self.levels(images)[1:3]]
        return torch.cat([*places, to_unit(images, RAW_PX).flatten(1)], dim=1)


class Matcher(nn.Module):
    """Two towers into one space."""

    def __init__(self, spec: MatcherSpec) -> None:
        super().__init__()
        self.spec = spec
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(spec.features))
        self.register_buffer("scale", torch.ones(spec.features))
        self.image_tower = nn.Sequential(
            nn.Dropout(0.2), nn.Linear(spec.features, spec.hidden), nn.GELU(), nn.Linear(spec.hidden, spec.dim)
        )
        self.word_embedding = nn.Embedding(spec.words, 96, padding_idx=0)
        self.near = nn.Conv1d(96, spec.dim, 3, padding=1)
        self.far = nn.Conv1d(spec.dim, spec.dim, 3, padding=1)
        self.text_tower = nn.Linear(2 * spec.dim, spec.dim)
        self.log_temperature = nn.Parameter(torch.tensor(2.5))

    def encode_images(self, features: Tensor) -> Tensor:  # [N,P] -> [N,E]
        """Unit vectors of pictures, from the frozen features."""
        return F.normalize(self.image_tower((features - self.mean) / self.scale), dim=1)

    def encode_texts(self, token_ids: Tensor) -> Tensor:  # int64 [N,L], 0 = pad -> [N,E]
        """Unit vectors of captions; padding changes nothing. Five words in a row meet: colours find their nouns."""
        real = (token_ids != 0)[:, None, :]  # [N,1,L]
        x = self.word_embedding(token_ids).transpose(1, 2)
        x = F.gelu(self.near(x)) * real
        x = F.gelu(self.far(x)) * real
        mean = x.sum(dim=2) / real.sum(dim=2).clamp(min=1)
        return F.normalize(self.text_tower(torch.cat([mean, x.amax(dim=2)], dim=1)), dim=1)


def save_matcher(matcher: Matcher, directory: Path, record: dict[str, object]) -> None:
    """Weights and `matcher.json`; the same weights give the same bytes."""
    state = {name: tensor.contiguous() for name, tensor in matcher.state_dict().items()}
    save_file(state, directory / "matcher.safetensors")
    write_json(directory / "matcher.json", {"format": 1, "spec": asdict(matcher.spec), **record})


def load_matcher(directory: Path) -> Matcher:
    """The frozen matcher. Raises UserError where it is missing or not ours."""
    path = directory / "matcher.json"
    try:
        spec = MatcherSpec(**json.loads(path.read_text(encoding="utf-8"))["spec"])
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the stage matcher writes it") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: no matcher: {error!r}") from None
    matcher = Matcher(spec)
    matcher.load_state_dict(load_file(directory / "matcher.safetensors"))
    return matcher.eval()


def learnt_from(directory: Path, dataset: str) -> list[str]:
    """Keys of the train images that the matcher was drawn; none where there is no matcher."""
    path = directory / "matcher.json"
    if not path.is_file():
        return []
    try:
        drawn = json.loads(path.read_text(encoding="utf-8"))["params"]
        return drawn_keys(keys_of(dataset, "train"), drawn["images"], drawing_seed(drawn["seed"]))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: no matcher: {error!r}") from None


def drawing_seed(seed: int) -> int:
    """Of the train images that a matcher of this seed learns from."""
    return derive_seed(seed, "matcher", "images")


def image_vectors(matcher: Matcher, backbone: MatcherBackbone, images: Images, what: str) -> NDArray[np.float32]:
    """Unit vectors [N,E] of pictures."""
    features = extract_cached(images, backbone, what)
    with torch.inference_mode():
        return np.asarray(matcher.encode_images(torch.from_numpy(features)).numpy())


def text_vectors(matcher: Matcher, token_ids: list[list[int]]) -> NDArray[np.float32]:
    """Unit vectors [N,E] of captions."""
    with torch.inference_mode():
        rows = [matcher.encode_texts(pad(token_ids[i : i + 256])).numpy() for i in range(0, len(token_ids), 256)]
    return np.concatenate(rows)
