"""`textgan exports`: links data/exports/D/E/data.mdb to where this machine keeps the LSUN export E.

Params name exports, they do not say where they are: `exports.local.yaml` (git-ignored, `cat: /place/of/cat` or
`cat: s3://bucket/lsun/cat/`) or TEXTGAN_LSUN_ROOT (a directory, or an S3 prefix, with one directory for each export)
does. A place is an LMDB directory, its data file alone or an image tree. An export in S3 is brought to .state/exports
once, and an image tree is packed there into an LMDB, anew when it has changed. A dataset in params' `draw` is
drawn by DVC and not linked. Only `data.mdb` is linked: an LMDB reader's lock file beside it must not make a stage
stale.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import typer
import yaml

from flows.dvc_program import lock_outs
from flows.history import LOCK_FILE
from textgan import params
from textgan.errors import UserError
from textgan.files import STATE, fingerprint

app = typer.Typer(help=__doc__, add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)

PLACES = Path("exports.local.yaml")
ROOT_VARIABLE = "TEXTGAN_LSUN_ROOT"
EXPORTS = Path("data/exports")
LINKED = ("data.mdb", "annotations.jsonl", "annotations.csv", "annotations.parquet")
LMDB_MAGIC = b"\xde\xc0\xef\xbe"
"""At byte 16 of a little-endian LMDB data file: page header, then the meta page's magic number."""


@app.command()
def link() -> None:
    """Link the exports that params.yaml names and that are not drawn."""
    linked = link_all()
    for name, place in linked.items():
        print(f"exports: data/exports/{name} -> {place}")
    if not linked:
        print(f"exports: nothing to link; every dataset of {params.PARAMS_FILE} is drawn")


@app.command("list")
def list_places() -> None:
    """Say where each export of params.yaml comes from."""
    loaded = params.load()
    for name, dataset in sorted(loaded.datasets.items()):
        for export in dataset.exports:
            drawn = name in loaded.draw
            print(f"{name}/{export}: {f'drawn by draw@{name}' if drawn else _place(export, name)}")


def link_all() -> dict[str, Path]:
    """Bring data/exports into the form that params.yaml asks for; {D/E: place} of what is linked. Raises UserError."""
    value = yaml.safe_load(params.PARAMS_FILE.read_text(encoding="utf-8")) if params.load() else {}
    places = places_of(value)
    for name in value["draw"]:
        directory = EXPORTS / name
        if _links(directory) and not _is_cached_by_dvc(directory):
            shutil.rmtree(directory)  # links of a former preset; draw makes the directory again
    link_in(Path(), places)
    return places


def places_of(value: dict[str, Any]) -> dict[str, Path]:
    """{D/E: place} of the exports that a parsed params.yaml names and does not draw, each checked."""
    places = {}
    for name, dataset in value["datasets"].items():
        if name not in value["draw"]:
            for export in dataset["exports"]:
                places[f"{name}/{export}"] = _checked(_brought(_place(export, name)), export)
    return places


def link_in(root: Path, places: dict[str, Path]) -> None:
    """Make the links in the repository at `root`."""
    for name in sorted({key.split("/")[0] for key in places}):
        mine = {key.split("/")[1]: place for key, place in places.items() if key.split("/")[0] == name}
        _link_dataset(root / EXPORTS / name, mine)


def _link_dataset(directory: Path, places: dict[str, Path]) -> None:
    """Make `directory` hold exactly the links; touch nothing where it does already."""
    links = {
        Path(export) / file: (place / file).resolve()
        for export, place in places.items()
        for file in LINKED
        if (place / file).exists()
    }
    if directory.exists():
        present = {path.relative_to(directory): path for path in directory.rglob("*") if not _is_real_directory(path)}
        present = {relative: path for relative, path in present.items() if path.name != "lock.mdb"}
        if {relative: path.resolve() for relative, path in present.items()} == links:
            return
        if not _may_remove(directory):
            raise UserError(f"{directory}: holds files that textgan did not put there; move them away")
        shutil.rmtree(directory)
    for relative, target in links.items():
        (directory / relative).parent.mkdir(parents=True, exist_ok=True)
        (directory / relative).symlink_to(target)


def _may_remove(directory: Path) -> bool:
    """Only links, or what draw@D made: never the files of a user who copied an export here."""
    real = [
        path for path in directory.rglob("*") if path.is_file() and not path.is_symlink() and path.name != "lock.mdb"
    ]
    drawn = LOCK_FILE.exists() and f"draw@{directory.name}" in lock_outs(LOCK_FILE.read_text(encoding="utf-8"))
    return not real or drawn


def _links(directory: Path) -> list[Path]:
    return [path for path in directory.glob("*/data.mdb") if path.is_symlink()]


def _is_real_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_cached_by_dvc(directory: Path) -> bool:
    """DVC's own links (cache type symlink) point into .dvc/cache."""
    cache = Path(".dvc/cache").resolve()
    return all(cache in path.resolve().parents for path in _links(directory))


def _place(export: str, dataset: str) -> str:
    """Where this machine says that an export is: a directory, or `s3://BUCKET/PREFIX/`."""
    if PLACES.exists():
        try:
            places = yaml.safe_load(PLACES.read_text(encoding="utf-8")) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{PLACES}: not YAML: {error}") from None
        if not isinstance(places, dict):
            raise UserError(f"{PLACES}: it must be a mapping of export names to directories")
        if export in places:
            if not isinstance(places[export], str):
                raise UserError(
                    f"{PLACES}: {export} is {places[export]!r}; it must be a directory or s3://BUCKET/PREFIX/"
                )
            return places[export]
    root = os.environ.get(ROOT_VARIABLE)
    if root:
        return f"{root.rstrip('/')}/{export}"
    raise UserError(
        f"{params.PARAMS_FILE}: datasets.{dataset}.exports names {export!r}, which this machine does not know; "
        f"write `{export}: DIRECTORY` into {PLACES}, or set {ROOT_VARIABLE} to the directory that holds {export}/"
    )


def _brought(place: str) -> Path:
    """A local directory with data.mdb for a place. S3 and trees are read by programs, which say what is wrong."""
    out = STATE / "exports" / fingerprint(place)
    if place.startswith("s3://"):
        if code := _run("pipeline.s3", place, out):
            raise UserError(f"exports: {place} could not be brought (exit code {code}); the line above says why")
        return out
    path = Path(place).expanduser()
    if path.is_file() and path.name == "data.mdb":
        return path.parent
    if path.is_file():
        link = out / "data.mdb"
        out.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink() or link.resolve() != path.resolve():
            link.unlink(missing_ok=True)
            link.symlink_to(path.resolve())
        return out
    if path.is_dir() and not os.path.lexists(path / "data.mdb"):
        if code := _run("pipeline.tree", str(path), out):
            how = f"as an image tree it could not be packed (exit code {code}); the line above says why"
            raise UserError(f"exports: {place} has no data.mdb, and {how}")
        return out
    return path


def _run(module: str, place: str, out: Path) -> int:
    return subprocess.run([sys.executable, "-m", module, place, str(out)]).returncode


def _checked(place: Path, export: str) -> Path:
    """Refuse what is no LMDB export before any stage runs."""
    source = f"{PLACES}: {export}" if PLACES.exists() else f"{ROOT_VARIABLE}: {export}"
    file = place / "data.mdb"
    if not place.is_dir():
        raise UserError(f"{source} is {place}; it must be a directory with data.mdb, its file, or an image tree")
    if not file.is_file():
        raise UserError(f"{source} is {place}; it has no data.mdb, so it is no LMDB export")
    with open(file, "rb") as handle:
        head = handle.read(20)
    if not head:
        raise UserError(f"{source}: {file} is empty; it must be an LMDB data file")
    if head[16:20] != LMDB_MAGIC:
        raise UserError(f"{source}: {file} does not begin as an LMDB data file does")
    return place
