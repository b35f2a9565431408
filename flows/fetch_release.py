"""`textgan fetch-release NAME`: a release as a directory, every file verified, whole or not there at all.

Files gather beside the target in `.NAME.fetching-<index>/`; a killed or cut fetch goes on there. The directory is
renamed when the last hash is right.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from flows.releases import BLOCK, THREADS, File, Index, Store, check_name, path_of
from textgan.errors import UserError
from textgan.files import sha256_file
from textgan.progress import Progress
from textgan.toplevel import typed

RELEASES = Path("build/releases")
"""Git-ignored default place."""


def fetch_release(
    name: Annotated[str, typer.Argument(help="A name that `textgan releases` lists.")],
    out: Annotated[Path | None, typer.Option(help="Directory to make; default build/releases/NAME.")] = None,
    sha256: Annotated[str, typer.Option(help="Take the release only if its index has this sha256.")] = "",
) -> None:
    """Fetch a release, verified by hash; the same command again goes on where it was cut."""
    from flows import storage

    place = typed(out) if out else RELEASES / check_name(name)
    store = Store(storage.ensure_started())
    index, payload = store.need_index(name)
    found = hashlib.sha256(payload).hexdigest()
    if sha256 and found != sha256.lower():
        raise UserError(f"release {name}: its index has sha256 {found}; asked for was {sha256}")
    fetched = fetch(store, index, found, place)
    size = sum(file.size for file in index.files)
    print(f"release {name} ({len(index.files)} files, {size / 1e6:.1f} MB, commit {index.commit[:12]}): {place}")
    print("every file has the bytes that the index names" + ("" if fetched else "; it was there already"))


def fetch(store: Store, index: Index, digest: str, place: Path) -> bool:
    """Make `place` hold the release; False where it did already. Raises UserError; then `place` is untouched."""
    if place.exists() or place.is_symlink():
        other = differences(index, place)
        if not other:
            return False
        raise UserError(f"{place} exists and is not this release: {other[0]}; name another place with --out")
    place.parent.mkdir(parents=True, exist_ok=True)
    building = place.parent / f".{place.name}.fetching-{digest[:16]}"
    building.mkdir(exist_ok=True)
    have = sum(path.stat().st_size for path in building.rglob("*") if path.is_file() and not path.is_symlink())
    need, free = sum(file.size for file in index.files) - have, shutil.disk_usage(building).free
    if need > free:
        raise UserError(f"{place}: the release needs {need / 1e6:.1f} MB more; {free / 1e6:.1f} MB are free there")
    progress = Progress(len(index.files), f"fetch {index.name}", "files")

    def bring(file: File) -> None:
        try:
            _bring(store, file, path_of(building, file))
        except OSError as error:
            raise UserError(
                f"{path_of(building, file)}: {error.strerror}; the same command goes on from there"
            ) from None
        progress.update()

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(bring, index.files))
    progress.close()
    wanted = {path_of(building, file) for file in index.files}
    for path in building.rglob("*"):
        if path.is_symlink() or (path.is_file() and path not in wanted):
            raise UserError(f"{path}: not of this release; remove {building} and fetch again")
    os.replace(building, place)
    return True


def differences(index: Index, place: Path) -> list[str]:
    """What a directory has otherwise than a release, a line each."""
    if not place.is_dir() or place.is_symlink():
        return ["it is no directory"]
    lines = []
    for file in index.files:
        path = path_of(place, file)
        if path.is_symlink() or not path.is_file():
            lines.append(f"{file.path} is missing")
        elif path.stat().st_size != file.size or sha256_file(path) != file.sha256:
            lines.append(f"{file.path} has other bytes")
    return lines


def _bring(store: Store, file: File, path: Path) -> None:
    """Download one file, going on behind what a former try left; only right bytes get the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and path.stat().st_size == file.size and sha256_file(path) == file.sha256:
        return
    part = path.parent / f".{hashlib.sha256(path.name.encode()).hexdigest()[:16]}.part"
    if part.exists() and _fill(store, file, part) == file.sha256:
        os.replace(part, path)
        return
    # What was there before was not the beginning of this file: once more, from the first byte.
    part.unlink(missing_ok=True)
    if _fill(store, file, part) != file.sha256:
        part.unlink()
        key = store.object_key(file.sha256)
        raise UserError(f"{file.path}: object {key} in the storage is damaged: its bytes do not have its sha256")
    os.replace(part, path)


def _fill(store: Store, file: File, part: Path) -> str:
    """Append what is missing; the sha256 of the whole. An object longer than the index says is not read to its end."""
    digest = hashlib.sha256()
    have = 0
    if part.exists():
        with open(part, "rb") as before:
            while block := before.read(BLOCK):
                digest.update(block)
                have += len(block)
    if have > file.size:
        return ""
    with open(part, "ab") as out:
        if have < file.size or file.size == 0:
            for block in store.read_from(file.sha256, have):
                have += len(block)
                if have > file.size:
                    return ""
                digest.update(block)
                out.write(block)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()
