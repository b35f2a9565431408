"""One S3 remote: its address and keys, whether it answers, its identity, and what DVC is told of it."""

from __future__ import annotations

import dataclasses
import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textgan.errors import UserError
from textgan.files import STATE, to_json, write_bytes

PRIVATE = 0o600
"""Mode of every file that holds a key."""
RECORD = "remote.json"
"""In a clone's `.state/storage`: the remote that it uses."""
DVC_LOCAL = Path(".dvc/config.local")
MISSING_BUCKET = ("NoSuchBucket", "404", "NotFound")
REFUSED = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "403", "InvalidToken", "ExpiredToken")
"""The last two are of temporary credentials: a mistaken token, and one whose time is over."""
SECTION = 'remote "storage"'
"""The name under which `.dvc/config` knows the remote."""


class Unanswered(UserError):
    """Nobody answers at the endpoint."""


@dataclass(slots=True)
class Remote:
    """What a client needs. `identity` is empty until seen; `attached_to` is None for the embedded one."""

    endpoint: str
    bucket: str
    prefix: str
    region: str
    access_key: str
    secret_key: str = dataclasses.field(repr=False)
    identity: str
    attached_to: str | None
    session_token: str = dataclasses.field(default="", repr=False)
    """Of temporary credentials; empty for others."""

    def with_identity(self, identity: str) -> Remote:
        """The same remote, expected to have this identity."""
        return dataclasses.replace(self, identity=identity)

    def with_attachment(self, attached_to: str) -> Remote:
        """The same remote, as another clone sees it."""
        return dataclasses.replace(self, attached_to=attached_to)


def load_remote(place: Path, name: str = RECORD) -> Remote | None:
    """The remote recorded in a clone's `.state/storage`, if there is one."""
    path = place / name
    try:
        return Remote(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: not what `textgan storage start` wrote: {error}") from None


def save_remote(place: Path, remote: Remote, name: str = RECORD) -> None:
    """Record a remote, readable by its owner only."""
    write_bytes(place / name, to_json(dataclasses.asdict(remote)).encode(), PRIVATE)


def client(remote: Remote, attempts: int = 4) -> Any:
    """A boto3 client of the remote; proxies of the environment are not asked about loopback."""
    import boto3
    from botocore.config import Config

    settings = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        retries={"max_attempts": attempts, "mode": "standard"},
        connect_timeout=5,
        read_timeout=60,
        proxies={} if "//127.0.0.1" in remote.endpoint else None,
    )
    return boto3.session.Session().client(
        "s3",
        endpoint_url=remote.endpoint,
        region_name=remote.region,
        aws_access_key_id=remote.access_key,
        aws_secret_access_key=remote.secret_key,
        aws_session_token=remote.session_token or None,
        config=settings,
    )


def probe(remote: Remote, patience_seconds: float) -> None:
    """Put, get and delete an object, trying again for a while: health pages answer before writes do.

    Raises UserError that says which of the known causes it was.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    s3 = client(remote, attempts=1)
    key, body = f"{remote.prefix}/probe/{secrets.token_hex(8)}", secrets.token_bytes(32)
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            _need_bucket(s3, remote)
            s3.put_object(Bucket=remote.bucket, Key=key, Body=body)
            back = s3.get_object(Bucket=remote.bucket, Key=key)["Body"].read()
            s3.delete_object(Bucket=remote.bucket, Key=key)
            if back != body:
                raise UserError(f"storage: {remote.endpoint} gave back other bytes than it was given")
            return
        except (BotoCoreError, ClientError) as error:
            reason = _reason(remote, error)
            if reason is not None and not reason.startswith("does not"):
                raise UserError(f"storage: {remote.endpoint} {reason}") from None
            if time.monotonic() > deadline:
                kind = UserError if isinstance(error, ClientError) else Unanswered
                raise kind(f"storage: {remote.endpoint} {reason or f'failed: {error}'}") from None
            time.sleep(0.1)


def _need_bucket(s3: Any, remote: Remote) -> None:
    """Ask for the bucket: SeaweedFS makes one at the first write, so that a mistyped name would be taken for a new one.

    Raises ClientError with the code 404. Keys that may not ask (403) may still write: the write tells.
    """
    from botocore.exceptions import ClientError

    try:
        s3.head_bucket(Bucket=remote.bucket)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in MISSING_BUCKET:
            raise


def _reason(remote: Remote, error: Exception) -> str | None:
    """The cause in words; those that waiting may mend begin with 'does not'."""
    from botocore.exceptions import ClientError

    if not isinstance(error, ClientError):
        return f"does not answer ({type(error).__name__}); `textgan storage start` starts the embedded server"
    code = error.response.get("Error", {}).get("Code", "")
    if code in REFUSED:
        return f"refuses the credentials ({code}); `textgan storage attach` records others"
    if code in MISSING_BUCKET:
        return f"does not have the bucket {remote.bucket!r}"
    return None


def read_identity(remote: Remote) -> str:
    """The identity of the storage behind the endpoint; empty where it has none yet."""
    from botocore.exceptions import ClientError

    try:
        reply = client(remote).get_object(Bucket=remote.bucket, Key=f"{remote.prefix}/identity")
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in ("NoSuchKey", "404"):
            return ""
        raise UserError(f"storage: {remote.endpoint}: identity cannot be read: {error}") from None
    return str(reply["Body"].read().decode())


def write_identity(remote: Remote, identity: str) -> None:
    """Give a new storage its identity; where two clones try at once, the first one's holds."""
    from botocore.exceptions import ClientError

    try:
        key = f"{remote.prefix}/identity"
        client(remote).put_object(Bucket=remote.bucket, Key=key, Body=identity.encode(), IfNoneMatch="*")
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") not in ("PreconditionFailed", "ConditionalRequestConflict"):
            raise UserError(f"storage: {remote.endpoint}: identity cannot be written: {error}") from None


def write_dvc_config(remote: Remote | None, root: Path = Path()) -> None:
    """Put endpoint and keys into `.dvc/config.local` (0600), keeping what else stands there; None takes them out.

    DVC's own site cache moves into the clone too: nothing of ours is written elsewhere on the disk.
    """
    from configobj import ConfigObj

    path = root / DVC_LOCAL
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    config = ConfigObj(before.splitlines(), interpolation=False)
    config.pop(f"'{SECTION}'", None)
    config.pop(SECTION, None)
    if remote is not None:
        config[SECTION] = {
            "url": f"s3://{remote.bucket}/{remote.prefix}",
            "endpointurl": remote.endpoint,
            "region": remote.region,
            "access_key_id": remote.access_key,
            "secret_access_key": remote.secret_key,
        }
        if remote.session_token:
            config[SECTION]["session_token"] = remote.session_token
        config.setdefault("core", {})["site_cache_dir"] = str((root / STATE / "dvc").resolve())
    text = "\n".join(config.write()) + "\n"
    if text != before or (path.exists() and path.stat().st_mode & 0o077):
        write_bytes(path, text.encode(), PRIVATE)
