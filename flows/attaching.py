"""A remote from what a person gives: the URL of an S3 endpoint, bucket and prefix, and keys."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flows.remote import Remote
from flows.seaweed import BUCKET, PREFIX, REGION
from textgan.errors import UserError

KEYS = {
    "access_key": "AWS_ACCESS_KEY_ID",
    "secret_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
}
OPTIONAL = "session_token"
"""Only temporary keys have one."""
HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|[0-9a-f:]+", re.IGNORECASE)
BUCKETS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")


def remote_at(endpoint: str, credentials: Path | None, url: str, region: str) -> Remote:
    """A remote from an endpoint and keys: a file's, or those of the environment. Raises UserError.

    No message repeats a text that has an `@`: it may have keys in it.
    """
    endpoint = endpoint.rstrip("/")
    _check_endpoint(endpoint)
    bucket, prefix = _place(url) if url else (BUCKET, PREFIX)
    keys = _keys(credentials)
    access, secret, token = (keys.get(name) or "" for name in KEYS)
    return Remote(endpoint, bucket, prefix, region or REGION, access, secret, "", endpoint, token)


def _check_endpoint(endpoint: str) -> None:
    if "@" in endpoint:
        raise UserError("storage attach: keys do not belong into the URL; --credentials or the environment gives them")
    rule = "it must be http://HOST:PORT or https://HOST"
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError as error:
        raise UserError(f"storage attach: {endpoint}: {error}; {rule}") from None
    whole = parts.scheme in ("http", "https") and HOST.fullmatch(parts.hostname or "") and ".." not in parts.netloc
    if not whole or port == 0 or parts.query or parts.fragment:
        raise UserError(f"storage attach: {endpoint}: no address of an S3 endpoint; {rule}")


def _place(url: str) -> tuple[str, str]:
    """Bucket and prefix of an s3:// URL."""
    bucket, _, prefix = url.removeprefix("s3://").strip("/").partition("/")
    if not url.startswith("s3://") or not BUCKETS.fullmatch(bucket) or not prefix:
        shown = "a text with an @" if "@" in url else repr(url)
        raise UserError(f"storage attach: --url is {shown}; it must be s3://BUCKET/PREFIX")
    return bucket, prefix


def _keys(credentials: Path | None) -> dict[str, Any]:
    """{name of KEYS: text} of a JSON file, or else of the environment."""
    keys: Any = {name: os.environ.get(variable) for name, variable in KEYS.items()}
    source = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if credentials is not None:
        source = str(credentials)
        try:
            keys = json.loads(credentials.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{credentials}: no such file; it must hold access_key and secret_key as JSON") from None
        except ValueError as error:
            raise UserError(f"{credentials}: not JSON: {error}") from None
    for name in KEYS:
        value = keys.get(name) if isinstance(keys, dict) else None
        if not isinstance(value, str) and (name != OPTIONAL or value is not None):
            raise UserError(f"{source}: {name} is missing; it must be a text")
    return dict(keys)
