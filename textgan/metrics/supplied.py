"""Extractors whose weights the user supplies, by path and sha256: Inception, DINOv2, CLIP. Nothing is downloaded.

`evaluate.weights` in params.yaml names them. An Inception whose published reference values are not reproduced here
carries `unverified` in its name, and so does every number made with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from textgan.errors import UserError
from textgan.files import fingerprint, sha256_file
from textgan.metrics.distances import frechet_distance, gaussian_of
from textgan.metrics.features import BATCH, Extractor, Features, Images, extract_cached, to_unit
from textgan.metrics.inception import INPUT_PX, load_inception
from textgan.metrics.kernel import kernels, kid
from textgan.params import WeightsParams

DINO_PX = 224
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
CLIP_WORDS = 77
MODEL_FILE = "model.safetensors"


def weights_file(weights: WeightsParams) -> Path:
    """The file, its hash checked. Raises UserError that names both hashes."""
    place = Path(weights.path)
    file = place / MODEL_FILE if place.is_dir() else place
    if not file.is_file():
        raise UserError(f"{file}: no such file; evaluate.weights in params.yaml names it")
    found = sha256_file(file)
    if found != weights.sha256:
        raise UserError(f"{file}: sha256 is {found}; evaluate.weights in params.yaml wants {weights.sha256}")
    return file


def load_supplied(weights: Mapping[str, WeightsParams]) -> list[Extractor]:
    """An extractor for each, in the order of their names."""
    makers: dict[str, Callable[[WeightsParams], Extractor]] = {
        "clip": ClipExtractor,
        "dinov2": DinoExtractor,
        "inception": InceptionExtractor,
    }
    return [makers[name](weights[name]) for name in sorted(weights)]


class InceptionExtractor:
    """[N,2048], as in published FID numbers; `verified` where the reference values come out on this machine."""

    def __init__(self, weights: WeightsParams) -> None:
        self.net = load_inception(weights_file(weights))
        self.identity: dict[str, str | int] = {
            "extractor": "inception",
            "weights_sha256": weights.sha256,
            "input_px": INPUT_PX,
            "resize": "bilinear as TensorFlow 1, no antialias, float32",
        }
        self.name = "inception"
        self.reference = verify(self)
        self.name = "inception" if self.verified else "inception_unverified"

    @property
    def verified(self) -> bool:
        """All reference values came out."""
        return all(check.holds for check in self.reference)

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 [N,H,W,3] -> [N,2048]."""
        return self.net.pooled(images)


class _Stem:
    """The 64 features before the first pool, averaged: what one of the reference values is made from."""

    def __init__(self, whole: InceptionExtractor) -> None:
        self.name = "inception-stem"
        self.identity: dict[str, str | int] = {**whole.identity, "extractor": self.name}
        self.net = whole.net

    def __call__(self, images: Tensor) -> Tensor:
        return self.net.stem(images).mean(dim=(2, 3))


@dataclass(frozen=True, slots=True)
class Check:
    """A published value, and what came out here."""

    what: str
    published: float
    tolerance: float
    """Relative; noise was drawn anew, so equal bits are not to be expected."""
    found: float

    @property
    def holds(self) -> bool:
        """Within the tolerance."""
        return abs(self.found - self.published) <= self.tolerance * self.published


NOISE_IMAGES = 100


def verify(extractor: InceptionExtractor) -> list[Check]:
    """The examples in the documentation of torchmetrics: two sets of 100 noise pictures, in [0, 200) and [100, 255).

    FrechetInceptionDistance on 64 features gives 12.7202, KernelInceptionDistance on 2048 gives 0.0337. The first
    judges input and stem closely, the second every block.
    """
    generator = torch.Generator().manual_seed(123)
    shape = (NOISE_IMAGES, INPUT_PX, INPUT_PX, 3)
    dark = torch.randint(0, 200, shape, generator=generator, dtype=torch.uint8).numpy()
    light = torch.randint(100, 255, shape, generator=generator, dtype=torch.uint8).numpy()
    stem = _Stem(extractor)
    first, second = (
        [extract_cached(images, one, "reference noise") for images in (dark, light)] for one in (stem, extractor)
    )
    distance = frechet_distance(gaussian_of(first[0]), gaussian_of(first[1]))
    kernel_distance = kid(kernels(*second), 0, resamples=2).value
    return [
        Check("Fréchet distance of noise, 64 features", 12.7202, 0.02, float(distance)),
        Check("KID of noise, 2048 features", 0.0337, 0.15, float(kernel_distance)),
    ]


def _transformers(what: str) -> Any:
    try:
        import transformers
    except ImportError:
        raise UserError(f"{what}: transformers is missing; pip install 'textgan[model]'") from None
    return transformers


def _model(kind: str, maker: str, weights: WeightsParams) -> Any:
    """A model of a local directory with config.json and model.safetensors."""
    file = weights_file(weights)
    if file.name != MODEL_FILE:
        raise UserError(f"{file}: {kind} is read from a directory with config.json and {MODEL_FILE}")
    found = _transformers(kind).AutoConfig.from_pretrained(file.parent, local_files_only=True).model_type
    if found != kind:
        raise UserError(f"{file.parent}: holds a model of type {found!r}; {kind!r} is wanted")
    options = {"local_files_only": True, "use_safetensors": True}
    return getattr(_transformers(kind), maker).from_pretrained(file.parent, **options).eval()


def _normalised(images: Tensor, px: int, constants: tuple[tuple[float, ...], tuple[float, ...]]) -> Tensor:
    mean, deviation = (torch.tensor(values)[:, None, None] for values in constants)
    return (to_unit(images, px) - mean) / deviation


class DinoExtractor:
    """The class token of DINOv2 (Oquab et al. 2023), which saw no labels: [N,D]."""

    name = "dinov2"

    def __init__(self, weights: WeightsParams) -> None:
        self.model = _model("dinov2", "Dinov2Model", weights)
        self.px = min(DINO_PX, int(self.model.config.image_size))
        self.identity = _identity(self.name, weights, self.px)

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 [N,H,W,3] -> [N,D]."""
        return self.model(pixel_values=_normalised(images, self.px, _IMAGENET)).pooler_output


class ClipExtractor:
    """Image and text vectors of CLIP (Radford et al. 2021), in one space; as an extractor, those of images: [N,D]."""

    name = "clip"

    def __init__(self, weights: WeightsParams) -> None:
        self.model = _model("clip", "CLIPModel", weights)
        self.px = int(self.model.config.vision_config.image_size)
        self.tokenizer = _transformers("clip").AutoTokenizer.from_pretrained(
            weights_file(weights).parent, local_files_only=True
        )
        self.identity = _identity(self.name, weights, self.px)

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 [N,H,W,3] -> unit vectors [N,D]."""
        seen = self.model.vision_model(pixel_values=_normalised(images, self.px, _CLIP)).pooler_output
        return F.normalize(self.model.visual_projection(seen), dim=1)

    def texts(self, texts: Sequence[str]) -> Features:  # -> unit vectors [N,D]
        """Vectors of captions, cut at the words that CLIP can read."""
        longest = min(CLIP_WORDS, int(self.model.config.text_config.max_position_embeddings))
        rows = []
        with torch.inference_mode():
            for start in range(0, len(texts), BATCH):
                count = len(texts[start : start + BATCH])
                part = [*texts[start : start + BATCH], *[""] * (BATCH - count)]  # as images: in batches of one size
                inputs = self.tokenizer(
                    part, padding="max_length", truncation=True, max_length=longest, return_tensors="pt"
                )
                read = self.model.text_model(
                    input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
                ).pooler_output
                rows.append(F.normalize(self.model.text_projection(read), dim=1)[:count].numpy())
        return np.concatenate(rows)


def clip_scores(
    clip: ClipExtractor, images: Images, texts: Features, what: str
) -> NDArray[np.float64]:  # [N,H,W,3], [M,D] of `ClipExtractor.texts` -> [N,M]
    """100 max(cosine, 0) of each image and each text (Hessel et al. 2021, without their weight of 2.5)."""
    return 100 * (extract_cached(images, clip, what).astype(np.float64) @ texts.T.astype(np.float64)).clip(min=0)


def _identity(name: str, weights: WeightsParams, px: int) -> dict[str, str | int]:
    """Beside the weights what else decides a number: the files that say how they are used, and who reads them."""
    directory = weights_file(weights).parent
    files = {file.name: sha256_file(file) for file in sorted(directory.iterdir()) if file.suffix in (".json", ".txt")}
    return {
        "extractor": name,
        "weights_sha256": weights.sha256,
        "files": fingerprint(files),
        "transformers": str(_transformers(name).__version__),
        "input_px": px,
        "resize": "torch bicubic antialias float32",
    }
