"""`textgan share RELEASE PATH`: a URL by which anybody can fetch one file of a release, for some minutes."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.releases import Store
from textgan.errors import UserError

MAX_MINUTES = 60
"""A URL is a key to the file for whoever sees it: it is not to outlive the conversation that it was made for."""


def share(
    name: Annotated[str, typer.Argument(metavar="RELEASE", help="A name that `textgan releases` lists.")],
    path: Annotated[str, typer.Argument(help="A file that `textgan releases RELEASE` lists.")],
    minutes: Annotated[int, typer.Option(help=f"How long the URL works, at most {MAX_MINUTES}.")] = 15,
) -> None:
    """Print a URL that gives one file of a release without keys, for a short time."""
    from flows import storage

    store = Store(storage.ensure_started())
    index, _ = store.need_index(name)
    file = next((file for file in index.files if file.path == path), None)
    if file is None:
        raise UserError(f"release {name} has no file {path!r}; `textgan releases {name}` lists them")
    print(presigned(store, file.sha256, 60 * minutes))
    print(f"for {minutes} minutes; {file.size} bytes, sha256 {file.sha256}")


def presigned(store: Store, sha256: str, seconds: int) -> str:
    """A URL that reads one object and nothing else. Raises UserError where it would live too long."""
    if not 0 < seconds <= 60 * MAX_MINUTES:
        raise UserError(f"share: --minutes gives {seconds} s; it must be more than 0 and at most {MAX_MINUTES} minutes")
    asked = {"Bucket": store.remote.bucket, "Key": store.object_key(sha256)}
    return str(store.s3.generate_presigned_url("get_object", Params=asked, ExpiresIn=seconds))
