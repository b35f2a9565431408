"""The embedded storage, with a real server: started once, survives a kill, belongs to one clone, keeps its keys."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows import attaching, daemon, remote, seaweed, storage
from textgan.errors import UserError


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A clone with a running storage."""
    place = tmp_path_factory.mktemp("first")
    before = Path.cwd()
    os.chdir(place)
    (place / ".dvc").mkdir()
    try:
        storage.ensure_started()
        yield place
    finally:
        os.chdir(place)
        seaweed.stop(storage.PLACE)
        os.chdir(before)


@pytest.fixture
def first(served: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(served)
    return served


def known() -> remote.Remote:
    found = remote.load_remote(storage.PLACE)
    assert found is not None
    return found


def test_starting_twice_keeps_the_server_and_its_address(first):
    before, process = known(), seaweed.running(storage.PLACE)
    after = storage.ensure_started()
    assert after == before
    assert seaweed.running(storage.PLACE) == process


@pytest.mark.slow
def test_two_starts_at_once_make_one_server(tmp_path):
    """And both are told its address."""
    (tmp_path / ".dvc").mkdir()
    command = [sys.executable, "-m", "textgan.cli", "storage", "start"]
    both = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        said = {process.communicate(timeout=120)[0] for process in both}
        assert [process.returncode for process in both] == [0, 0] and len(said) == 1
        servers = [
            one for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(one.info["cmdline"] or ())
        ]
        assert len(servers) == 1
    finally:
        assert seaweed.stop(tmp_path / storage.PLACE)


STARTER = """
import sys, time
from flows import daemon, storage
wait = "import sys, time, os; time.sleep(float(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"
daemon.LAUNCH = (sys.executable, "-c", wait, sys.argv[1], *daemon.LAUNCH)
storage.ensure_started()
"""


def servers_of(place: Path) -> list[psutil.Process]:
    """Every server with its data below a directory, recorded or not."""
    everybody = psutil.process_iter(["cmdline"])
    return [one for one in everybody if f"-dir={place.resolve()}/" in " ".join(one.info["cmdline"] or ())]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_first_start_that_is_killed_at_any_moment_is_mended_by_the_next(tmp_path):
    """Before the process has recorded itself, at its record, while the server comes up: then there is one server."""
    moments = [("remote.json", 0.0, 0.0), ("remote.json", 0.3, 1.5), ("remote.json", 1.0, 1.5)]
    moments += [("process.json", delay, 0.0) for delay in (0.0, 0.1, 0.8)]
    for number, (awaited, delay, unrecorded) in enumerate(moments):
        place = tmp_path / str(number)
        (place / ".dvc").mkdir(parents=True)
        starter = subprocess.Popen([sys.executable, "-c", STARTER, str(unrecorded)], cwd=place)
        while not (place / storage.PLACE / awaited).exists():
            assert starter.poll() is None
            time.sleep(0.002)
        time.sleep(delay)
        starter.kill()
        starter.wait()
        try:
            started = subprocess.run(
                [sys.executable, "-m", "textgan.cli", "storage", "start"], cwd=place, capture_output=True, text=True
            )
            assert started.returncode == 0, (awaited, delay, unrecorded, started.stderr)
            assert servers_of(place) == [seaweed.running(place / storage.PLACE)]
        finally:
            assert seaweed.stop(place / storage.PLACE)
        assert servers_of(place) == []


@pytest.mark.slow
def test_a_process_of_ours_that_does_not_answer_is_ended_before_another_starts(tmp_path, monkeypatch):
    """It would keep the data to itself. The next server has the keys and the objects of the first."""
    monkeypatch.chdir(tmp_path)
    Path(".dvc").mkdir()
    try:
        before = storage.ensure_started()
        remote.client(before).put_object(Bucket="dvc", Key="kept", Body=b"kept")
        assert seaweed.stop(storage.PLACE)
        record = storage.PLACE / seaweed.RECORD
        silent = daemon.spawn(record, ["/bin/sleep", "600"], tmp_path / "log", dict(os.environ), tmp_path)
        monkeypatch.setattr(seaweed, "START_SECONDS", 1.0)
        process = seaweed.running(storage.PLACE)
        assert process is not None and process.pid == silent.pid
        with pytest.raises(remote.Unanswered):
            seaweed._when_ready(storage.PLACE, before, process)
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        (storage.PLACE / remote.RECORD).unlink()  # as a version before this one left it
        after = storage.ensure_started()
        assert silent.wait(10) is not None and after.identity == before.identity
        assert remote.client(after).get_object(Bucket="dvc", Key="kept")["Body"].read() == b"kept"
    finally:
        seaweed.stop(storage.PLACE)


def test_a_command_that_is_none_leaves_no_process(tmp_path):
    """It ends, and its log says why."""
    record = tmp_path / "process.json"
    process = daemon.spawn(record, ["/no/such/program"], tmp_path / "log", dict(os.environ), tmp_path)
    assert process.wait(10) != 0 and daemon.find(record) is None
    assert "/no/such/program" in (tmp_path / "log").read_text() or "FileNotFoundError" in (tmp_path / "log").read_text()


def test_ports_stay_unless_somebody_has_taken_one(tmp_path):
    """Addresses are kept from start to start; a port of another process is left to it."""
    ports = seaweed._ports(tmp_path)
    assert len(set(ports.values())) == len(ports) and seaweed._ports(tmp_path) == ports
    with socket.create_server(("127.0.0.1", ports["s3"])):
        assert ports["s3"] not in seaweed._ports(tmp_path).values()


def test_it_listens_on_loopback_only(first):
    process = seaweed.running(storage.PLACE)
    assert process is not None
    listening = [one for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN]
    assert {one.laddr.ip for one in listening} == {"127.0.0.1"}
    ports = json.loads((storage.PLACE / "ports.json").read_text())
    assert {one.laddr.port for one in listening} <= set(ports.values())


def test_files_with_keys_are_readable_by_their_owner_only(first):
    for path in (storage.PLACE / "remote.json", first / ".dvc" / "config.local"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert known().secret_key in path.read_text()


def test_keys_are_never_printed_nor_in_the_process_list(first):
    process = seaweed.running(storage.PLACE)
    assert process is not None
    printed = subprocess.run([sys.executable, "-m", "textgan.cli", "storage", "status"], capture_output=True, text=True)
    assert printed.returncode == 0, printed.stderr
    for text in (printed.stdout, printed.stderr, " ".join(process.cmdline()), repr(known())):
        assert known().secret_key not in text
    log = (storage.PLACE / "weed.log").read_text(errors="replace")
    assert known().secret_key not in log


def test_acknowledged_objects_survive_sigkill(first):
    s3 = remote.client(known())
    for number in range(20):
        s3.put_object(Bucket="dvc", Key=f"kept/{number}", Body=str(number).encode())
    process = seaweed.running(storage.PLACE)
    assert process is not None
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    again = storage.ensure_started()
    s3 = remote.client(again)
    assert [s3.get_object(Bucket="dvc", Key=f"kept/{n}")["Body"].read() for n in range(20)] == [
        str(n).encode() for n in range(20)
    ]


@pytest.mark.slow
def test_bytes_are_synced_to_the_disk_before_a_put_is_answered(first, tmp_path):
    """One fsync a put or more; seen by strace, where there is one that may look."""
    process, seen = seaweed.running(storage.PLACE), tmp_path / "calls"
    assert process is not None
    try:
        watching = ["strace", "-f", "-e", "trace=fsync,fdatasync", "-o", str(seen), "-p", str(process.pid)]
        strace = subprocess.Popen(watching, stderr=subprocess.PIPE, text=True)
    except FileNotFoundError:
        pytest.skip("no strace here")
    try:
        assert strace.stderr is not None
        if "attached" not in strace.stderr.readline():
            pytest.skip("strace may not look at processes here")
        for number in range(5):
            remote.client(known()).put_object(Bucket="dvc", Key=f"synced/{number}", Body=os.urandom(1 << 16))
    finally:
        strace.terminate()
        strace.wait(10)
    assert seen.read_text().count("sync(") >= 5


def test_a_second_clone_attaches_and_follows_the_address(first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage.attach(str(first))
    mine = known()
    assert mine.attached_to == str(first)
    assert storage.ensure_started().identity == mine.identity
    assert mine.endpoint in Path(".dvc/config.local").read_text()


def test_a_clones_own_storage_is_back_when_an_attached_one_is_forgotten(first, tmp_path, monkeypatch):
    """Keys, identity and data: neither attaching, nor attaching again, nor `reset` costs them."""
    monkeypatch.chdir(tmp_path)
    Path(".dvc").mkdir()
    own = remote.Remote("http://127.0.0.1:9", "dvc", "textgan", "us-east-1", "key", "own secret", "1" * 32, None)
    remote.save_remote(storage.PLACE, own)
    (storage.PLACE / "data").mkdir()
    (storage.PLACE / "data" / "volume").write_text("mine")
    for _ in range(2):
        storage.attach(str(first))
    assert known().attached_to == str(first)
    storage.reset()
    assert known() == own
    assert "own secret" in remote.DVC_LOCAL.read_text()
    assert (storage.PLACE / "data" / "volume").read_text() == "mine"
    with pytest.raises(UserError, match="--yes"):
        storage.reset()
    storage.reset(yes=True)
    assert remote.load_remote(storage.PLACE) is None and not (storage.PLACE / "data").exists()


def test_forgetting_an_attached_storage_where_there_is_no_own(first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage.attach(str(first))
    storage.reset()
    assert remote.load_remote(storage.PLACE) is None
    assert "endpointurl" not in remote.DVC_LOCAL.read_text()


@pytest.mark.parametrize("where", ["https://...", "http://", "https://host:port", "http://host:0", "ftp://host"])
def test_a_url_that_is_none_is_one_line(tmp_path, monkeypatch, where):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(UserError, match="storage attach: .* http://HOST:PORT") as caught:
        storage.attach(where)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("where", ["http://KEY:SECRET@127.0.0.1:9", "https://KEY:SECRET@...", "s3://KEY:SECRET@host"])
def test_keys_in_a_url_are_refused_and_not_printed(tmp_path, monkeypatch, where):
    monkeypatch.chdir(tmp_path)
    for arguments in ({"where": where}, {"where": "http://127.0.0.1:9", "url": "s3://KEY:SECRET@bucket/prefix"}):
        with pytest.raises(UserError) as caught:
            storage.attach(**arguments)
        assert "SECRET" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("option", ["url", "credentials", "region"])
def test_what_is_for_a_url_is_refused_for_a_clone(first, tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="are for a URL"):
        storage.attach(str(first), **{option: Path("x") if option == "credentials" else "s3://dvc/x"})
    assert remote.load_remote(storage.PLACE) is None


def test_a_session_token_of_temporary_keys_goes_everywhere(tmp_path, monkeypatch):
    """From the environment with the other keys, or from a file: to boto3, to DVC, and into no message."""
    monkeypatch.chdir(tmp_path)
    Path(".dvc").mkdir()
    for name, value in (("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "secret"), ("SESSION_TOKEN", "temporary")):
        monkeypatch.setenv(f"AWS_{name}", value)
    found = attaching.remote_at("https://s3.example", None, "s3://bucket/prefix", "")
    assert found.session_token == "temporary" and "temporary" not in repr(found)
    assert remote.client(found)._request_signer._credentials.token == "temporary"
    remote.write_dvc_config(found)
    assert "session_token = temporary" in remote.DVC_LOCAL.read_text()
    remote.save_remote(storage.PLACE, found)
    assert known() == found
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"access_key": "a", "secret_key": "b"}))
    without = attaching.remote_at("https://s3.example", keys, "", "")
    assert without.session_token == ""
    assert remote.client(without)._request_signer._credentials.token is None
    remote.write_dvc_config(without)
    assert "session_token =" not in remote.DVC_LOCAL.read_text()
    keys.write_text(json.dumps({"access_key": "a", "secret_key": "b", "session_token": 3}))
    with pytest.raises(UserError, match="session_token"):
        attaching.remote_at("https://s3.example", keys, "", "")


def test_another_clones_server_is_refused(first, tmp_path, monkeypatch):
    """A recorded identity is compared: a reused port must not lead into someone else's bucket."""
    monkeypatch.chdir(tmp_path)
    storage.attach(str(first))
    remote.save_remote(storage.PLACE, known().with_identity("0" * 32))
    with pytest.raises(UserError, match="has identity .* another clone's"):
        storage.ensure_started()


def test_wrong_credentials_are_named_as_such(first, tmp_path, monkeypatch):
    theirs = known()
    monkeypatch.chdir(tmp_path)
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"access_key": theirs.access_key, "secret_key": "wrong"}))
    with pytest.raises(UserError, match="refuses the credentials"):
        storage.attach(theirs.endpoint, credentials=keys)
    assert remote.load_remote(storage.PLACE) is None


def test_a_server_that_is_not_there_is_named(first, tmp_path, monkeypatch):
    theirs = known()
    monkeypatch.chdir(tmp_path)
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"access_key": theirs.access_key, "secret_key": theirs.secret_key}))
    with pytest.raises(UserError, match=r"storage: http://127\.0\.0\.1"):
        storage.attach("http://127.0.0.1:9", credentials=keys)


def test_stopping_ends_only_the_recorded_process(first, tmp_path, monkeypatch):
    """A pid that another process got meanwhile is not ours."""
    monkeypatch.chdir(tmp_path)
    storage.PLACE.mkdir(parents=True)
    record = {"pid": os.getpid(), "created": psutil.Process().create_time() - 100}
    (storage.PLACE / "process.json").write_text(json.dumps(record))
    assert seaweed.stop(storage.PLACE) is False


def test_other_local_settings_of_dvc_are_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(".dvc").mkdir()
    remote.DVC_LOCAL.write_text("[cache]\ndir = /elsewhere\n")
    one = remote.Remote("http://127.0.0.1:1", "dvc", "textgan", "us-east-1", "key", "secret", "", None)
    remote.write_dvc_config(one)
    assert "dir = /elsewhere" in remote.DVC_LOCAL.read_text()
    remote.write_dvc_config(None)
    assert "secret" not in remote.DVC_LOCAL.read_text()
    assert "dir = /elsewhere" in remote.DVC_LOCAL.read_text()
