"""What two machines of one run tell each other, as S3 objects under the run's id: a stage's request and its reply.

    PREFIX/flows/RUN/STAGE/request.json    this dvc.lock, and the sha256 of every source that the stage depends on
    PREFIX/flows/RUN/STAGE/reply.json      the dvc.lock with the stage's entry, and how the stage went

Data goes through DVC's remote; only the lock, a few kilobytes, goes this way. The run removes its objects at its end.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.graph import Stage
from flows.history import LOCK_FILE
from flows.remote import Remote, client
from textgan.errors import UserError
from textgan.files import to_json, write_bytes

ALWAYS = ("dvc.yaml", "params.yaml")
"""Sources of every stage."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """The objects of one run in the storage."""

    remote: Remote
    run: str

    def put(self, stage: str, kind: str, value: dict[str, Any]) -> None:
        """Write a request or a reply. Raises UserError where the storage refuses it."""
        with _telling(self.remote):
            body = to_json(value).encode()
            client(self.remote).put_object(Bucket=self.remote.bucket, Key=self._key(stage, kind), Body=body)

    def get(self, stage: str, kind: str) -> dict[str, Any]:
        """Read it. Raises UserError where it is not there."""
        with _telling(self.remote):
            found = client(self.remote).get_object(Bucket=self.remote.bucket, Key=self._key(stage, kind))
            value = json.loads(found["Body"].read())
        return dict(value)

    def clear(self, stage: str) -> None:
        """Remove both objects of a stage."""
        with _telling(self.remote):
            for kind in ("request", "reply"):
                client(self.remote).delete_object(Bucket=self.remote.bucket, Key=self._key(stage, kind))

    def _key(self, stage: str, kind: str) -> str:
        return f"{self.remote.prefix}/flows/{self.run}/{stage}/{kind}.json"


class _telling:
    """S3 errors as one line that names the storage."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        if isinstance(error, (BotoCoreError, ClientError)):
            raise UserError(f"storage: {self.remote.endpoint}: {' '.join(str(error).split())}") from None


def read_lock(root: Path) -> str:
    """This machine's dvc.lock; empty where nothing has run yet."""
    path = root / LOCK_FILE
    return path.read_text(encoding="utf-8") if path.exists() else ""


def apply_lock(root: Path, text: str) -> None:
    """Make another machine's dvc.lock this one's: what it names can be pulled by its hashes."""
    if text:
        write_bytes(root / LOCK_FILE, text.encode())
    else:
        (root / LOCK_FILE).unlink(missing_ok=True)


def merge_lock(root: Path, stage: str, text: str) -> None:
    """Take one stage's entry of another machine's dvc.lock into this one's, under DVC's own lock: stages run beside."""
    import yaml
    from dvc.repo import Repo
    from dvc.utils.serialize import modify_yaml

    entry = (yaml.safe_load(text) or {}).get("stages", {}).get(stage)
    if not entry:
        raise UserError(f"{stage}: the dvc.lock that came back has no entry for it")
    with Repo(str(root), _wait_for_lock=True) as repo, repo.lock, modify_yaml(str(root / LOCK_FILE)) as lock:
        lock.setdefault("schema", "2.0")
        lock.setdefault("stages", {})[stage] = entry


def sources(root: Path, stage: Stage) -> dict[str, str]:
    """{path: sha256} of what git tracks among the stage's deps: its code; and of the graph and its parameters."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *ALWAYS, *stage.deps], cwd=root, capture_output=True, text=True
    )
    if listed.returncode != 0:
        raise UserError(f"git ls-files: {listed.stderr.strip()}")
    paths = sorted(path for path in listed.stdout.split("\0") if path and (root / path).is_file())
    return {path: hashlib.sha256((root / path).read_bytes()).hexdigest() for path in paths}


def check_sources(name: str, here: dict[str, str], there: dict[str, str], commit: str) -> None:
    """Refuse to run a stage with other code or parameters than those that the run was started with."""
    other = sorted(path for path in here.keys() | there.keys() if here.get(path) != there.get(path))
    if other:
        more = f" and {len(other) - 1} more" if len(other) > 1 else ""
        raise UserError(
            f"{name}: {other[0]}{more} on this machine is not what the run was started with; "
            f"bring this checkout to {commit or 'the commit of the run'}"
        )


def head(root: Path) -> str:
    """The commit of a checkout, in words; empty where there is none."""
    shown = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=root, capture_output=True, text=True)
    return f"commit {shown.stdout.strip()}" if shown.returncode == 0 else ""
