"""Draw an LSUN-format export whose facts are known: `python -m pipeline.draw D`, `textgan sample-export OUT`.

Each picture is a function of (seed, kind, index), so any number of workers gives the same bytes; the
LMDB is written in key order by one process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated

import lmdb
import numpy as np
import typer
from PIL import Image

from pipeline.drawing.cars import car
from pipeline.drawing.cats import cat
from pipeline.drawing.scene import render
from textgan import params
from textgan.errors import UserError, program
from textgan.facts.drawn import SOURCE, picture_facts
from textgan.facts.heldout import FILE as HELDOUT_FILE
from textgan.facts.heldout import heldout
from textgan.facts.wording import LANGUAGES, realise
from textgan.files import publish_dir, publishing, unfinished_dir
from textgan.params import DrawParams
from textgan.progress import Progress
from textgan.seeds import derive_seed

KINDS = ("cat", "car")
CAPTIONS = 3
"""Captions of each language in annotations.jsonl."""
_CHUNK = 16
_TRANSACTION = 1000
_PAGE = 4096
Picture = tuple[str, dict[str, str], bytes]
"""LMDB key, facts, encoded picture."""


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


def draw_one(seed: int, kind: str, index: int) -> Picture:
    """Picture `index` of a kind; its key is the sha1 of its bytes, as in LSUN."""
    facts = picture_facts(seed, kind, index, heldout())
    value = encode(picture(facts, seed, index), derive_seed(seed, "draw", "format", kind, index) / 2**63)
    return hashlib.sha1(value, usedforsecurity=False).hexdigest(), facts, value


def draw_export(directory: Path, images: int, seed: int) -> None:
    """Write cat/, car/ (`images` pictures each) and heldout.json into an empty directory."""
    progress = Progress(images * len(KINDS), "draw")
    with _workers() as mapped:
        for kind in KINDS:
            drawn = mapped(functools.partial(draw_one, seed, kind), range(images))
            _write_kind(directory / kind, drawn, seed, progress)
    shutil.copyfile(HELDOUT_FILE, directory / HELDOUT_FILE.name)
    progress.close()


def num_workers() -> int:
    """Processes to draw with: TEXTGAN_WORKERS, or one for each core."""
    text = os.environ.get("TEXTGAN_WORKERS", "")
    if not text:
        return os.cpu_count() or 1
    if not text.isdigit() or int(text) < 1:
        raise UserError(f"TEXTGAN_WORKERS is {text!r}; it must be a whole number of at least 1")
    return int(text)


@contextlib.contextmanager
def _workers() -> Iterator[Callable[[Callable[[int], Picture], range], Iterable[Picture]]]:
    """A map over indices, in any order, by as many processes as asked for."""
    workers = num_workers()
    if workers == 1:
        yield map
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield functools.partial(pool.imap_unordered, chunksize=_CHUNK)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A picture that waits in the spool until all keys are known and can be written in order."""

    facts: dict[str, str]
    offset: int
    length: int


def _write_kind(directory: Path, drawn: Iterable[Picture], seed: int, progress: Progress) -> None:
    directory.mkdir(parents=True)
    pictures: dict[str, _Drawn] = {}
    with tempfile.TemporaryFile(dir=directory) as spool:
        for key, facts, value in drawn:
            pictures[key] = _Drawn(facts, spool.tell(), len(value))
            spool.write(value)
            progress.update()
        _write_lmdb(directory, pictures, spool)
    with open(directory / "annotations.jsonl", "w", encoding="utf-8", newline="\n") as file:
        file.writelines(_annotation(key, pictures[key].facts, seed) for key in sorted(pictures))


def _write_lmdb(directory: Path, pictures: dict[str, _Drawn], spool: IO[bytes]) -> None:
    """data.mdb with the keys in order, in transactions of bounded memory; no lock file is left."""
    pages = sum(drawn.length // _PAGE + 2 for drawn in pictures.values())
    map_size = (2 * pages + 256) * _PAGE  # branch pages and copies of pages written by earlier transactions
    keys = sorted(pictures)
    with lmdb.open(str(directory), map_size=map_size, lock=False, meminit=True, readahead=False) as environment:
        for start in range(0, len(keys), _TRANSACTION):
            with environment.begin(write=True) as transaction:
                for key in keys[start : start + _TRANSACTION]:
                    spool.seek(pictures[key].offset)
                    transaction.put(key.encode(), spool.read(pictures[key].length), append=True)


def _annotation(key: str, facts: dict[str, str], seed: int) -> str:
    captions = {
        language: realise(facts, language, derive_seed(seed, "draw", "captions", language, key), CAPTIONS)
        for language in LANGUAGES
    }
    record = {"key": key, "facts": facts, "captions": captions, "source": SOURCE}
    return json.dumps(record, sort_keys=True, ensure_ascii=False) + "\n"


def check_place(out: Path) -> None:
    """Refuse to replace anything but an earlier drawn export."""
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir() or out.is_symlink():
        raise UserError(f"{out}: exists and is no directory; name a new one")
    if out.resolve() == Path.cwd():
        raise UserError(f"{out}: is the current directory; name a new one in it")
    entries = {path.name for path in out.iterdir()}
    ours = HELDOUT_FILE.name in entries and entries <= {*KINDS, HELDOUT_FILE.name}
    if entries and not (ours and all((out / kind / "annotations.jsonl").is_file() for kind in KINDS)):
        raise UserError(f"{out}: is not empty and no drawn export; name a new or empty directory")


def sample_export(
    out: Annotated[Path, typer.Argument(help="directory to write, with cat/ and car/ in it; a drawn one is replaced")],
    images: Annotated[int, typer.Option(help="pictures of each kind")] = 4000,
    seed: Annotated[int, typer.Option(help="another seed, other pictures")] = 0,
) -> None:
    """Draw LSUN-format exports of cats and cars whose facts are known."""
    rule = DrawParams(images=1, seed=0)  # the limits of `images` are stated once, in textgan.params
    try:
        dataclasses.replace(rule, images=images)
    except ValueError as error:
        raise UserError(f"sample-export: --{error}") from None
    check_place(out)
    try:
        with publishing(out) as built:
            draw_export(built, images, seed)
    except (OSError, lmdb.Error) as error:
        raise UserError(f"{out}: cannot be written: {error}") from None
    print(f"{out}: {images} pictures each of {', '.join(KINDS)}, drawn with seed {seed}")


def main() -> None:
    """Stage `draw`: params draw.D -> data/exports/D."""
    if len(sys.argv) != 2:
        raise UserError("usage: python -m pipeline.draw DATASET")
    name = sys.argv[1]
    drawings = params.load().draw
    if name not in drawings:
        raise UserError(f"{params.PARAMS_FILE}: draw has no {name!r}; it has {', '.join(sorted(drawings)) or 'none'}")
    numbers, out = drawings[name], Path("data/exports") / name
    unfinished = unfinished_dir("draw", {"dataset": name, **dataclasses.asdict(numbers)})
    shutil.rmtree(unfinished)  # what a killed run left; drawing is quick and starts again
    unfinished.mkdir()
    try:
        draw_export(unfinished, numbers.images, numbers.seed)
        publish_dir(unfinished, out)
    except (OSError, lmdb.Error) as error:
        raise UserError(f"{out}: cannot be written: {error}") from None


if __name__ == "__main__":
    program(main)
