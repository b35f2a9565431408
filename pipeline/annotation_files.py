"""What people, or the drawer, wrote down of an export's pictures: annotations.jsonl, .csv or .parquet beside data.mdb.

JSONL: `{"key": LMDB key, "facts": {name: value}, "captions": {"en": [...]}, "source": name}` a line, all but the key
optional. CSV and Parquet: a column `key`, a column for each fact, `caption_en`, `caption_es`; a key may have several
rows, whose captions follow one another.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from textgan.errors import UserError
from textgan.facts.schema import LANGUAGES, VALUES, Fact
from textgan.records import sample_key

NAMES = ("annotations.jsonl", "annotations.csv", "annotations.parquet")
"""An export has one of these at most."""
SOURCE = "annotations"
"""Who says the facts of an annotation that names no source."""
CAPTION_COLUMNS = {f"caption_{language}": language for language in LANGUAGES}
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_FIELD_LIMIT = 1 << 24
"""Characters of one CSV field: a caption of 10,000 words has 60,000."""


def annotation_rows(export: str, directory: Path) -> Iterator[dict[str, str]]:
    """An export's annotations, checked: `sample_key`, `annotation` (JSON text). UserErrors name file, row, rule."""
    there = [directory / name for name in NAMES if (directory / name).exists()]
    if len(there) > 1:
        raise UserError(f"{directory}: has {' and '.join(path.name for path in there)}; an export has one of them")
    seen: set[str] = set()
    for path in there:
        for where, record in _records(path):
            key = record.get("key")
            if not isinstance(key, str) or not key:
                raise UserError(f"{where} has the key {key!r}; it must be a text")
            if key in seen:
                raise UserError(f"{where} has the key {key!r} again; a key has one line")
            seen.add(key)
            read_annotation(record, where)
            text = json.dumps(record, sort_keys=True, ensure_ascii=False)
            yield {"sample_key": sample_key(export, _encoded(key, where)), "annotation": text}


def read_annotation(record: dict[str, Any], where: str) -> tuple[dict[str, Fact], dict[str, list[str]]]:
    """Facts by name and captions by language of one annotation. Raises UserError that begins with `where`."""
    source = record.get("source", SOURCE)
    if not isinstance(source, str) or not _NAME.fullmatch(source):
        raise UserError(f"{where}: source is {source!r}; it must be a name of small letters, digits and -")
    try:
        named = _mapping(record.get("facts"), f"{where}: facts").items()
        facts = {name: Fact(name, str(value), 1.0, source) for name, value in named}
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
    captions = _mapping(record.get("captions"), f"{where}: captions")
    for language, texts in captions.items():
        if language not in LANGUAGES or not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
            raise UserError(f"{where}: captions.{language}; it must be a list of texts, in {' or '.join(LANGUAGES)}")
    return facts, captions


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(`FILE: line N`, record) of an annotation file."""
    if path.suffix == ".jsonl":
        return _json_lines(path)
    return _joined(path, _csv_rows(path) if path.suffix == ".csv" else _parquet_rows(path))


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            where = f"{path}: line {number}"
            try:
                record = json.loads(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise UserError(f"{where}: byte {error.start} is not UTF-8") from None
            except (ValueError, RecursionError):
                raise UserError(f"{where} must be a JSON object with a text `key`") from None
            if not isinstance(record, dict):
                raise UserError(f"{where} must be a JSON object with a text `key`")
            yield where, record


def _joined(path: Path, rows: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """One record for each key: its facts, which must agree from row to row, and the captions of its rows."""
    records: dict[str, tuple[int, dict[str, Any]]] = {}
    for number, row in rows:
        key = row["key"]
        if not isinstance(key, str) or not key:
            raise UserError(f"{path}: row {number} has the key {key!r}; it must be a text")
        _first, record = records.setdefault(key, (number, {"key": key, "facts": {}, "captions": {}}))
        for column, value in row.items():
            if column in CAPTION_COLUMNS:
                texts = value if isinstance(value, list) else [value] if value else []
                record["captions"].setdefault(CAPTION_COLUMNS[column], []).extend(texts)
            elif column != "key" and value:
                if record["facts"].setdefault(column, value) != value:
                    told = f"{column} {value!r}, an earlier row {record['facts'][column]!r}"
                    raise UserError(f"{path}: row {number} says of {key!r} {told}; facts of a key must agree")
    for number, record in records.values():
        yield f"{path}: row {number}", record


def _check_columns(path: Path, columns: list[str]) -> None:
    known = {"key", *VALUES, *CAPTION_COLUMNS}
    wrong = [column for column in columns if column not in known or columns.count(column) > 1]
    if wrong or "key" not in columns or len(columns) < 2:
        allowed = f"key once, and once each any of {', '.join([*CAPTION_COLUMNS, *VALUES])}"
        raise UserError(f"{path}: row 1 has the columns {', '.join(columns) or '(none)'}; it must have {allowed}")


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = path.read_bytes()[: error.start].count(b"\n") + 1
        raise UserError(f"{path}: row {row}: byte {error.start} of the file is not UTF-8") from None
    number, before = 1, csv.field_size_limit(_FIELD_LIMIT)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        columns = [column.strip() for column in next(reader, [])]
        _check_columns(path, columns)
        for number, fields in enumerate(reader, 2):
            if fields and len(fields) != len(columns):
                raise UserError(f"{path}: row {number} has {len(fields)} columns; row 1 has {len(columns)}")
            if fields:
                cells = zip(columns, fields, strict=True)
                yield number, {name: text if name in CAPTION_COLUMNS else text.strip() for name, text in cells}
    except csv.Error as error:
        raise UserError(f"{path}: after row {number}: not CSV: {error}") from None
    finally:
        csv.field_size_limit(before)


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow.names)
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    for column, value in row.items():
                        is_list = column in CAPTION_COLUMNS and isinstance(value, list)
                        if not all(text is None or isinstance(text, str) for text in (value if is_list else [value])):
                            raise UserError(f"{path}: row {number}: {column} is {value!r}; it must be a text")
                        if is_list:
                            row[column] = [text for text in value if text is not None]
                    yield number, row
    except (pa.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: after row {number}: not Parquet with UTF-8 texts: {reason}") from None


def _encoded(key: str, where: str) -> bytes:
    try:
        return key.encode()
    except UnicodeEncodeError:
        raise UserError(f"{where} has the key {key!r}; it must be UTF-8") from None


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{where} is {value!r}; it must be an object")
    return value
