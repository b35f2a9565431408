"""Stage `captions`: facts and captions for every image. Usage: python -m pipeline.captions D [--labels CSV]...

Shard by shard, aligned with the image shards: same names, same keys, same order. Finished shards wait in
`.state/unfinished`, so that a stopped run goes on where it was. Every claim has a confidence and a source.
With labels, the captions that are there are scored, and runs/D/captions-labels.json gets the counts with intervals.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from pipeline import caption_scores, imaging
from pipeline.caption_pixels import score_pixels
from pipeline.captioners import Captioner, Claims, Picture
from pipeline.captioners.annotations import AnnotationCaptioner
from textgan import params as params_file
from textgan.errors import UserError, program
from textgan.facts.wording import LANGUAGES, realise
from textgan.files import publishing, sha256_file, unfinished_dir, write_bytes, write_json
from textgan.params import CaptionsParams
from textgan.progress import Progress
from textgan.records import SPLITS
from textgan.seeds import derive_seed

IMAGES, INVENTORY, OUT = Path("data/images"), Path("data/inventory"), Path("data/captions")
RUNS = Path("runs")
"""What was asked for by hand is no out of a stage: the report would overwrite it, and DVC call the report stale."""
SCORED = "test"
"""The split of drawn pictures that the measurer of pixels is scored on."""
BATCH = 32
"""Pictures that a captioner gets at once."""
MAX_PIXELS = 1 << 28
"""Shards are our own; the limit only keeps a damaged header from claiming the memory."""
FACT = pa.struct([("name", pa.string()), ("value", pa.string()), ("confidence", pa.float64()), ("source", pa.string())])
SCHEMA = pa.schema(
    [
        ("sample_key", pa.string()),
        ("export", pa.string()),
        ("lmdb_key", pa.binary()),
        ("facts", pa.list_(FACT)),
        ("captions_en", pa.list_(pa.string())),
        ("captions_es", pa.list_(pa.string())),
        ("captioner", pa.string()),
    ]
)


def make_captioner(params: CaptionsParams, annotations: dict[str, str], file: str) -> Captioner:
    """The captioner that the parameters name; heavy ones are imported where they are asked for."""
    if params.captioner == "merge":
        from pipeline.captioners.merge import MergeCaptioner

        return MergeCaptioner([_one_captioner(name, params, annotations, file) for name in params.order])
    return _one_captioner(params.captioner, params, annotations, file)


def _one_captioner(name: str, params: CaptionsParams, annotations: dict[str, str], file: str) -> Captioner:
    if name == "annotations":
        return AnnotationCaptioner(annotations, file, params.missing)
    if name == "model":
        from pipeline.captioners.model import ModelCaptioner, model_directory

        return ModelCaptioner(model_directory())
    from pipeline.captioners.measured import MeasuredCaptioner

    return MeasuredCaptioner(params.measured)


def caption_shard(
    shard: Path,
    inventory: pd.DataFrame,
    captioner: Captioner,
    params: CaptionsParams,
    captioned: Callable[[int], None] = lambda count: None,
) -> pa.Table:
    """One row for each image of a tar shard, in its order. `inventory` is indexed by sample key.

    `captioned` hears of each batch how many images it had.
    """
    rows: list[dict[str, Any]] = []
    for batch in _batches(members(shard)):
        keys = [key for key, _encoded in batch]
        try:
            records = inventory.loc[keys]
        except KeyError as error:
            raise UserError(f"{shard}: {error}; every image must be in the inventory") from None
        exports, lmdb_keys = records["export"].tolist(), records["lmdb_key"].tolist()
        pictures = [
            Picture(key, export, imaging.decode(encoded, MAX_PIXELS) if captioner.looks else None)
            for (key, encoded), export in zip(batch, exports, strict=True)
        ]
        for picture, lmdb_key, claims in zip(pictures, lmdb_keys, captioner.caption(pictures), strict=True):
            captions = captions_of(claims, picture.sample_key, params)
            rows.append(
                {
                    "sample_key": picture.sample_key,
                    "export": picture.export,
                    "lmdb_key": lmdb_key,
                    "facts": [{name: getattr(fact, name) for name in FACT.names} for fact in claims.facts],
                    "captions_en": captions["en"],
                    "captions_es": captions["es"],
                    "captioner": captioner.name,
                }
            )
        captioned(len(batch))
    return pa.Table.from_pylist(rows, SCHEMA)


def captions_of(claims: Claims, key: str, params: CaptionsParams) -> dict[str, list[str]]:
    """`per_image` captions of each language: those that were given, then the facts in words."""
    facts = {fact.name: fact.value for fact in claims.facts}
    captions = {}
    for language in LANGUAGES:
        given = claims.captions.get(language, [])[: params.per_image]
        seed = derive_seed(params.seed, "caption", language, key)
        captions[language] = given + realise(facts, language, seed, params.per_image - len(given))
    return captions


def members(shard: Path) -> Iterator[tuple[str, bytes]]:
    """(sample key, encoded image) of each member of a tar shard."""
    with tarfile.open(shard, "r|") as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None:
                yield member.name.split(".", 1)[0], file.read()


def _batches(members: Iterator[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    batch = []
    for member in members:
        batch.append(member)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def summarise(tables: Sequence[pa.Table], annotations: dict[str, str], captioner: Captioner) -> dict[str, Any]:
    """Counts for metrics.json: images, what is said of how many, annotations that found no image."""
    said: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    keys: set[str] = set()
    silent = 0
    distinct: set[str] = set()
    for table in tables:
        keys.update(table["sample_key"].to_pylist())
        for facts, captions in zip(table["facts"].to_pylist(), table["captions_en"].to_pylist(), strict=True):
            said.update(fact["name"] for fact in facts)
            sources.update(fact["source"] for fact in facts)
            distinct.update(captions)
            silent += not captions
    images = max(len(keys), 1)
    return {
        "captioner": captioner.name,
        "images": len(keys),
        "images_without_caption": silent,
        "distinct_captions_en": len(distinct),
        "facts": {name: {"said": said[name], "coverage": round(said[name] / images, 4)} for name in sorted(said)},
        "sources": dict(sorted(sources.items())),
        "annotations": {
            "images_without": len(keys - annotations.keys()),
            "without_image": len(annotations.keys() - keys),
        },
    }


def run(images: Path, inventory_dir: Path, out: Path, params: CaptionsParams, name: str) -> dict[str, Any]:
    """Caption the image shards of `images` into `out`; returns the metrics."""
    manifest = json.loads((images / "manifest.json").read_text(encoding="utf-8"))
    inventory = pd.read_parquet(inventory_dir / "inventory.parquet", columns=["sample_key", "export", "lmdb_key"])
    inventory = inventory.set_index("sample_key")
    notes = pd.read_parquet(inventory_dir / "annotations.parquet")
    annotations = dict(zip(notes["sample_key"], notes["annotation"], strict=True))
    captioner = make_captioner(params, annotations, str(inventory_dir / "annotations.parquet"))
    digests = [sha256_file(images / "manifest.json"), sha256_file(inventory_dir / "annotations.parquet")]
    work = unfinished_dir("captions", [name, captioner.name, repr(params), *digests])
    shards = [shard for split in SPLITS for shard in manifest["splits"].get(split, {"shards": []})["shards"]]
    progress = Progress(sum(shard["images"] for shard in shards), f"captions {name}")
    for shard in shards:
        done = work / f"{Path(shard['name']).stem}.parquet"
        if not done.exists():
            table = caption_shard(images / shard["name"], inventory, captioner, params, progress.update)
            if len(table) != shard["images"]:
                raise UserError(
                    f"{images / shard['name']}: has {len(table)} images; its manifest says {shard['images']}"
                )
            buffer = io.BytesIO()
            parquet.write_table(table, buffer, compression="zstd")
            write_bytes(done, buffer.getvalue())
        else:
            progress.update(shard["images"])
    progress.close()
    with publishing(out) as built:
        names = [f"{Path(shard['name']).stem}.parquet" for shard in shards]
        for shard_name in names:
            os.link(work / shard_name, built / shard_name)
        tables = [parquet.read_table(built / shard_name) for shard_name in names]
        metrics = summarise(tables, annotations, captioner)
        tested = [idx for idx, shard_name in enumerate(names) if shard_name.startswith(f"{SCORED}-")]
        pictures = (member for idx in tested for member in members(images / shards[idx]["name"]))
        metrics["pixels"] = score_pixels([tables[idx] for idx in tested], pictures)
        write_json(built / "metrics.json", metrics)
    for shard_name in names:
        (work / shard_name).unlink()
    return metrics


def score_labels(captions: Path, labels: Sequence[Path]) -> dict[str, Any]:
    """Scores of the captions in a directory against label files, by file name; prints a table of each."""
    tables = [parquet.read_table(path, columns=["sample_key", "lmdb_key", "facts"]) for path in shard_files(captions)]
    claims = []
    for table in tables:
        for row in table.to_pylist():
            names = (row["sample_key"], row["lmdb_key"].decode("utf-8", "replace"))
            claims.append((names, {fact["name"]: fact["value"] for fact in row["facts"]}))
    scores = {}
    for path in labels:
        wanted = caption_scores.read_labels(path)
        found = caption_scores.score(claims, wanted)
        met = sum(any(name in wanted for name in names) for names, _facts in claims)
        if not met:
            raise UserError(f"{path}: none of its {len(wanted)} keys is in {captions}")
        print(f"{path.name}: {met} of {len(wanted)} labelled pictures are in {captions}")
        print(caption_scores.table(found), flush=True)
        scores[path.name] = {"pictures": met, "facts": {fact: entry.as_dict() for fact, entry in found.items()}}
    return scores


def shard_files(captions: Path) -> list[Path]:
    """The caption shards of a directory, split by split."""
    files = [path for split in SPLITS for path in sorted(captions.glob(f"{split}-*.parquet"))]
    if not files:
        raise UserError(f"{captions}: has no captions; run the stage captions first")
    return files


def main() -> None:
    """Make data/captions/D from data/images/D and data/inventory/D, or score what is there against labels."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.captions", description=__doc__)
    parser.add_argument("dataset")
    parser.add_argument("--labels", type=Path, action="append", help="score against this CSV; may be given again")
    arguments = parser.parse_args()
    name = arguments.dataset
    params = params_file.dataset(name).captions
    if not arguments.labels or not (OUT / name / "metrics.json").exists():
        metrics = run(IMAGES / name, INVENTORY / name, OUT / name, params, name)
        coverage = ", ".join(f"{fact} {entry['coverage']:.0%}" for fact, entry in metrics["facts"].items())
        print(f"captions {name}: {metrics['images']} images by {metrics['captioner']}; said of: {coverage}", flush=True)
        if metrics["annotations"]["without_image"]:
            print(f"captions {name}: {metrics['annotations']['without_image']} annotations have no image here")
        if metrics["pixels"]:
            measured = metrics["pixels"]["facts"].items()
            right = ", ".join(f"{fact} {score['right']} of {score['said']}" for fact, score in measured)
            print(
                f"captions {name}: pixels of {metrics['pixels']['pictures']} drawn pictures agree: {right}", flush=True
            )
    if arguments.labels:
        metrics = json.loads((OUT / name / "metrics.json").read_text(encoding="utf-8"))
        scored = RUNS / name / "captions-labels.json"
        write_json(scored, metrics | {"labels": score_labels(OUT / name, arguments.labels)})
        print(f"wrote {scored}", flush=True)


if __name__ == "__main__":
    program(main)
