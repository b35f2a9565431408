"""Draw an LSUN-format export whose facts are known: `python -m pipeline.draw D`, `textgan sample-export OUT`.

Each picture is a function of (seed, kind, index), so any number of workers gives the same bytes; the
LMDB is written in key order by one process.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import lmdb
import numpy as np
import typer
from PIL import Image

from pipeline.drawing.cars import car
from pipeline.drawing.cats import cat
from pipeline.drawing.scene import render
from textgan import params
from textgan.errors import UserError, program
from textgan.facts.drawn import picture_facts
from textgan.facts.heldout import FILE as HELDOUT_FILE
from textgan.facts.heldout import heldout
from textgan.facts.wording import LANGUAGES, realise
from textgan.files import publishing, write_bytes
from textgan.progress import Progress
from textgan.seeds import derive_seed

KINDS = ("cat", "car")
CAPTIONS = 3
"""Captions of each language in annotations.jsonl."""
_CHUNK = 16
_PAGE = 4096


def picture(facts: dict[str, str], seed: int, index: int) -> np.ndarray:
    """The picture of these facts: uint8 [H,W,3]; the seed varies what the facts leave open."""
    rng = np.random.Generator(np.random.PCG64(derive_seed(seed, "draw", "shape", facts["kind"], index)))
    sketch = cat(facts, rng) if facts["kind"] == "cat" else car(facts, rng)
    return render(sketch, facts, rng, furry=facts["kind"] == "cat")


def encode(image: np.ndarray, choice: float) -> bytes:
    """A picture as JPEG, WebP or PNG; `choice` in [0, 1) decides."""
    buffer = io.BytesIO()
    if choice < 0.7:
        Image.fromarray(image).save(buffer, "JPEG", quality=92, subsampling=0)
    elif choice < 0.95:
        Image.fromarray(image).save(buffer, "WEBP", quality=90, method=0)
    else:
        Image.fromarray(image).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def draw_one(seed: int, kind: str, index: int) -> tuple[str, dict[str, str], bytes]:
    """(LMDB key, facts, encoded picture) of picture `index` of a kind."""
    facts = picture_facts(seed, kind, index, heldout())
    value = encode(picture(facts, seed, index), derive_seed(seed, "draw", "format", kind, index) / 2**63)
    return hashlib.sha1(value, usedforsecurity=False).hexdigest(), facts, value


def draw_export(out: Path, images: int, seed: int) -> None:
    """Write OUT/cat and OUT/car, `images` pictures each, whole or not at all."""
    workers = num_workers()
    progress = Progress(images * len(KINDS), "draw")
    with publishing(out) as built:
        for kind in KINDS:
            _write_kind(built / kind, _drawn(kind, images, seed, workers), seed, progress)
        shutil.copyfile(HELDOUT_FILE, built / HELDOUT_FILE.name)
    progress.close()


def num_workers() -> int:
    """Processes to draw with: TEXTGAN_WORKERS, or one for each core."""
    text = os.environ.get("TEXTGAN_WORKERS", "")
    if not text:
        return os.cpu_count() or 1
    if not text.isdigit() or int(text) < 1:
        raise UserError(f"TEXTGAN_WORKERS is {text!r}; it must be a whole number of at least 1")
    return int(text)


def _drawn(kind: str, images: int, seed: int, workers: int) -> Iterator[tuple[str, dict[str, str], bytes]]:
    task = functools.partial(draw_one, seed, kind)
    if workers == 1:
        yield from map(task, range(images))
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(task, range(images), chunksize=_CHUNK)


def _write_kind(
    directory: Path, drawn: Iterator[tuple[str, dict[str, str], bytes]], seed: int, progress: Progress
) -> None:
    pictures: dict[str, tuple[dict[str, str], bytes]] = {}
    for key, facts, value in drawn:
        pictures[key] = (facts, value)
        progress.update()
    directory.mkdir(parents=True)
    _write_lmdb(directory, {key.encode(): value for key, (_, value) in pictures.items()})
    lines = [_annotation(key, pictures[key][0], seed) for key in sorted(pictures)]
    write_bytes(directory / "annotations.jsonl", "".join(lines).encode())


def _write_lmdb(directory: Path, values: dict[bytes, bytes]) -> None:
    pages = sum(len(value) // _PAGE + 2 for value in values.values())
    environment = lmdb.open(
        str(directory), map_size=(2 * pages + 256) * _PAGE, lock=False, meminit=True, writemap=False, readahead=False
    )
    with environment, environment.begin(write=True) as transaction:
        for key in sorted(values):
            transaction.put(key, values[key], append=True)


def _annotation(key: str, facts: dict[str, str], seed: int) -> str:
    captions = {
        language: realise(facts, language, derive_seed(seed, "draw", "captions", language, key), CAPTIONS)
        for language in LANGUAGES
    }
    record = {"key": key, "facts": facts, "captions": captions}
    return json.dumps(record, sort_keys=True, ensure_ascii=False) + "\n"


def sample_export(
    out: Annotated[Path, typer.Argument(help="directory to write, with cat/ and car/ in it")],
    images: Annotated[int, typer.Option(help="pictures of each kind")] = 4000,
    seed: Annotated[int, typer.Option(help="another seed, other pictures")] = 0,
) -> None:
    """Draw LSUN-format exports of cats and cars whose facts are known."""
    if images < 1:
        raise UserError(f"sample-export: --images is {images}; it must be at least 1")
    draw_export(out, images, seed)
    print(f"{out}: {images} pictures each of {', '.join(KINDS)}, drawn with seed {seed}")


def main() -> None:
    """Stage `draw`: params draw.D -> data/exports/D."""
    if len(sys.argv) != 2:
        raise UserError("usage: python -m pipeline.draw DATASET")
    name = sys.argv[1]
    drawings = params.load().draw
    if name not in drawings:
        raise UserError(f"{params.PARAMS_FILE}: draw has no {name!r}; it has {', '.join(sorted(drawings)) or 'none'}")
    draw_export(Path("data/exports") / name, drawings[name].images, drawings[name].seed)


if __name__ == "__main__":
    program(main)
