"""Fetching over a server that fails in every way: whole and right, or an error and nothing published."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import threading
import zipfile
from collections import namedtuple
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest

from pipeline import archives, download
from pipeline.exports import open_export
from pipeline.fetch import fetch
from pipeline.lsun import ARCHIVES, BASE_URL, find_archive
from textgan.errors import UserError


class Server(ThreadingHTTPServer):
    """Serves `body` at every path; `plan` holds one misdeed for each coming request, by name."""

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.etag, self.plan = body, '"one"', list[str]()
        self.requests: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/lsun"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        return

    def do_GET(self) -> None:
        server = self.server
        server.requests.append(dict(self.headers))
        server.paths.append(self.path)
        deed = server.plan.pop(0) if server.plan else "good"
        self.close_connection = True
        if deed == "hang up":
            return
        if deed in ("500", "503", "404", "416"):
            self._head(int(deed), 0, {})
            return
        asked, body = self.headers.get("Range"), server.body
        matches = self.headers.get("If-Range", server.etag) == server.etag
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and matches and deed != "no ranges" else 0
        first, etag = begin, server.etag
        if deed == "wrong range":
            first = max(begin - 1000, 0)
        if deed == "wrong range" and not begin:
            first = 1000
        payload = body[first:]
        if deed == "redirect":
            self._head(302, 0, {"Location": "file:///etc/passwd"})
            return
        extra = {"Accept-Ranges": "bytes"} | ({"ETag": etag} if deed != "no validator" else {})
        if begin or deed == "wrong range":
            total = len(body) + (7 if deed == "wrong total" else 0)
            extra["Content-Range"] = f"bytes {first}-{len(body) - 1}/{total}"
        status = 206 if "Content-Range" in extra else 200
        length = None if deed == "no length" else len(payload)
        self._head(status, length, extra)
        if deed == "drop":
            payload = payload[: max(len(payload) // 2, 1)]
        if deed == "garbage":
            payload = bytes(len(payload))
        if deed == "short":
            payload = payload[:-100]
        server.sent += len(payload)
        self.wfile.write(payload)

    def _head(self, status: int, length: int | None, extra: dict[str, str]) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in extra.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A data.mdb of 40 incompressible values."""
    path = tmp_path_factory.mktemp("lmdb")
    rng = np.random.default_rng(0)
    with lmdb.open(str(path), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for index in range(40):
            transaction.put(f"{index:040x}".encode(), rng.bytes(20_000))
    return (path / "data.mdb").read_bytes()


def zipped(members: dict[str, bytes], folder: str = "cat") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, payload in members.items():
            archive.writestr(name, payload)
    return buffer.getvalue()


@pytest.fixture
def server(data: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of an honest cat.zip; waits between attempts are none."""
    monkeypatch.setattr(download, "BACK_OFF_SECONDS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 10.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("TEXTGAN_LSUN_ROOT", raising=False)
    with Server(zipped({"cat/": b"", "cat/data.mdb": data, "cat/lock.mdb": bytes(8192)})) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def run(server: Server, out: Path, category: str = "cat", **options: Any) -> None:
    fetch(category, out=out, base_url=server.url, **({"split": "train", "sha256": None} | options))


def names(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir()) if out.exists() else []


def test_publishes_the_lmdb_and_its_record(server: Server, data: bytes, tmp_path: Path) -> None:
    """The directory holds data.mdb byte by byte, a record of what was measured, and nothing else."""
    run(server, tmp_path)
    assert names(tmp_path) == ["cat"] and names(tmp_path / "cat") == ["archive.json", "data.mdb"]
    assert (tmp_path / "cat/data.mdb").read_bytes() == data
    assert len(open_export(tmp_path / "cat")) == 40
    record = json.loads((tmp_path / "cat/archive.json").read_text())
    assert record["sha256"] == hashlib.sha256(server.body).hexdigest() and record["bytes"] == len(server.body)
    assert record["etag"] == '"one"' and record["entries"] == 40 and record["official"] is False
    assert record["data"] == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert server.paths == ["/lsun/objects/cat.zip"]


def test_a_second_fetch_asks_for_nothing(server: Server, tmp_path: Path) -> None:
    """What is there and whole is left alone, without the network."""
    run(server, tmp_path)
    before = (tmp_path / "cat/data.mdb").stat().st_mtime_ns
    run(server, tmp_path)
    assert len(server.requests) == 1 and (tmp_path / "cat/data.mdb").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "plan",
    [
        ["drop", "drop", "drop"],
        ["short"],
        ["hang up", "500", "503", "drop"],
        ["drop", "wrong range", "wrong range"],
        ["drop", "wrong total"],
        ["drop", "no ranges"],
        ["drop", "no ranges", "no ranges"],
        ["wrong range"],
        ["no validator"],
    ],
)
def test_failures_on_the_way_change_nothing(server: Server, data: bytes, tmp_path: Path, plan: list[str]) -> None:
    """Whatever the server does in between, the export has the right bytes."""
    server.plan = list(plan)
    run(server, tmp_path)
    assert (tmp_path / "cat/data.mdb").read_bytes() == data and names(tmp_path) == ["cat"]


def test_no_byte_is_sent_twice_where_ranges_work(server: Server, tmp_path: Path) -> None:
    """After a break the rest is asked for with If-Range, and only the rest comes."""
    server.plan = ["drop", "drop"]
    run(server, tmp_path)
    assert server.sent == len(server.body)
    assert [request.get("If-Range") for request in server.requests] == [None, '"one"', '"one"']
    assert server.requests[1]["Range"] == f"bytes={len(server.body) // 2}-"


def test_another_run_goes_on_where_the_first_gave_up(server: Server, data: bytes, tmp_path: Path) -> None:
    """A part survives the end of the process; the next run continues it."""
    server.plan = ["drop"] + ["503"] * 4
    with pytest.raises(UserError, match="503.*bytes are here.*goes on from there"):
        run(server, tmp_path)
    assert names(tmp_path) == [".cat.fetch"]
    run(server, tmp_path)
    assert server.sent == len(server.body) and (tmp_path / "cat/data.mdb").read_bytes() == data


def test_a_part_is_not_continued_with_another_file(server: Server, data: bytes, tmp_path: Path) -> None:
    """Where the ETag changed in between, all of the new file is taken."""
    server.plan = ["drop"] + ["503"] * 4
    with pytest.raises(UserError):
        run(server, tmp_path)
    server.body, server.etag = zipped({"cat/data.mdb": data}), '"two"'
    run(server, tmp_path)
    assert json.loads((tmp_path / "cat/archive.json").read_text())["etag"] == '"two"'
    assert (tmp_path / "cat/data.mdb").read_bytes() == data


def test_endless_failure_ends_with_one_line(server: Server, tmp_path: Path) -> None:
    """Wrong ranges for ever, or no answer for ever, are errors; nothing is published."""
    server.plan = ["drop"] + ["wrong range"] * 9
    with pytest.raises(UserError, match="asked for bytes .*, the server sends 'bytes "):
        run(server, tmp_path)
    assert names(tmp_path) == [".cat.fetch"]


@pytest.mark.parametrize(
    ("plan", "message"),
    [(["404"], "answers 404"), (["no length"], "does not say how long"), (["redirect"] * 9, "file")],
)
def test_what_no_retry_can_mend(server: Server, tmp_path: Path, plan: list[str], message: str) -> None:
    """A missing file, a reply of unknown length, a redirect to a local file: an error, nothing left behind."""
    server.plan = plan
    with pytest.raises(UserError, match=message):
        run(server, tmp_path)
    assert names(tmp_path) == []


def test_a_wrong_checksum_is_refused_and_the_download_kept(server: Server, tmp_path: Path) -> None:
    """Nothing is published; with the right checksum the same download is used, without the network."""
    with pytest.raises(UserError, match="sha256 is .* must be 0000"):
        run(server, tmp_path, sha256="0" * 64)
    assert names(tmp_path) == [".cat.fetch"]
    run(server, tmp_path, sha256=hashlib.sha256(server.body).hexdigest().upper())
    assert len(server.requests) == 1 and names(tmp_path) == ["cat"]
    with pytest.raises(UserError, match="was fetched from an archive with sha256"):
        run(server, tmp_path, sha256="0" * 64)


def test_silently_damaged_bytes_are_found(server: Server, tmp_path: Path) -> None:
    """A continued part with wrong content has the right size; the archive's own checks find it."""
    server.plan = ["drop", "garbage"]
    with pytest.raises(UserError, match="not a whole ZIP archive"):
        run(server, tmp_path)
    assert "cat" not in names(tmp_path)


def test_a_mirror_of_official_size_must_have_the_official_digest(
    server: Server, tmp_path: Path, monkeypatch: Any
) -> None:
    """The recorded digest is the check wherever the size is the recorded one."""
    import pipeline.fetch as module

    official = namedtuple("Official", "path export bytes sha256 file folder")
    archive = official("objects/cat.zip", "cat", len(server.body), "f" * 64, "cat.zip", "cat")
    monkeypatch.setattr(module, "find_archive", lambda category, split: archive)
    with pytest.raises(UserError, match="must be ffff"):
        run(server, tmp_path)


def link_member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return info


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("../evil", "only cat/"),
        ("/etc/evil", "only cat/"),
        ("cat/../../evil", "only cat/"),
        ("cat/other.txt", "only cat/"),
        ("cat\\..\\evil", "only cat/"),
    ],
)
def test_unexpected_members_are_refused(server: Server, data: bytes, tmp_path: Path, extra: str, message: str) -> None:
    """Names that leave the directory, or that nobody asked for: refused before anything is written."""
    server.body = zipped({"cat/data.mdb": data, extra: b"x"})
    out = tmp_path / "deep" / "out"
    with pytest.raises(UserError, match=message):
        run(server, out)
    assert names(out) == [".cat.fetch"] and not list(tmp_path.rglob("evil"))
    assert names(out / ".cat.fetch") == ["archive.zip", "download.json"]


def test_links_bombs_duplicates_and_no_zip_are_refused(server: Server, data: bytes, tmp_path: Path) -> None:
    """A link as data.mdb, too much declared, two of one name, no data.mdb, no ZIP at all."""
    link, bomb, twice = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(link, "w") as archive:
        archive.writestr(link_member("cat/data.mdb"), "/etc/passwd")
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/data.mdb", bytes(archives.SLACK_BYTES + 1_000_000))
    with zipfile.ZipFile(twice, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("cat/data.mdb", data)
        archive.writestr("cat/data.mdb", data)
    cases = {
        "is a link": link.getvalue(),
        "its members declare": bomb.getvalue(),
        "twice": twice.getvalue(),
        "has no cat/data.mdb": zipped({"cat/": b""}),
        "not a whole ZIP": b"<html>not found</html>" * 100,
    }
    for message, body in cases.items():
        server.body, server.etag = body, f'"{message}"'
        out = tmp_path / message.replace("/", "-")
        with pytest.raises(UserError, match=message):
            run(server, out)
        assert "cat" not in names(out)


def test_an_archive_without_an_lmdb_is_refused(server: Server, data: bytes, tmp_path: Path) -> None:
    """A data.mdb that is truncated or none is not published, and no half of it is left."""
    for name, payload in (("truncated", data[: len(data) // 2]), ("none", b"text" * 5000)):
        server.body, server.etag = zipped({"cat/data.mdb": payload}), f'"{name}"'
        with pytest.raises(UserError, match="truncated|magic"):
            run(server, tmp_path / name)
        assert "cat" not in names(tmp_path / name)


def test_too_little_space_is_said_before_the_download(server: Server, tmp_path: Path, monkeypatch: Any) -> None:
    """No byte of the body is taken where the disk cannot hold archive and LMDB."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**6, 0, len(server.body)))
    with pytest.raises(UserError, match="bytes are free; to download and unpack cat.zip takes"):
        run(server, tmp_path)
    assert names(tmp_path) == []


def test_an_export_that_fetch_did_not_make_is_left_alone(server: Server, tmp_path: Path) -> None:
    """A user's own directory of that name is never replaced."""
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/data.mdb").write_bytes(b"mine")
    with pytest.raises(UserError, match="did not make it"):
        run(server, tmp_path)
    assert (tmp_path / "cat/data.mdb").read_bytes() == b"mine" and not server.requests


def test_a_killed_unpacking_is_begun_again(server: Server, data: bytes, tmp_path: Path) -> None:
    """What an earlier run left half unpacked is made anew from the archive that is there."""
    with pytest.raises(UserError):
        run(server, tmp_path, sha256="0" * 64)
    (tmp_path / ".cat.fetch/export").mkdir()
    (tmp_path / ".cat.fetch/export/data.mdb").write_bytes(data[:1000])
    run(server, tmp_path)
    assert (tmp_path / "cat/data.mdb").read_bytes() == data and names(tmp_path) == ["cat"]


def test_two_fetches_of_one_export_do_not_mix(server: Server, tmp_path: Path) -> None:
    """The second one is refused while the first holds the directory."""
    from pipeline.fetch import _locked

    with _locked(tmp_path / ".cat.fetch"), pytest.raises(UserError, match="another `textgan fetch`"):
        run(server, tmp_path)
    assert not server.requests


def test_scenes_have_splits_and_export_names(server: Server, data: bytes, tmp_path: Path) -> None:
    """Scenes come as CATEGORY_SPLIT_lmdb.zip; their val set becomes the export NAME-val."""
    server.body = zipped({"church_outdoor_val_lmdb/data.mdb": data})
    run(server, tmp_path, "church_outdoor", split="val")
    assert server.paths == ["/lsun/scenes/church_outdoor_val_lmdb.zip"]
    assert names(tmp_path) == ["church-outdoor-val"]


def test_the_test_archive_of_all_scenes(
    server: Server, data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`test_lmdb.zip` becomes the export `test`; that nobody recorded its digest is said."""
    server.body = zipped({"test_lmdb/data.mdb": data})
    run(server, tmp_path, "test")
    assert server.paths == ["/lsun/scenes/test_lmdb.zip"] and names(tmp_path) == ["test"]
    assert "no official sha256 is recorded; this one has " in capsys.readouterr().out


def test_users_mistakes_are_one_line(tmp_path: Path, monkeypatch: Any) -> None:
    """Unknown categories, splits and URLs, a missing --out: said before any network."""
    monkeypatch.delenv("TEXTGAN_LSUN_ROOT", raising=False)
    cases: list[tuple[str, dict[str, Any]]] = [
        ("no such LSUN category; there are airplane", {"category": "unicorn"}),
        ("no val set", {"category": "cat", "split": "val"}),
        ("one of train, val", {"category": "cat", "split": "tests"}),
        ("`textgan fetch test` brings it", {"category": "bedroom", "split": "test"}),
        ("must be http", {"category": "cat", "base_url": "file:///etc"}),
        ("64 hex digits", {"category": "cat", "sha256": "abc"}),
        ("--out is missing", {"category": "cat", "out": None}),
    ]
    for message, options in cases:
        defaults: dict[str, Any] = {"split": "train", "out": tmp_path, "base_url": BASE_URL, "sha256": None}
        with pytest.raises(UserError, match=message):
            fetch(**(defaults | options))


def test_the_table_of_archives_is_whole() -> None:
    """Ten scenes with two splits, twenty objects; every digest has 64 hex digits, names are what params accept."""
    assert len(ARCHIVES) == 41
    for name, archive in ARCHIVES.items():
        if name != "test":  # of all scenes; nobody recorded it
            assert archive.sha256 and len(archive.sha256) == 64 and archive.bytes and archive.bytes > 10**6
        assert name == archive.export == name.lower() and "_" not in name
    assert find_archive("tv-monitor", "train").path == "objects/tv-monitor.zip"
    assert find_archive("dining-table", "train").folder == "dining_table"
    assert find_archive("bedroom", "train").folder == "bedroom_train_lmdb"
