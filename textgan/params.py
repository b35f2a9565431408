"""The numbers of a run: params.yaml, typed; an unknown or missing key names file, key, value and rule.

Each section belongs to the stage of its name. Only keys that have a default here may be left out: older
files and snapshots mean what they meant. What says how fast and where (workers, device, addresses) is not
here: it comes from the environment (`textgan.local`), so that it makes no stage stale.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from textgan.errors import UserError

PARAMS_FILE = Path("params.yaml")
SUPPLIED = ("clip", "dinov2", "inception")
"""Extractors whose weights come from the user."""


def rule(holds: bool, key: str, value: Any, must: str) -> None:
    """Refuse a value by its key and rule; `load` puts the file and the section before it."""
    if not holds:
        raise ValueError(f"{key} is {value!r}; it must be {must}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawParams:
    """The drawn export of one dataset: `images` pictures of each kind."""

    images: int
    seed: int

    def __post_init__(self) -> None:
        rule(1 <= self.images <= 10_000_000, "images", self.images, "between 1 and 10000000")


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestParams:
    """How exports become an inventory with splits."""

    seed: int
    """Seed of the split and of the subset; a sample's split depends on its key and this alone."""
    select: float
    """Part of the samples that chooses checkpoints and thresholds."""
    test: float
    """Part that only `evaluate` reads. Official LSUN val exports are test as a whole."""
    max_pixels: int
    """A header that claims more pixels is refused before it is decoded."""

    def __post_init__(self) -> None:
        rule(0 < self.select < 1, "select", self.select, "between 0 and 1")
        rule(0 < self.test < 1 - self.select, "test", self.test, "between 0 and 1 - select")
        rule(self.max_pixels > 0, "max_pixels", self.max_pixels, "at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesParams:
    """Geometry and encoding of the image shards."""

    width: int
    height: int
    geometry: Literal["center_crop", "center_crop_wide", "pad", "stretch", "legacy_nvidia"]
    small: Literal["reject", "upscale"]
    """What happens to an image smaller than the target."""
    format: Literal["jpg", "png", "webp"]
    """jpg is q95 4:4:4 by default; png and webp are lossless."""
    quality: int
    shard_mb: int
    """Target size of a shard in MiB of encoded images."""
    max_images: int | None
    """Seeded subset: at most this many images of each export, counted after rejection; null keeps all."""
    duplicates: Literal["keep", "exact", "perceptual"]
    """Which copies are left out: none, those with equal bytes, or also those that look the same."""

    def __post_init__(self) -> None:
        for key in ("width", "height"):
            rule(8 <= getattr(self, key) <= 8192, key, getattr(self, key), "between 8 and 8192 pixels")
        rule(1 <= self.quality <= 100, "quality", self.quality, "between 1 and 100")
        rule(1 <= self.shard_mb <= 4096, "shard_mb", self.shard_mb, "between 1 and 4096")
        rule(self.max_images is None or self.max_images > 0, "max_images", self.max_images, "null or at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionsParams:
    """Who says what is in a picture."""

    captioner: Literal["annotations", "measured", "model", "merge"]
    """model reads a local directory, named by TEXTGAN_CAPTION_MODEL; merge asks those of `order` in turn."""
    order: list[str]
    """Captioners of merge: a fact is said by the first that knows it. Empty for the others."""
    missing: Literal["fallback", "reject"]
    """An image without an annotation: the kind alone is said, or the stage stops."""
    seed: int
    per_image: int
    """Captions of each language for one image."""
    measured: dict[str, dict[str, float]]
    """Kind -> fact -> least probability at which `measured` says it; what is not listed is not said."""

    def __post_init__(self) -> None:
        rule(1 <= self.per_image <= 32, "per_image", self.per_image, "between 1 and 32")
        known = {"annotations", "measured", "model"}
        rule(set(self.order) <= known, "order", self.order, f"of {', '.join(sorted(known))}")
        rule((self.captioner == "merge") == bool(self.order), "order", self.order, "captioners for merge, else empty")
        for kind, facts in self.measured.items():
            rule(kind in ("cat", "car"), "measured", kind, "cat or car")
            for fact, least in facts.items():
                rule(0 < least <= 1, f"measured.{kind}.{fact}", least, "above 0 and at most 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsParams:
    """Text to token ids."""

    languages: list[str]
    stem: bool
    min_count: int
    """Words seen less often in the train split become unk."""
    max_tokens: int
    """Longer captions are cut, and counted."""
    embeddings: Literal["minilm"] | None = None
    """Frozen sentence vectors of the captions' English form, for train.text_encoder of that name; null: none."""

    def __post_init__(self) -> None:
        rule(bool(self.languages) and set(self.languages) <= {"en", "es"}, "languages", self.languages, "of en, es")
        rule(self.min_count >= 1, "min_count", self.min_count, "at least 1")
        rule(2 <= self.max_tokens <= 512, "max_tokens", self.max_tokens, "between 2 and 512")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainParams:
    """Networks, objective and length of one training."""

    seed: int
    architecture: Literal["projected", "scratch"]
    """projected looks through a frozen EfficientNet-Lite; scratch has no pretrained part."""
    objective: Literal["hinge", "non_saturating", "minimax", "relativistic"]
    total_kimg: float
    """Length: thousands of real images shown. Nothing else ends a training."""
    batch_size: int
    """Images per optimiser step, over all processes."""
    optimiser: Literal["sgd", "rmsprop", "adam", "adagrad", "adamax"]
    g_lr: float
    d_lr: float
    beta1: float
    """First moment of adam and adamax; momentum of sgd and rmsprop."""
    beta2: float
    """Second moment of adam and adamax; smoothing of rmsprop."""
    lr_decay: float
    """Part of the training, at its end, over which both learning rates fall to zero along a line; 0 keeps them."""
    ema_kimg: float
    """Half-life of the moving average of G; 0 samples G itself (an ablation)."""
    ema_rampup: float | None
    """The half-life is at most this part of the images seen; null gives the full one from the start."""
    z_dim: int
    text_encoder: Literal["words", "minilm"]
    """words: trained over the vocabulary; minilm: frozen sentence vectors, of which a projection is trained."""
    text_dim: int
    text_kimg: float
    """Before the game, the text encoder and the heads learn on this many real pairs which words go with which image."""
    g_channels: int
    """Channels of G at the full size; each coarser level has twice as many, up to g_max_channels."""
    g_max_channels: int
    d_channels: int
    """Channels of every level that the heads judge; of scratch at the full size."""
    extractor: Literal["lite0", "lite1", "lite2"]
    """The frozen network of projected; lite2 is refused, because the metrics, the matcher and `select` see by it."""
    extractor_px: int
    """Smaller side of what the frozen network sees."""
    features: Literal["pretrained", "random"]
    """random: the same frozen network with random weights (an ablation)."""
    cache_mb: int
    """Features of real images are kept, in fp16, where all of them take at most this many MiB; 0 never."""
    augment: Literal["none", "translate", "translate_cutout"]
    """Of real and generated images alike; anything but none computes real features anew each time."""
    mismatch: bool
    """Real images with captions that contradict them are negatives of D."""
    hard_mismatches: int
    """So many more texts an image, that contradict it in one fact and in little else; 0: only the batch's own."""
    d_choice: float
    """Weight, in D, of picking a real image's caption among those of the batch that contradict it."""
    g_choice: float
    """Weight, in G, of the same for generated images: the mismatch term in G."""
    g_pair: float = 0.0
    """Weight, in G, of the distance in D's features to the real image of the same caption: shapes come soon."""
    g_pixels: float = 0.0
    """Weight, in G, of the distance to that image in pixels at a quarter of the size: shapes get filled."""
    g_pair_every: int = 1
    """One of so many captions has its pictures held against its real image (g_pair, g_pixels), and stands for the
    others, whose pictures only play the game; 1: all have."""
    z_per_caption: int = 1
    """So many pictures of a caption are made in a batch, each of a z of its own. From 2 on, g_pair and g_pixels weigh
    energy scores, which ask pictures of one caption to differ as its images do; with 1, G draws the mean of these."""
    captions: Literal["matched", "shuffled", "none"]
    """shuffled: every image gets another's caption; none: an empty one (ablations)."""
    r1_gamma: float
    """Weight of the gradient penalty at real inputs of the trained part of D; the loss uses half; 0 switches it off."""
    r2_gamma: float
    """The same at generated ones."""
    tick_kimg: float
    """Interval of a row of the curve and of a grid of samples."""
    checkpoint_kimg: float
    """Interval of checkpoints: what a kill can lose at most."""
    select_kimg: float = 0.0
    """Interval at which G_ema is scored on `select`, and once at the end; the best is kept. 0: the last is."""
    generator: Literal["fastgan", "dfgan"] = "fastgan"
    """fastgan: each layer normalised by image, for captions that say nearly all; dfgan: nothing normalised, for photos,
    of which captions say little."""
    grow_kimg: float = 0.0
    """Until so many, all is done at half the size, where an image costs half to two thirds; then G grows its finest
    level and D begins anew, its heads with words for a third of text_kimg. 0: the full size from the start."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: forward and backward in bfloat16, weights, moments and sums in fp32; for GPUs, on a CPU it is slower."""
    compile: bool = False
    """torch.compile of G and of the frozen network; other last bits. Pays on GPUs only."""
    deterministic: bool = False
    """On a GPU: the same bits each time on the same machine, slower. On a CPU they are the same anyway."""
    damaged: Literal["stop", "skip"] = "stop"
    """skip: images that cannot be read are left out and counted before the training begins."""

    def __post_init__(self) -> None:
        for key in ("total_kimg", "g_lr", "d_lr", "tick_kimg", "checkpoint_kimg"):
            rule(getattr(self, key) > 0, key, getattr(self, key), "above 0")
        for key in ("ema_kimg", "text_kimg", "select_kimg", "cache_mb", "d_choice", "g_choice"):
            rule(getattr(self, key) >= 0, key, getattr(self, key), "at least 0")
        for key in ("g_pair", "g_pixels", "r1_gamma", "r2_gamma"):
            rule(getattr(self, key) >= 0, key, getattr(self, key), "at least 0")
        least = self.grow_kimg + self.text_kimg / 3 + self.batch_size / 1000  # then a game of the full size begins
        grows = self.grow_kimg == 0 or (self.text_kimg < self.grow_kimg and least <= self.total_kimg)
        must = "0, or above text_kimg and, with a third of text_kimg and a batch after it, at most total_kimg"
        rule(grows, "grow_kimg", self.grow_kimg, must)
        for key in ("beta1", "beta2"):
            rule(0 <= getattr(self, key) < 1, key, getattr(self, key), "at least 0 and below 1")
        rule(0 <= self.hard_mismatches <= 64, "hard_mismatches", self.hard_mismatches, "between 0 and 64")
        rule(0 <= self.lr_decay <= 1, "lr_decay", self.lr_decay, "between 0 and 1")
        rule(self.batch_size >= 2, "batch_size", self.batch_size, "at least 2")
        rule(self.g_pair_every >= 1, "g_pair_every", self.g_pair_every, "at least 1")
        divides = self.z_per_caption >= 1 and self.batch_size % self.z_per_caption == 0
        rule(
            divides, "z_per_caption", self.z_per_caption, f"at least 1 and a divisor of batch_size ({self.batch_size})"
        )
        for key in ("z_dim", "text_dim", "g_channels", "g_max_channels", "d_channels"):
            rule(1 <= getattr(self, key) <= 4096, key, getattr(self, key), "between 1 and 4096")
        must = "lite0 or lite1: lite2 is what the metrics look through, and D may not see what judges it"
        rule(self.extractor != "lite2", "extractor", self.extractor, must)
        rule(32 <= self.extractor_px <= 1024, "extractor_px", self.extractor_px, "between 32 and 1024")
        rule(self.ema_rampup is None or self.ema_rampup > 0, "ema_rampup", self.ema_rampup, "null or above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class MatcherParams:
    """The frozen text-image scorer."""

    seed: int
    images: int
    """Train images that it learns from, chosen by seed; they score nothing else."""
    epochs: int
    batch_size: int
    dim: int
    """Size of the space that images and captions share."""
    lr: float

    def __post_init__(self) -> None:
        rule(self.images >= 64, "images", self.images, "at least 64")
        rule(1 <= self.epochs <= 10_000, "epochs", self.epochs, "between 1 and 10000")
        rule(8 <= self.batch_size <= 8192, "batch_size", self.batch_size, "between 8 and 8192")
        rule(8 <= self.dim <= 4096, "dim", self.dim, "between 8 and 4096")
        rule(self.lr > 0, "lr", self.lr, "above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsParams:
    """A file of weights that comes from the user: nothing is downloaded, and another file is refused."""

    path: str
    """Of the file, or of a directory with config.json and model.safetensors."""
    sha256: str

    def __post_init__(self) -> None:
        digits = len(self.sha256) == 64 and set(self.sha256) <= set("0123456789abcdef")
        rule(digits, "sha256", self.sha256, "64 hex digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateParams:
    """What is measured on a snapshot."""

    seed: int
    num_images: int
    """Generated images, against as many test images."""
    prompts: Literal["heldout", "test"]
    """Of the agreement; heldout: combinations that the drawn export never shows; test: captions of the test split."""
    agreement_images: int
    """Pictures whose facts are measured again."""
    grid_prompts: int
    grid_seeds: int
    weights: dict[str, WeightsParams] | None = None
    """Of further extractors, by name."""
    full_images: int = 50_000
    """Generated images of fid50k_full, against the whole train split; only where inception is among the weights."""

    def __post_init__(self) -> None:
        for name in self.weights or {}:
            rule(name in SUPPLIED, "weights", name, f"one of {', '.join(SUPPLIED)}")
        rule(self.full_images >= 32, "full_images", self.full_images, "at least 32")
        rule(self.num_images >= 2, "num_images", self.num_images, "at least 2")
        rule(self.agreement_images >= 2, "agreement_images", self.agreement_images, "at least 2")
        rule(1 <= self.grid_prompts <= 32, "grid_prompts", self.grid_prompts, "between 1 and 32")
        rule(1 <= self.grid_seeds <= 32, "grid_seeds", self.grid_seeds, "between 1 and 32")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetParams:
    """One dataset: its exports, and a section for each stage."""

    exports: list[str]
    ingest: IngestParams
    images: ImagesParams
    captions: CaptionsParams
    pairs: PairsParams
    train: TrainParams
    matcher: MatcherParams
    evaluate: EvaluateParams

    def __post_init__(self) -> None:
        rule(bool(self.exports), "exports", self.exports, "a list of at least one export name")
        for name in self.exports:
            rule(name.replace("-", "").isalnum() and name == name.lower(), "exports", name, "a-z, 0-9 and -")
        if self.train.text_encoder != "words":
            wanted, given = self.train.text_encoder, self.pairs.embeddings
            rule(given == wanted, "pairs.embeddings", given, f"{wanted}, for train.text_encoder is")


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """All of params.yaml."""

    preset: str
    """Name of the preset that the file was written from."""
    draw: dict[str, DrawParams]
    datasets: dict[str, DatasetParams]


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and check a parameter file. Raises UserError with file, key, value and rule."""
    import yaml  # a bare GPU machine has none, and gets its numbers as JSON

    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `textgan preset sample` writes one") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    return from_mapping(Params, value, str(path))


def dataset(name: str, path: Path = PARAMS_FILE) -> DatasetParams:
    """The parameters of one dataset."""
    datasets = load(path).datasets
    if name not in datasets:
        raise UserError(f"{path}: datasets has no {name!r}; it has {', '.join(sorted(datasets)) or 'none'}")
    return datasets[name]


def from_mapping(cls: type, value: Any, file: str, key: str = "") -> Any:
    """Build a parameter dataclass from parsed YAML; strict about keys and types."""
    prefix = f"{key}." if key else ""
    if not isinstance(value, dict):
        raise UserError(f"{file}: {key or 'the file'} is {value!r}; it must be a mapping")
    hints = typing.get_type_hints(cls)
    for name in value:
        if name not in hints:
            raise UserError(f"{file}: {prefix}{name} is unknown; known keys are {', '.join(hints)}")
    arguments = {}
    for field in dataclasses.fields(cls):
        if field.name not in value:
            if field.default is not dataclasses.MISSING:
                continue
            raise UserError(f"{file}: {prefix}{field.name} is missing")
        arguments[field.name] = _convert(hints[field.name], value[field.name], file, f"{prefix}{field.name}")
    try:
        return cls(**arguments)
    except ValueError as error:
        raise UserError(f"{file}: {prefix}{error}") from None


def _convert(hint: Any, value: Any, file: str, key: str) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return from_mapping(typing.cast(type, hint), value, file, key)
    if origin is dict:
        if not isinstance(value, dict):
            raise UserError(f"{file}: {key} is {value!r}; it must be a mapping")
        item = typing.get_args(hint)[1]
        return {str(name): _convert(item, entry, file, f"{key}.{name}") for name, entry in value.items()}
    if origin is list:
        if not isinstance(value, list):
            raise UserError(f"{file}: {key} is {value!r}; it must be a list")
        item = typing.get_args(hint)[0]
        return [_convert(item, entry, file, f"{key}[{idx}]") for idx, entry in enumerate(value)]
    if origin is Literal:
        choices = typing.get_args(hint)
        if value not in choices or isinstance(value, bool):
            raise UserError(f"{file}: {key} is {value!r}; it must be one of {', '.join(map(str, choices))}")
        return value
    if origin in (types.UnionType, typing.Union):
        inner = next(option for option in typing.get_args(hint) if option is not type(None))
        return None if value is None else _convert(inner, value, file, key)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise UserError(f"{file}: {key} is {value!r}; it must be of type {hint.__name__}")
    return value
