"""The Croissant 1.0 description (JSON-LD) of a built dataset, its linter, and a check of the hashes it states.

Places in it are relative to the repository's root, where `dvc pull data/images/D data/pairs/D` puts the files.
Usage: python -m flows.croissant D [FILE] writes FILE (default croissant-D.json); with --check it lints and verifies
an existing one: the format's own validator accepts a wrong sha256.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from textgan import params
from textgan.errors import UserError, program
from textgan.files import sha256_file, write_json
from textgan.manifest import read_images
from textgan.records import SPLITS

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
ENCODINGS = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
TERMS = """citeAs column equivalentProperty extract field fileObject fileProperty fileSet format includes isLiveDataset
    jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate separator source subField
    transform""".split()
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in TERMS},
}
"""Croissant 1.0's own context; with a key more (`containedIn`) its reader loses the archives."""


def describe(name: str, about: str, licence: str, commit: str, date: str) -> dict[str, Any]:
    """The description of dataset `name` as it stands in data/images and data/pairs; `about` says where it is from."""
    images, pairs = Path("data/images") / name, Path("data/pairs") / name
    manifest = read_images(images)
    shards = [
        (f"{images}/{shard.name}", shard.bytes, shard.sha256) for split in SPLITS for shard in manifest.splits[split]
    ]
    embedded = [path for split in SPLITS for path in sorted(pairs.glob(f"embeddings-{split}-*.parquet"))]
    aligned = [path for split in SPLITS for path in sorted(pairs.glob(f"{split}-*.parquet"))]
    texts = [(path.as_posix(), path.stat().st_size, sha256_file(path)) for path in (*aligned, *embedded)]
    extension = str(manifest.encoding.get("format", "jpg"))
    counts = ", ".join(f"{manifest.images(split):,} {split}" for split in SPLITS)
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": f"textgan-{name}",
        "description": (
            f"{manifest.written:,} pictures of {manifest.width}x{manifest.height} pixels with captions ({counts})."
            f" {about} Made by textgan at commit {commit};"
            f" `dvc pull data/images/{name} data/pairs/{name}` there brings the files."
        ),
        "license": licence,
        "url": "https://www.yf.io/p/lsun",
        "version": f"1.0.0+{commit[:12]}",
        "datePublished": date[:10],
        "creator": {"@type": "sc:Organization", "name": "textgan"},
        "citeAs": f"textgan dataset {name}, commit {commit}",
        "distribution": [
            *(_file(path, size, sha256, "application/x-tar") for path, size, sha256 in shards),
            *(_file(path, size, sha256, "application/x-parquet") for path, size, sha256 in texts),
            {
                "@type": "cr:FileSet",
                "@id": "image-files",
                "name": "image-files",
                "description": "The members of the tar shards, named by sample key.",
                "containedIn": [{"@id": path} for path, _, _ in shards],
                "encodingFormat": ENCODINGS.get(extension, "image/jpeg"),
                "includes": f"*.{extension}",
            },
            {
                "@type": "cr:FileSet",
                "@id": "pair-files",
                "name": "pair-files",
                "description": "Parquet shards aligned with the image shards: same keys, same order.",
                "encodingFormat": "application/x-parquet",
                # By split: `embeddings-*.parquet`, where there are some, have other columns.
                "includes": [f"{pairs.as_posix()}/{split}-*.parquet" for split in SPLITS],
            },
        ],
        "recordSet": [_pictures(extension), _captions()],
    }


def _file(path: str, size: int, sha256: str, encoding: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "contentUrl": path,
        "contentSize": f"{size} B",
        "encodingFormat": encoding,
        "sha256": sha256,
    }


def _pictures(extension: str) -> dict[str, Any]:
    key = {"fileProperty": "filename"}, {"regex": rf"^(?:.*/)?([^/.]+)\.{extension}$"}
    return {
        "@type": "cr:RecordSet",
        "@id": "pictures",
        "name": "pictures",
        "key": {"@id": "pictures/sample_key"},
        "field": [
            _field(
                "pictures/sample_key", "Names the sample for good: export and LMDB key.", "sc:Text", "image-files", *key
            ),
            _field("pictures/image", "The picture.", "sc:ImageObject", "image-files", {"fileProperty": "content"}),
        ],
    }


def _captions() -> dict[str, Any]:
    fields = [
        _field(f"captions/{column}", about, "sc:Text", "pair-files", {"column": column})
        for column, about in (
            ("sample_key", "The picture's key."),
            ("facts", "JSON: the facts that the captions say."),
            ("captions", "What is said of the picture."),
            ("languages", "The language of each caption, en or es."),
        )
    ]
    for field in fields[2:]:
        field |= {"repeated": True}
    return {"@type": "cr:RecordSet", "@id": "captions", "name": "captions", "field": fields}


def _field(
    name: str, about: str, kind: str, source: str, extract: dict[str, Any], transform: dict[str, Any] | None = None
) -> dict[str, Any]:
    of: dict[str, Any] = {"fileSet": {"@id": source}, "extract": extract} | (
        {"transform": transform} if transform else {}
    )
    return {"@type": "cr:Field", "@id": name, "name": name, "description": about, "dataType": kind, "source": of}


def lint(value: Any) -> list[str]:
    """What a Croissant 1.0 description lacks, a line each: required keys, types, hashes, references."""
    if not isinstance(value, dict):
        return ["the file must be a JSON object"]
    required = (
        "@context",
        "@type",
        "conformsTo",
        "name",
        "description",
        "license",
        "url",
        "datePublished",
        "distribution",
    )
    lines = [f"{key} is missing" for key in required if not value.get(key)]
    if value.get("@type") not in ("sc:Dataset", "Dataset"):
        lines.append(f"@type is {value.get('@type')!r}; it must be sc:Dataset")
    if value.get("conformsTo") != CONFORMS_TO:
        lines.append(f"conformsTo is {value.get('conformsTo')!r}; it must be {CONFORMS_TO}")
    for item in value.get("distribution") or []:
        where, kind = item.get("@id", "a distribution without @id"), item.get("@type")
        needed = {"cr:FileObject": ("name", "contentUrl", "encodingFormat", "sha256"), "cr:FileSet": ("includes",)}
        if kind not in needed:
            lines.append(f"{where}: @type is {kind!r}; it must be cr:FileObject or cr:FileSet")
        lines += [f"{where}: {key} is missing" for key in needed.get(str(kind), ()) if not item.get(key)]
        if "sha256" in item and not re.fullmatch(r"[0-9a-f]{64}", str(item["sha256"])):
            lines.append(f"{where}: sha256 is {item['sha256']!r}; it must be 64 hex digits")
    for records in value.get("recordSet") or []:
        for field in records.get("field") or []:
            lines += [
                f"{field.get('@id')}: {key} is missing" for key in ("@id", "dataType", "source") if not field.get(key)
            ]
    defined = [node["@id"] for node in _nodes(value) if "@id" in node and "@type" in node]
    lines += [f"@id {name} comes twice" for name in sorted({name for name in defined if defined.count(name) > 1})]
    used = {node["@id"] for node in _nodes(value) if "@id" in node and "@type" not in node}
    return lines + [f"@id {name} is referred to and not defined" for name in sorted(used - set(defined))]


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object below a value, the context aside."""
    if isinstance(value, dict):
        yield value
        for key, below in value.items():
            if key != "@context":
                yield from _nodes(below)
    elif isinstance(value, list):
        for below in value:
            yield from _nodes(below)


def wrong_files(value: dict[str, Any], root: Path) -> list[str]:
    """Files under `root` whose bytes are not those that the description states, a line each."""
    lines = []
    for item in value["distribution"]:
        if item.get("@type") != "cr:FileObject":
            continue
        place = Path(item["contentUrl"])
        path = root / place
        if place.is_absolute() or ".." in place.parts:
            lines.append(f"{item['contentUrl']}: leads out of {root}")
        elif not path.is_file():
            lines.append(f"{item['contentUrl']}: no such file under {root}")
        elif (found := sha256_file(path)) != item["sha256"]:
            lines.append(f"{item['contentUrl']}: sha256 is {found}, the description states {item['sha256']}")
    return lines


def main(argv: list[str] | None = None) -> None:
    """Write or check the description of one dataset."""
    from flows import cards, history

    parser = argparse.ArgumentParser(prog="python -m flows.croissant", description="Croissant of a built dataset.")
    parser.add_argument("dataset")
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--check", action="store_true", help="lint FILE and compare every hash that it states")
    args = parser.parse_args(argv)
    file = args.file or Path(f"croissant-{args.dataset}.json")
    if not args.check:
        commit, date = history.git("log", "-1", "--format=%H %cI").split()
        write_json(file, cards.croissant(params.load(), args.dataset, commit, date))
        print(f"{file}: written")
        return
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: {error}") from None
    wrong = lint(value) or wrong_files(value, file.parent)
    if wrong:
        raise UserError(f"{file}: {'; '.join(wrong)}")
    print(f"{file}: complete, and every file has the bytes that it states")


if __name__ == "__main__":
    program(main)
