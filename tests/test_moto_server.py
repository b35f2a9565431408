"""Another S3 than SeaweedFS, with other gaps: moto's server. Attach, push, restore with a verdict, check, releases."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.remote import Remote, client
from flows.seaweed import PORTS, is_free
from tests import tiny_repository as tiny
from tests import toy_graph
from tests.tiny_repository import textgan

pytest.importorskip("moto.server", reason="moto[server] is in requirements-dev.lock")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A server with an empty bucket `models`."""
    port = next(port for port in PORTS if is_free(port))
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        s3 = client(Remote(address, "models", "textgan", "us-east-1", "key", "secret", "", None), attempts=1)
        for _ in range(600):
            try:
                s3.create_bucket(Bucket="models")
                break
            except Exception:  # not up yet
                assert process.poll() is None
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def test_a_bucket_elsewhere_serves_as_the_embedded_one_does(endpoint, tmp_path):
    """By settings alone: URL, keys and prefix."""
    place = tiny.make(tmp_path / "tiny")
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"access_key": "key", "secret_key": "secret"}))
    keys.chmod(0o600)
    options = ["--credentials", str(keys), "--url", "s3://models/paper"]
    for arguments in (["storage", "attach", endpoint, *options], ["storage", "status"], ["repro"]):
        done = textgan(place, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    sha = tiny.commit(place, "the result")
    second = Path(tmp_path / "second")
    tiny.git(place, "clone", "-q", str(place), str(second))
    assert textgan(second, "storage", "attach", endpoint, *options).returncode == 0
    done = textgan(second, "reproduce", sha)
    assert done.returncode == 0 and "is reproduced" in done.stdout, done.stdout + done.stderr
    done = textgan(second, "storage", "check")
    assert done.returncode == 0 and "nothing is missing" in done.stdout, done.stdout + done.stderr


def test_releases_are_as_immutable_there(endpoint, tmp_path):
    """Published, listed, read again, fetched; another commit under the same name is refused."""
    place, keys = toy_graph.make(tmp_path / "toy"), tmp_path / "keys.json"
    keys.write_text(json.dumps({"access_key": "key", "secret_key": "secret"}))
    options = ["--credentials", str(keys), "--url", "s3://models/releases"]
    for arguments in (["storage", "attach", endpoint, *options], ["publish", "--tag", "v1"], ["releases", "--check"]):
        done = textgan(place, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    done = textgan(place, "fetch-release", "v1", "--out", str(tmp_path / "fetched"))
    assert done.returncode == 0 and "every file has the bytes" in done.stdout, done.stdout + done.stderr
    assert (tmp_path / "fetched" / "dvc.lock").read_bytes() == (place / "dvc.lock").read_bytes()
    (place / "NOTICE").write_text("Another commit.\n")
    toy_graph.commit(place, "Another commit")
    done = textgan(place, "publish", "--tag", "v1")
    assert done.returncode == 1 and "and stays so" in done.stderr, done.stdout + done.stderr
    done = textgan(place, "storage", "gc", "--dry-run", "--days", "0")
    assert done.returncode == 0 and "nothing was deleted" in done.stdout, done.stdout + done.stderr
