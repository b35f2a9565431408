"""Facts and captions for pictures of one's own: the command `textgan caption`, and what the sheet needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from textgan.errors import UserError
from textgan.facts.schema import VALUES

if TYPE_CHECKING:
    import numpy as np

    from pipeline.captioners import Claims

SUFFIXES = frozenset({".webp", ".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff"})
MAX_PIXELS = 100_000_000
BATCH = 16
WHERE = "picture"
"""Stands for the export where there is none: it tells no kind, so the classifier must see it."""


def pictures_in(directory: Path) -> list[Path]:
    """The image files of a directory tree, sorted. Raises UserError where there is none."""
    if not directory.is_dir():
        raise UserError(f"{directory}: no such directory")
    files = sorted(path for path in directory.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise UserError(f"{directory}: has no image files ({', '.join(sorted(SUFFIXES))})")
    return files


def read_pixels(path: Path) -> np.ndarray:  # uint8 [H,W,3]
    """Decode an image file. Raises UserError."""
    from pipeline import imaging
    from pipeline.headers import UndecodableImage

    try:
        return imaging.decode(path.read_bytes(), MAX_PIXELS)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except UndecodableImage as error:
        raise UserError(f"{path}: no image that can be read: {error}") from None


def measure_files(paths: Sequence[Path], kind: str | None) -> list[Claims]:
    """What `measured` says of each file, with the shipped thresholds. `kind` None: the classifier looks."""
    if kind not in (None, *VALUES["kind"]):
        raise UserError(f"--kind is {kind!r}; it must be {' or '.join(VALUES['kind'])}")
    from pipeline.captioners import Picture
    from pipeline.captioners.measured import MeasuredCaptioner
    from pipeline.captioners.probes import shipped_thresholds

    captioner = MeasuredCaptioner(shipped_thresholds())
    claims = []
    for start in range(0, len(paths), BATCH):
        batch = paths[start : start + BATCH]
        claims += captioner.caption([Picture(str(path), kind or WHERE, read_pixels(path)) for path in batch])
    return claims


def caption(
    images: Annotated[list[Path], typer.Argument(help="image files")],
    kind: Annotated[str | None, typer.Option(help="cat or car; otherwise the classifier looks")] = None,
    count: Annotated[int, typer.Option(min=1, max=32, help="captions of each language")] = 2,
    seed: Annotated[int, typer.Option(help="another seed words the facts in another way")] = 0,
) -> None:
    """Print the facts and captions that the measuring captioner has for pictures of one's own."""
    from textgan.facts.wording import LANGUAGES, realise
    from textgan.seeds import derive_seed

    for path, claims in zip(images, measure_files(images, kind), strict=True):
        print(path)
        if not claims.facts:
            print("  neither a cat nor a car for sure: nothing is said")
            continue
        print("  " + ", ".join(f"{fact.name} {fact.value} ({fact.confidence:.2f})" for fact in claims.facts))
        facts = {fact.name: fact.value for fact in claims.facts}
        for language in LANGUAGES:
            for text in realise(facts, language, derive_seed(seed, "caption", language, path.name), count):
                print(f"  {language}: {text}")
