"""`textgan publish`: the result of the present commit as an immutable release in the attached bucket.

Files are gathered, read once (their DVC hash checked, their sha256 taken), put under their sha256 where they are not
there yet, and named by an index that is written last, only if no index of that name exists. So a killed publish
leaves nothing visible, the next one goes on, and of two publishers one wins.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from flows import cards, croissant, history, provenance, torn
from flows import dvc_program as dvc
from flows.releases import BLOCK, THREADS, File, Index, Store, check_name, parse_index
from textgan import params
from textgan.errors import UserError
from textgan.files import to_json
from textgan.progress import Progress

LARGE = ("data/exports/", "data/inventory/", "data/captions/")
"""Outs that stay in DVC's remote, by their hash in dvc.lock."""
DESCRIBED = ("data/images/", "data/pairs/")
"""Likewise, but a release takes their descriptions."""
DESCRIPTIONS = ("manifest.json", "vocabulary.json")
TRACKED = (
    "params.yaml",
    "dvc.yaml",
    "dvc.lock",
    "LICENSE",
    "NOTICE",
    "requirements.lock",
    "torch.lock",
    "docs/results.md",
)
PAGES = ("report/index.html", "report/run.json")
MACHINE = ("environment/", *PAGES)
"""What differs between two machines that publish the same commit (the page shows times); the commit pins the rest."""


@dataclass(frozen=True, slots=True)
class Part:
    """A file to publish: a place in this tree, or bytes made for the release."""

    path: str
    source: Path | bytes
    md5: str = ""
    """What dvc.lock records, where it does."""


def publish(
    tag: Annotated[str, typer.Option(help="The release's name; default: the commit's first 12 digits.")] = "",
) -> None:
    """Publish this commit's result as an immutable release in the attached storage."""
    from flows import storage
    from flows.repro import push_if_needed

    torn.mend(Path(), print)
    commit, date, subject = clean_commit()
    name = check_name(tag or commit[:12])
    loaded = params.load()
    check_up_to_date()
    remote = storage.ensure_started()
    store = Store(remote)
    taken = store.read_index(name)
    if taken is not None and taken[0].commit != commit:
        raise UserError(f"release {name} is of commit {taken[0].commit[:12]} and stays so; publish with another --tag")
    push_if_needed(remote.identity)
    parts = gather(loaded, commit, date)
    files = tuple(digested(part) for part in parts)
    numbers = {dataset: cards.main_numbers(dataset) for dataset in sorted(loaded.datasets)}
    index = Index(name, commit, date, subject, numbers, files)
    winner, payload = put(store, index, parts)
    size = sum(file.size for file in winner.files)
    said = "published" if winner == index else "published before, with another machine's records; that one stands"
    print(f"release {name}: {said}; {len(winner.files)} files, {size / 1e6:.1f} MB, commit {commit[:12]}")
    print(f"index sha256 {hashlib.sha256(payload).hexdigest()}")
    print(f"textgan fetch-release {name} --sha256 {hashlib.sha256(payload).hexdigest()}")


def clean_commit() -> tuple[str, str, str]:
    """Hash, date and subject of HEAD. Raises UserError where the tree has anything that HEAD has not."""
    commit, date, subject = history.git("log", "-1", "--format=%H%x00%cI%x00%s").rstrip("\n").split("\0")
    changed = history.git("status", "--porcelain", "--untracked-files=all").splitlines()
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise UserError(f"publish: {changed[0][3:]}{more} differs from commit {commit[:12]}; commit or remove it first")
    return commit, date, subject


def check_up_to_date() -> None:
    """Refuse where dvc.lock is not what this code and these parameters give."""
    history.present_lock()
    lines: list[str] = []
    result = dvc.run("status", "--json", say=lines.append)
    try:
        stale = json.loads("".join(lines) or "null")
    except ValueError:
        stale = None
    if result.code != 0 or not isinstance(stale, dict):
        raise UserError(f"dvc status failed (exit {result.code}): {result.tail[-1] if result.tail else 'no output'}")
    if stale:
        stage, why = next(iter(stale.items()))
        more = f" (and {len(stale) - 1} more stages)" if len(stale) > 1 else ""
        raise UserError(f"publish: {stage}{more} is stale: {_reason(why)}; `make repro` and commit dvc.lock first")


def _reason(changes: Any) -> str:
    """The first thing that changed, of one stage of `dvc status --json`."""
    for change in changes if isinstance(changes, list) else []:
        if isinstance(change, dict):
            for kind, paths in change.items():
                return f"{kind} {', '.join(map(str, paths))}"
        return str(change)
    return "changed"


def gather(loaded: params.Params, commit: str, date: str) -> list[Part]:
    """Every file of the release, sorted by path. Raises UserError where one is missing or a description is faulty."""
    parts = [Part(name, Path(name)) for name in TRACKED if Path(name).is_file()]
    for stage in history.present_lock().values():
        for out in stage.outs:
            for path, md5 in history.files_of(out).items() if not out.path.startswith(LARGE) else ():
                if not path.startswith(DESCRIBED) or Path(path).name in DESCRIPTIONS:
                    parts.append(Part(path, Path(path), md5))
    for name in sorted(loaded.datasets):
        card = cards.model_card(loaded, name, commit, date)
        description = cards.croissant(loaded, name, commit, date)
        check_lint(f"cards/{name}.md", cards.lint_card(card))
        check_lint(f"croissant-{name}.json", croissant.lint(description))
        parts += [
            Part(f"cards/{name}.md", card.encode()),
            Part(f"croissant-{name}.json", to_json(description).encode()),
            Part(f"provenance/{name}.json", to_json(provenance.provenance(loaded, name, commit)).encode()),
        ]
    parts.append(Part("environment/versions.json", to_json(provenance.environment()).encode()))
    pinned = {part.path for part in parts}
    runs = sorted(path for path in Path("runs").rglob("*.json") if path.is_file() and path.as_posix() not in pinned)
    parts += [Part(f"environment/{path.as_posix()}", path) for path in runs]
    parts += [Part(name, Path(name)) for name in PAGES if Path(name).is_file()]
    unique = {part.path: part for part in sorted(parts, key=lambda part: bool(part.md5))}
    return [unique[path] for path in sorted(unique)]


def check_lint(path: str, faults: list[str]) -> None:
    """Refuse a file made for the release that its own linter finds fault with: releases do not change."""
    if faults:
        raise UserError(f"publish: {path}: {'; '.join(faults)}")


def digested(part: Part) -> File:
    """Read a file once: its size and sha256; its bytes must be those that dvc.lock records."""
    if isinstance(part.source, bytes):
        return File(part.path, len(part.source), hashlib.sha256(part.source).hexdigest())
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    try:
        with open(part.source, "rb") as file:
            while block := file.read(BLOCK):
                sha256.update(block)
                md5.update(block)
                size += len(block)
    except OSError as error:
        raise UserError(f"{part.source}: {error.strerror}; `dvc pull` brings what dvc.lock names") from None
    if part.md5 and md5.hexdigest() != part.md5:
        found = md5.hexdigest()
        raise UserError(f"{part.source}: its md5 is {found}, dvc.lock records {part.md5}; `dvc checkout` restores it")
    return File(part.path, size, sha256.hexdigest())


def put(store: Store, index: Index, parts: list[Part]) -> tuple[Index, bytes]:
    """Objects, then the index. Returns the release that stands: this one, or an equal one that came before.

    Raises UserError where the name stands for something else.
    """
    payload = index.to_bytes()
    parse_index(payload, index.name)  # what a reader would refuse is not written
    store.check_conditions()
    sources = {file.sha256: (file, part) for file, part in zip(index.files, parts, strict=True)}
    progress = Progress(len(sources), f"publish {index.name}", "files")

    def put_one(item: tuple[File, Part]) -> None:
        _put_object(store, *item)
        progress.update()

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(put_one, sources.values()))
    progress.close()
    store.put_new(store.index_key(index.name), payload, hashlib.sha256(payload).hexdigest())
    standing = store.need_index(index.name)
    other = _other_file(standing[0], index)
    if other:
        raise UserError(
            f"release {index.name} stands already with other content ({other}, commit {standing[0].commit[:12]}); "
            "releases do not change: publish with another --tag"
        )
    return standing


def _other_file(standing: Index, index: Index) -> str:
    """The first thing in which two releases differ, the machine's own records aside; empty where there is none."""
    if standing.commit != index.commit:
        return "another commit"
    have, want = ({f.path: f.sha256 for f in i.files if not f.path.startswith(MACHINE)} for i in (standing, index))
    return min((path for path in have.keys() | want.keys() if have.get(path) != want.get(path)), default="")


def _put_object(store: Store, file: File, part: Part) -> None:
    """Put one object unless it is there whole; one with other bytes than its name says is mended."""
    key = store.object_key(file.sha256)
    for write in (store.put_new, store.put_over):
        if isinstance(part.source, bytes):
            written = write(key, part.source, file.sha256)
        else:
            with open(part.source, "rb") as body:
                written = write(key, body, file.sha256)
        if written or store.is_whole(file):
            return
    raise UserError(f"{file.path}: {key} in the storage does not keep the bytes that were written to it")
