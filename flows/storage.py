"""`textgan storage`: the S3 storage of this clone. SeaweedFS on loopback by default, any S3 endpoint by `attach`.

`.dvc/config` names bucket and prefix only; endpoint and keys go to `.dvc/config.local` (mode 0600). All that the
embedded server needs and writes is in `.state/storage/`. A storage has an identity, an object in its bucket: a clone
that has recorded one refuses another, so that two clones never push into each other's by a reused port.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from flows import seaweed
from flows.remote import Remote, load_remote, probe, read_identity, save_remote, write_dvc_config, write_identity
from textgan.errors import UserError
from textgan.files import STATE

app = typer.Typer(help=__doc__, add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)

PLACE = STATE / "storage"


def ensure_started() -> Remote:
    """Start the embedded server, or check the attached one; afterwards DVC and boto3 can use it.

    Safe to call twice and from two processes. Raises UserError where no storage can be had.
    """
    with _locked():
        remote = load_remote(PLACE)
        if remote is not None and remote.attached_to is not None:
            remote = _refreshed(remote)
            probe(remote, patience_seconds=5)
        else:
            remote = seaweed.start(PLACE, remote)
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
    if read_identity(remote) != remote.identity:
        raise UserError(f"storage: {remote.endpoint} is another storage than the one recorded in {PLACE}/remote.json")
    print(f"storage: {_describe(remote)}, ready")


@app.command()
def stop() -> None:
    """Stop the embedded server that this clone started, and no other process."""
    with _locked():
        print("storage: stopped" if seaweed.stop(PLACE) else "storage: no server of this clone was running")


@app.command()
def reset(yes: Annotated[bool, typer.Option("--yes", help="Really delete what is stored.")] = False) -> None:
    """Stop the embedded server and delete all that it stores, or forget an attached storage (which keeps its own)."""
    with _locked():
        remote = load_remote(PLACE)
        if not yes and (PLACE / "data").exists():
            raise UserError(f"storage reset: deletes {PLACE}/data for good; --yes confirms it")
        seaweed.stop(PLACE)
        for child in PLACE.iterdir() if PLACE.exists() else []:
            if child.name != "lock":
                shutil.rmtree(child) if child.is_dir() else child.unlink()
        write_dvc_config(None)
        print("storage: forgotten" if remote is not None and remote.attached_to else "storage: emptied")


@app.command()
def attach(
    where: Annotated[str, typer.Argument(help="Another clone's directory, or the URL of an S3 endpoint.")],
    credentials: Annotated[Path | None, typer.Option(help="JSON with access_key and secret_key, for a URL.")] = None,
    url: Annotated[str, typer.Option(help="Bucket and prefix at a URL.")] = "",
    region: Annotated[str, typer.Option(help="Region of the bucket.")] = "us-east-1",
) -> None:
    """Use another clone's storage, or a production bucket, instead of an embedded server."""
    with _locked():
        if seaweed.running(PLACE):
            raise UserError("storage attach: this clone's own server runs; `textgan storage stop` ends it first")
        if where.startswith(("http://", "https://")):
            remote = _remote_at(where, credentials, url, region)
        else:
            remote = _remote_of(Path(where))
        probe(remote, patience_seconds=5)
        known = load_remote(PLACE)
        if known is not None and known.attached_to == remote.attached_to:
            remote = remote.with_identity(known.identity)
        _check_identity(remote)
        save_remote(PLACE, remote)
        write_dvc_config(remote)
        print(f"storage: {_describe(remote)}, ready")


@app.command()
def pull(
    targets: Annotated[list[str] | None, typer.Argument(help="Stages or outs of dvc.lock; default: all.")] = None,
) -> None:
    """`dvc pull`, only faster: the objects come many at once, each hashed on the way in."""
    from flows import restoring

    if (done := restoring.pull(ensure_started(), targets or [])).code:
        raise UserError(f"dvc pull: exit {done.code}; the same command again goes on from there")


@app.command("check")
def check_objects(
    subset: Annotated[str, typer.Option(help="N/M: part N of M of the objects, e.g. another each night.")] = "",
    mend: Annotated[bool, typer.Option("--mend", help="Write what is wrong again from this clone's cache.")] = False,
) -> None:
    """Read every stored object again and hash it; name what is damaged or missing, exit code 1."""
    from flows import storage_check

    part = storage_check.parse_subset(subset)
    report = storage_check.check(ensure_started(), part, mend)
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
    days: Annotated[float, typer.Option(help="Younger objects stay.", min=0)] = 7.0,
) -> None:
    """List, or delete, what no commit of this clone and no release names."""
    from flows import gc

    if dry_run == yes:
        raise UserError("storage gc: give --dry-run to list what nothing names, or --yes to delete it")
    remote = ensure_started()
    if yes and remote.attached_to:
        raise UserError(f"storage gc: {remote.attached_to} has commits that this clone may lack; delete there")
    found = gc.collect(remote, days * 24 * 3600)
    for line in gc.lines_of(found):
        print(line)
    if yes:
        gc.delete(remote, found.garbage)
    print(f"deleted {len(found.garbage):,} objects" if yes else "nothing was deleted")


def _remote_of(clone: Path) -> Remote:
    """The remote that another clone uses."""
    remote = load_remote(clone / PLACE)
    if remote is None:
        raise UserError(f"storage attach: {clone} has no {PLACE}/remote.json; `textgan storage start` there makes it")
    return remote if remote.attached_to else remote.with_attachment(str(clone.resolve()))


def _remote_at(endpoint: str, credentials: Path | None, url: str, region: str) -> Remote:
    """A remote from an endpoint and keys: a file's, or those of the environment."""
    keys: Any = {
        "access_key": os.environ.get("AWS_ACCESS_KEY_ID"),
        "secret_key": os.environ.get("AWS_SECRET_ACCESS_KEY"),
    }
    source = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if credentials is not None:
        source = str(credentials)
        try:
            keys = json.loads(credentials.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{credentials}: no such file; it must hold access_key and secret_key as JSON") from None
        except ValueError as error:
            raise UserError(f"{credentials}: not JSON: {error}") from None
    for key in ("access_key", "secret_key"):
        if not isinstance(keys, dict) or not isinstance(keys.get(key), str):
            raise UserError(f"{source}: {key} is missing; it must be a text")
    bucket, prefix = seaweed.BUCKET, seaweed.PREFIX
    if url:
        bucket, _, prefix = url.removeprefix("s3://").strip("/").partition("/")
        if not url.startswith("s3://") or not bucket or not prefix:
            raise UserError(f"storage attach: --url is {url!r}; it must be s3://BUCKET/PREFIX")
    return Remote(endpoint.rstrip("/"), bucket, prefix, region, keys["access_key"], keys["secret_key"], "", endpoint)


def _refreshed(remote: Remote) -> Remote:
    """The attached clone's present address: its ports may have changed since."""
    assert remote.attached_to is not None
    if remote.attached_to.startswith(("http://", "https://")):
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
            f"storage: {remote.endpoint} has identity {found or 'none'}, {PLACE}/remote.json says {remote.identity}; "
            "it is another clone's; `textgan storage reset` forgets the recorded one"
        )
    remote.identity = found


def _describe(remote: Remote) -> str:
    kind = f"attached to {remote.attached_to}" if remote.attached_to else "SeaweedFS of this clone"
    return f"{kind} at {remote.endpoint}, s3://{remote.bucket}/{remote.prefix}, identity {remote.identity[:8]}"


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """One storage command at a time in a clone; the kernel frees the lock of a killed one."""
    PLACE.mkdir(parents=True, exist_ok=True)
    PLACE.chmod(0o700)
    with open(PLACE / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
