"""Stage `images`: exports to deterministic tar shards. Usage: python -m pipeline.images D

By hand, on any LMDB or image tree, without params: python -m pipeline.images EXPORT OUT --width W --height H
[--workers N] [--limit N]. Read = written + rejected by reason; the bytes are the same for any number of workers.
An interrupted build goes on at the first unfinished shard when the same command runs again.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from pathlib import Path

from pipeline import build, engines, work_places
from pipeline.exports import open_export
from pipeline.ingest import EXPORTS, write_inventory
from pipeline.ingest import OUT as INVENTORIES
from pipeline.s3 import local_export
from textgan import params as params_file
from textgan.errors import UserError, program
from textgan.files import publishing, unfinished_dir
from textgan.params import ImagesParams, IngestParams, from_mapping

OUT = Path("data/images")
MAX_PIXELS = 100_000_000
"""By hand: a header that claims more pixels is refused before it is decoded."""


def stage(dataset: str) -> str:
    """Build data/images/D from data/inventory/D and the exports of D; returns the closing line."""
    params = params_file.dataset(dataset)
    request = build.Request(
        dataset=dataset,
        inventory=INVENTORIES / dataset / "inventory.parquet",
        exports={name: EXPORTS / dataset / name for name in params.exports},
        params=params.images,
        seed=params.ingest.seed,
        max_pixels=params.ingest.max_pixels,
        workers=engines.worker_count(),
    )
    if not request.inventory.exists():
        raise UserError(f"{request.inventory}: no such file; run `python -m pipeline.ingest {dataset}` first")
    with work_places.saying_where(OUT / dataset):
        return build.build(request, unfinished_dir("images", build.identity(request)), OUT / dataset, keep=True)


def by_hand(arguments: argparse.Namespace) -> str:
    """Build OUT from one export; unfinished work is kept beside OUT."""
    names = {field.name for field in dataclasses.fields(ImagesParams)}
    values = {name: value for name, value in vars(arguments).items() if name in names}
    params = from_mapping(ImagesParams, values, "command line")
    of_ingest = {"seed": arguments.seed, "select": 0.05, "test": 0.15, "max_pixels": arguments.max_pixels}
    ingest = from_mapping(IngestParams, of_ingest, "command line")
    _refuse(arguments.limit is not None and arguments.limit < 1, "--limit", arguments.limit, "at least 1")
    given = arguments.workers
    _refuse(given is not None and not 1 <= given <= engines.MOST, "--workers", given, f"from 1 to {engines.MOST}")
    workers = given or engines.worker_count()
    name = export_name(Path(arguments.export))
    out = work_places.place_of(arguments.out)
    work = out.with_name(f".{out.name}.unfinished")
    with work_places.saying_where(out):
        work_places.refuse_foreign(out)
        export = local_export(arguments.export).absolute()  # now: OUT may be where we stand
        open_export(export)
        work_places.refuse_overlap(export, (out, work))
        with work_places.locked(work):
            try:
                with publishing(work / "inventory") as built:
                    write_inventory({name: export}, ingest, built, arguments.limit)
                request = build.Request(
                    dataset=out.name,
                    inventory=work / "inventory" / "inventory.parquet",
                    exports={name: export},
                    params=params,
                    seed=ingest.seed,
                    max_pixels=ingest.max_pixels,
                    workers=workers,
                )
                line = build.build(request, work / build.identity_name(request), out)
            except BaseException:
                if not any(map(build.has_finished, work.iterdir())):
                    work_places.discard(work)
                raise
            work_places.discard(work)
    return line


def _refuse(is_wrong: bool, key: str, value: int | None, must: str) -> None:
    if is_wrong:
        raise UserError(f"command line: {key} is {value}; it must be {must}")


def export_name(path: Path) -> str:
    """A name for an export given by a path: letters, digits and `-` of its directory's name.

    What the official archives append goes, as `textgan fetch` has it: `bedroom_val_lmdb` is `bedroom-val`, so all of
    it is test; `bedroom_train_lmdb` is `bedroom`. So does the suffix of a data file that stands alone.
    """
    name = path.absolute().parent.name if path.name == "data.mdb" else path.absolute().name
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower()).strip("-")
    return re.sub("(-train)?-l?mdb$", "", kept) or "export"


def parser() -> argparse.ArgumentParser:
    """The command line of the form by hand."""
    by_path = argparse.ArgumentParser(prog="python -m pipeline.images", description=__doc__)
    by_path.add_argument("export", help="LMDB directory, data.mdb file, image tree or s3://BUCKET/PREFIX/")
    by_path.add_argument("out", help="directory to make; what an earlier build made there is replaced")
    by_path.add_argument("--width", type=int, required=True)
    by_path.add_argument("--height", type=int, required=True)
    by_path.add_argument("--workers", type=int, default=None, help="processes (default: TEXTGAN_WORKERS or the cores)")
    by_path.add_argument("--limit", type=int, default=None, help="read only the first N entries")
    by_path.add_argument("--geometry", default="center_crop")
    by_path.add_argument("--small", default="upscale", help="reject or upscale")
    by_path.add_argument("--format", default="jpg", help="jpg, or png and webp, which are lossless")
    by_path.add_argument("--quality", type=int, default=95)
    by_path.add_argument("--shard-mb", type=int, default=256, dest="shard_mb")
    by_path.add_argument("--max-images", type=int, default=None, dest="max_images", help="keep at most N, by hash")
    by_path.add_argument("--duplicates", default="keep", help="keep, exact or perceptual")
    by_path.add_argument("--seed", type=int, default=0, help="of splits and of the subset")
    by_path.add_argument("--max-pixels", type=int, default=MAX_PIXELS, dest="max_pixels")
    return by_path


def main() -> None:
    """A dataset's name alone is the stage; two paths are the form by hand."""
    arguments = sys.argv[1:]
    if len(arguments) == 1 and not arguments[0].startswith("-"):
        print(stage(arguments[0]), flush=True)
    else:
        print(by_hand(parser().parse_args(arguments)), flush=True)


if __name__ == "__main__":
    program(main)
