"""`textgan storage`: the S3 storage of this clone. SeaweedFS on loopback by default, any S3 endpoint by `attach`.

`.dvc/config` names bucket and prefix only; endpoint and keys go to `.dvc/config.local` (mode 0600). All that the
embedded server needs and writes is in `.state/storage/`. A storage has an identity, an object in its bucket: a clone
that has recorded one refuses another, so that two clones never push into each other's by a reused port.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from flows import attaching, seaweed
from flows.remote import (
    RECORD,
    Remote,
    load_remote,
    probe,
    read_identity,
    save_remote,
    write_dvc_config,
    write_identity,
)
from textgan.errors import UserError
from textgan.files import STATE
from textgan.toplevel import typed, typed_or_name

app = typer.Typer(help=__doc__, add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)

PLACE = STATE / "storage"
OWN = "own.json"
"""In PLACE: the remote of this clone's own server, while another one is attached."""


def ensure_started() -> Remote:
    """Start the embedded server, or check the attached one; afterwards DVC and boto3 can use it.

    Safe to call twice and from two processes. Raises UserError where no storage can be had.
    """
    with _locked() as lock:
        remote = load_remote(PLACE)
        if remote is not None and remote.attached_to is not None:
            remote = _refreshed(remote)
            probe(remote, patience_seconds=5)
        else:
            remote = seaweed.start(PLACE, remote, (lock,))
        _check_identity(remote)
        save_remote(PLACE, remote)
        write_dvc_config(remote)
        return remote


@app.command()
def start() -> None:
    """Start the embedded server where it does not run; check the attached one where there is one."""
    remote = ensure_started()
    print(f"storage: {_describe(remote)}, ready")


@app.command()
def status() -> None:
    """Say which storage this clone uses and whether it answers; exit code 1 where it does not."""
    remote = load_remote(PLACE)
    if remote is None:
        raise UserError("storage: never started in this clone; `textgan storage start` starts it")
    probe(remote, patience_seconds=2)
    if remote.identity and read_identity(remote) != remote.identity:
        raise UserError(f"storage: {remote.endpoint} is another storage than the one recorded in {PLACE}/{RECORD}")
    print(f"storage: {_describe(remote)}, ready")


@app.command()
def stop() -> None:
    """Stop the embedded server that this clone started, and no other process."""
    with _locked():
        print("storage: stopped" if seaweed.stop(PLACE) else "storage: no server of this clone was running")


@app.command()
def reset(yes: Annotated[bool, typer.Option("--yes", help="Really delete what is stored.")] = False) -> None:
    """Forget an attached storage, which keeps its own; this clone's own, if it has one, is used again.

    Where none is attached: stop this clone's own server and delete all that it stores.
    """
    with _locked():
        remote = load_remote(PLACE)
        if remote is not None and remote.attached_to:
            own = load_remote(PLACE, OWN)
            if own is None:
                (PLACE / RECORD).unlink()
            else:
                os.replace(PLACE / OWN, PLACE / RECORD)
            write_dvc_config(own)
            back = "; this clone's own is back, `textgan storage start` starts it" if own else ""
            print(f"storage: forgotten, {remote.attached_to}{back}")
            return
        if not yes and (PLACE / "data").exists():
            raise UserError(f"storage reset: deletes {PLACE}/data for good; --yes confirms it")
        seaweed.stop(PLACE)
        for child in PLACE.iterdir() if PLACE.exists() else []:
            if child.name != "lock":
                shutil.rmtree(child) if child.is_dir() else child.unlink()
        write_dvc_config(None)
        print("storage: emptied")


@app.command()
def attach(
    where: Annotated[str, typer.Argument(help="Another clone's directory, or the URL of an S3 endpoint.")],
    credentials: Annotated[
        Path | None,
        typer.Option(help="JSON with access_key, secret_key and, if temporary, session_token, for a URL."),
    ] = None,
    url: Annotated[str, typer.Option(help="Bucket and prefix at a URL.")] = "",
    region: Annotated[str, typer.Option(help="Region of the bucket at a URL; default us-east-1.")] = "",
) -> None:
    """Use another clone's storage, or a production bucket, instead of an embedded server; `reset` ends that.

    Without --credentials, keys are those of AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.
    """
    with _locked():
        if seaweed.running(PLACE):
            raise UserError("storage attach: this clone's own server runs; `textgan storage stop` ends it first")
        if "://" in where:
            remote = attaching.remote_at(where, typed(credentials) if credentials else None, url, region)
        elif credentials or url or region:
            raise UserError("storage attach: --url, --credentials, --region are for a URL; another clone has its own")
        else:
            remote = _remote_of(typed(where))
        probe(remote, patience_seconds=5)
        known = load_remote(PLACE)
        if known is not None and known.attached_to == remote.attached_to:
            remote = remote.with_identity(known.identity)
        _check_identity(remote)
        if known is not None and known.attached_to is None:
            save_remote(PLACE, known, OWN)
        save_remote(PLACE, remote)
        write_dvc_config(remote)
        print(f"storage: {_describe(remote)}, ready")


@app.command()
def pull(
    targets: Annotated[list[str] | None, typer.Argument(help="Stages or outs of dvc.lock; default: all.")] = None,
) -> None:
    """`dvc pull`, only faster: the objects come many at once, each hashed on the way in."""
    from flows import restoring

    if (done := restoring.pull(ensure_started(), list(map(typed_or_name, targets or [])), say=print)).code:
        raise UserError(f"dvc pull: exit {done.code}; the same command again goes on from there")


@app.command("check")
def check_objects(
    subset: Annotated[str, typer.Option(help="N/M: part N of M of the objects, e.g. another each night.")] = "",
    mend: Annotated[bool, typer.Option("--mend", help="Write what is wrong again from this clone's cache.")] = False,
    all_commits: Annotated[
        bool, typer.Option("--all-commits", help="Look also for what the dvc.lock of older commits names.")
    ] = False,
) -> None:
    """Read every stored object again and hash it; name what is damaged or missing, exit code 1.

    Missing is what the present dvc.lock or a release names and the storage lacks; what older commits alone name is
    looked for with --all-commits.
    """
    from flows import storage_check

    part = storage_check.parse_subset(subset)
    report = storage_check.check(ensure_started(), part, mend, all_commits)
    for line in storage_check.lines_of(report):
        print(line)
    left = [key for key in sorted(report.wrong) if key not in report.mended]
    if left:
        raise UserError(
            f"storage check: {len(left)} objects are damaged or missing, the first is {left[0]}; "
            "--mend in a clone whose cache has them writes DVC's again, `textgan publish` those of a release"
        )
    print("every one has the bytes of its name, and nothing is missing")


@app.command("gc")
def collect_garbage(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what nothing names; delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Really delete it.")] = False,
    days: Annotated[float, typer.Option(help="Younger objects and uploads stay.", min=0)] = 7.0,
    i_have_all_commits: Annotated[
        bool,
        typer.Option("--i-have-all-commits", help="With --yes, for an attached storage: no other clone knows more."),
    ] = False,
) -> None:
    """List, or delete, what no commit of this clone and no release names, and uploads that never ended."""
    from flows import gc

    if dry_run == yes:
        raise UserError("storage gc: give --dry-run to list what nothing names, or --yes to delete it")
    remote = ensure_started()
    if yes and remote.attached_to and not i_have_all_commits:
        raise UserError(
            f"storage gc: {remote.attached_to} may hold what commits name that this clone lacks; fetch every clone's "
            "branches, then --i-have-all-commits says that it lacks none"
        )
    found = gc.collect(remote, days * 24 * 3600)
    for line in gc.lines_of(found):
        print(line)
    if yes:
        gc.delete(remote, found)
    ended = f", ended {len(found.uploads):,} uploads" if found.uploads else ""
    print(f"deleted {len(found.garbage):,} objects{ended}" if yes else "nothing was deleted")


def _remote_of(clone: Path) -> Remote:
    """The remote that another clone uses."""
    remote = load_remote(clone / PLACE)
    if remote is None:
        raise UserError(f"storage attach: {clone} has no {PLACE}/{RECORD}; `textgan storage start` there makes it")
    return remote if remote.attached_to else remote.with_attachment(str(clone.resolve()))


def _refreshed(remote: Remote) -> Remote:
    """The attached clone's present address: its ports may have changed since."""
    assert remote.attached_to is not None
    if "://" in remote.attached_to:
        return remote
    theirs = load_remote(Path(remote.attached_to) / PLACE)
    return remote if theirs is None else theirs.with_attachment(remote.attached_to).with_identity(remote.identity)


def _check_identity(remote: Remote) -> None:
    """Refuse a server that is another than the recorded one; give a new one an identity."""
    found = read_identity(remote)
    if not found and not remote.identity:
        found = secrets.token_hex(16)
        write_identity(remote, found)
        found = read_identity(remote)
    if remote.identity and found != remote.identity:
        raise UserError(
            f"storage: {remote.endpoint} has identity {found or 'none'}, {PLACE}/{RECORD} says {remote.identity}; "
            "it is another clone's; `textgan storage reset` forgets the recorded one"
        )
    remote.identity = found


def _describe(remote: Remote) -> str:
    kind = f"attached to {remote.attached_to}" if remote.attached_to else "SeaweedFS of this clone"
    return f"{kind} at {remote.endpoint}, s3://{remote.bucket}/{remote.prefix}, identity {remote.identity[:8]}"


@contextlib.contextmanager
def _locked() -> Iterator[int]:
    """One storage command at a time in a clone; the kernel frees the lock of a killed one. Yields its descriptor."""
    PLACE.mkdir(parents=True, exist_ok=True)
    PLACE.chmod(0o700)
    with open(PLACE / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()
