"""`textgan compare REV_A REV_B`: metrics, curves and grids of two commits side by side.

Metrics come from git; curves and pictures from the DVC cache, else from the storage. Nothing is run and no file of
the working tree is touched. Numbers of unlike data fingerprints are not compared: that is an error.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from flows import commit, history, storage
from flows.remote import Remote, client
from textgan.errors import UserError
from textgan.files import write_bytes
from textgan.plots import parse_curve
from textgan.report.comparison import GRIDS, DatasetSide, Side, page, rows, table
from textgan.toplevel import typed

OUT = Path("build/compare.html")


def compare(
    revision_a: Annotated[str, typer.Argument(metavar="REV_A", help="Commit, tag or branch.")],
    revision_b: Annotated[str, typer.Argument(metavar="REV_B", help="Another one.")] = "HEAD",
    out: Annotated[Path | None, typer.Option(help=f"Where the page goes; default {OUT}.")] = None,
    unlike: Annotated[bool, typer.Option("--unlike", help="Show numbers of unlike data, without a change.")] = False,
) -> None:
    """Two commits side by side: a table here, one HTML file with curves and grids."""
    objects = Objects()
    a, b = side_of(revision_a, objects), side_of(revision_b, objects)
    shared = [name for name in a.datasets if name in b.datasets]
    if not shared:
        raise UserError(
            f"compare: {a.label} measured {', '.join(a.datasets) or 'nothing'}, {b.label}"
            f" {', '.join(b.datasets) or 'nothing'}; no dataset in common"
        )
    found = {name: rows(name, a, b, unlike) for name in shared}
    for name in shared:
        print("\n".join(table(name, a, b, found[name])))
    place = typed(out) if out else OUT
    write_bytes(place, page(a, b, found).encode())
    print(f"page: {place}")


def side_of(revision: str, objects: Objects) -> Side:
    """All that a commit recorded of its evaluations. Raises UserError where the commit is unknown."""
    sha = commit.resolve(revision)
    date, _, subject = history.git("show", "--no-patch", "--format=%cI%x00%s", sha).strip().partition("\0")
    side = Side(revision, sha, date, subject)
    lock_text = commit.file_at(sha, "dvc.lock")
    lock = history.parse_lock(lock_text, f"{sha[:12]}:dvc.lock") if lock_text else {}
    outs = {out.path: out for stage in lock.values() for out in stage.outs}
    params: dict[str, Any] = yaml.safe_load(commit.file_at(sha, "params.yaml") or "") or {}
    for name in params.get("datasets") or {}:
        own = DatasetSide()
        text = commit.file_at(sha, f"metrics/{name}.json")
        if text is None:
            own.notes.append(f"metrics/{name}.json: not in this commit; nobody recorded what was measured")
        else:
            value = json.loads(text)
            own.metrics, own.fingerprints = value.get("metrics", {}), value.get("fingerprints", [])
        evaluation = outs.get(f"data/evaluation/{name}")
        if evaluation is None:
            own.notes.append("curves and pictures: not computed; dvc.lock has no evaluation of this dataset")
        else:
            fill(own, evaluation, objects)
        side.datasets[name] = own
    return side


def fill(own: DatasetSide, evaluation: history.Entry, objects: Objects) -> None:
    """Curves and pictures of an evaluation, from cache or storage; what is in neither is noted."""
    try:
        files = history.listing(objects.read(evaluation.md5), evaluation.md5)
        value = json.loads(objects.read(files["metrics.json"]))
    except UserError as error:
        own.notes.append(f"curves and pictures: not restored ({error})")
        return
    own.better_low = {number["name"] for number in value.get("numbers", []) if number.get("lower_is_better")}
    if "curve.csv" in files:
        taking(own, "curve.csv", lambda: setattr(own, "curve", _curve(objects.read(files["curve.csv"]))))
    else:
        own.notes.append("curve.csv: not computed")
    for sheet in GRIDS:
        entry = value.get("sheets", {}).get(sheet)
        if entry is None:
            own.notes.append(f"{sheet}: not computed")
            continue
        texts = entry.get("texts", []) if entry["kind"] == "rows" else []
        texts += [""] * (len(entry["files"]) - len(texts))

        def take(sheet: str = sheet, texts: list[str] = texts, names: list[str] = entry["files"]) -> None:
            both = zip(texts, names, strict=True)
            own.sheets[sheet] = [(text, objects.read(files[name])) for text, name in both]

        taking(own, sheet, take)


def taking(own: DatasetSide, what: str, take: Callable[[], object]) -> None:
    """Take it, or note that it is not here."""
    try:
        take()
    except UserError as error:
        own.notes.append(f"{what}: not restored ({error})")


def _curve(payload: bytes) -> dict[str, list[tuple[float, float]]]:
    return parse_curve(csv.DictReader(io.StringIO(payload.decode())))


class Objects:
    """Bytes by md5: from the DVC cache of this clone, else from its storage."""

    def __init__(self) -> None:
        self._remote: Remote | None = None
        self._unreachable = ""

    def read(self, md5: str) -> bytes:
        """Raises UserError where neither has the object, or has other bytes under its name."""
        place = history.cached(md5)
        payload = place.read_bytes() if place.is_file() else self._stored(md5)
        if hashlib.md5(payload, usedforsecurity=False).hexdigest() != md5.removesuffix(history.DIRECTORY):
            raise UserError(f"object {md5} is damaged: its bytes have another md5")
        return payload

    def _stored(self, md5: str) -> bytes:
        from botocore.exceptions import BotoCoreError, ClientError

        if self._remote is None and not self._unreachable:
            try:
                self._remote = storage.ensure_started()
            except UserError as error:
                self._unreachable = str(error)
        if self._remote is None:
            raise UserError(f"object {md5} is not in the DVC cache, and there is no storage: {self._unreachable}")
        key = f"{self._remote.prefix}/files/md5/{md5[:2]}/{md5[2:]}"
        try:
            return bytes(client(self._remote).get_object(Bucket=self._remote.bucket, Key=key)["Body"].read())
        except (BotoCoreError, ClientError) as error:
            raise UserError(f"object {md5} is neither in the DVC cache nor in the storage: {error}") from None
