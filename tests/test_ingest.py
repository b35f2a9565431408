"""Ingest: one row for each entry, none lost; every mistake of an export is one clear line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from pipeline import ingest
from pipeline.exports import check_data_file, open_export
from tests.lmdb_exports import encode, picture, pictures, write_lmdb
from textgan.errors import UserError
from textgan.params import IngestParams

PARAMS = IngestParams(seed=0, select=0.1, test=0.2, max_pixels=1_000_000)


def inventory(tmp_path: Path, exports: dict[str, Path], params: IngestParams = PARAMS) -> pd.DataFrame:
    """The inventory of some exports."""
    out = tmp_path / "inventory"
    out.mkdir(exist_ok=True)
    ingest.write_inventory(exports, params, out)
    return pd.read_parquet(out / "inventory.parquet")


def test_one_row_for_each_entry(tmp_path: Path) -> None:
    """Good, empty, textual and truncated values each have a row; formats are detected, not assumed."""
    good = encode(picture(30, 20))
    values = pictures(6) | {
        b"empty?": b"",
        b"text": b"not an image",
        b"cut": good[:40],
        b"z.gif": encode(picture(9, 8), "GIF"),
    }
    rows = inventory(tmp_path, {"cat": write_lmdb(tmp_path / "cat", values)})
    assert list(rows["lmdb_key"]) == sorted(values)
    assert dict(rows["format"].value_counts()) == {"jpeg": 3, "webp": 2, "png": 2, "unknown": 2, "gif": 1}
    reasons = {
        key: reason for key, reason in zip(rows["lmdb_key"], rows["reason"], strict=True) if isinstance(reason, str)
    }
    assert reasons == {b"empty?": "empty", b"text": "unknown_format", b"cut": "undecodable"}
    assert (rows["status"] == "ok").sum() == 7
    assert rows["bytes"].tolist() == [len(values[key]) for key in rows["lmdb_key"]]


def test_split_depends_on_key_and_seed_alone(tmp_path: Path) -> None:
    """Other entries do not move a sample; a val export is test as a whole."""
    few = write_lmdb(tmp_path / "few", dict(list(pictures(60).items())[::2]))
    many = write_lmdb(tmp_path / "many", pictures(60))
    a, b = inventory(tmp_path, {"cat": few}), inventory(tmp_path, {"cat": many})
    splits = dict(zip(b["sample_key"], b["split"], strict=True))
    assert all(splits[key] == split for key, split in zip(a["sample_key"], a["split"], strict=True))
    assert set(b["split"]) == {"train", "select", "test"}
    assert set(inventory(tmp_path, {"bedroom-val": few})["split"]) == {"test"}
    assert set(inventory(tmp_path, {"test": few})["split"]) == {"test"}


def test_same_bytes_again(tmp_path: Path) -> None:
    """Two inventories of the same export are equal files."""
    exports = {"cat": write_lmdb(tmp_path / "cat", pictures(5)), "car": write_lmdb(tmp_path / "car", pictures(5, 1))}
    inventory(tmp_path, exports)
    first = (tmp_path / "inventory/inventory.parquet").read_bytes()
    inventory(tmp_path, dict(reversed(exports.items())))
    assert (tmp_path / "inventory/inventory.parquet").read_bytes() == first


def test_colliding_sample_keys_are_rejected(tmp_path: Path) -> None:
    """`cat` with key `val-1` and `cat-val` with key `1` have one name: the second is rejected, not lost."""
    value = encode(picture(20, 20))
    exports = {
        "cat": write_lmdb(tmp_path / "cat", {b"val-1": value, b"a": value}),
        "cat-val": write_lmdb(tmp_path / "cat-val", {b"1": value}),
    }
    rows = inventory(tmp_path, exports)
    assert rows["status"].tolist() == ["ok", "ok", "rejected"]
    assert rows["reason"][2] == "duplicate_key"


def test_one_key_in_two_exports_names_two_images(tmp_path: Path) -> None:
    """Equal LMDB keys are told apart by their exports."""
    exports = {name: write_lmdb(tmp_path / name, {b"k": encode(picture(20, 20))}) for name in ("cat", "car")}
    rows = inventory(tmp_path, exports)
    assert rows["sample_key"].tolist() == ["car-k", "cat-k"] and rows["status"].tolist() == ["ok", "ok"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", "no such export"),
        ("no_lmdb", "no LMDB data file: its magic number is missing"),
        ("empty_file", "no LMDB data file: it is an empty file"),
        ("no_data", "no LMDB .it has no data.mdb. and no image tree"),
        ("dangling", "a link to nowhere, which does not exist"),
        ("truncated", "truncated: it has 8192 bytes and its LMDB header promises at least"),
        ("one_page", "truncated: it has 4096 bytes"),
        ("no_entries", "the LMDB is empty"),
    ],
)
def test_each_broken_export_is_one_line(tmp_path: Path, damage: str, message: str) -> None:
    """The message names the file and the rule; nothing crashes."""
    export = tmp_path / "cat"
    if damage != "missing":
        write_lmdb(export, {} if damage == "no_entries" else pictures(9))
    data = export / "data.mdb"
    if damage == "no_lmdb":
        data.write_bytes(b"PK" * 9000)
    elif damage == "empty_file":
        data.write_bytes(b"")
    elif damage == "no_data":
        data.unlink()
    elif damage == "dangling":
        data.unlink()
        data.symlink_to("nowhere")
    elif damage in ("truncated", "one_page"):
        data.write_bytes(data.read_bytes()[: 8192 if damage == "truncated" else 4096])
    with pytest.raises(UserError, match=message) as error:
        open_export(export)
    assert "cat" in str(error.value)


def test_every_shorter_file_is_refused(tmp_path: Path) -> None:
    """Wherever a download stopped, the size check sees it before LMDB maps the file."""
    whole = (write_lmdb(tmp_path / "cat", pictures(9)) / "data.mdb").read_bytes()
    data = tmp_path / "data.mdb"
    for size in range(0, len(whole), 4096):
        data.write_bytes(whole[:size])
        with pytest.raises(UserError):
            check_data_file(data)
    data.write_bytes(whole)
    check_data_file(data)


def test_read_only_media_links_and_single_files(tmp_path: Path) -> None:
    """A read-only directory without lock file, a link to it and the data file itself all read the same."""
    values = pictures(4)
    export = write_lmdb(tmp_path / "cat", values)
    (tmp_path / "link").mkdir()
    (tmp_path / "link/data.mdb").symlink_to(export / "data.mdb")
    (export / "data.mdb").chmod(0o444)
    export.chmod(0o555)
    for path in (export, tmp_path / "link", export / "data.mdb"):
        assert dict(open_export(path).items()) == values
    assert [path.name for path in export.iterdir()] == ["data.mdb"]
    export.chmod(0o755)


def test_image_tree(tmp_path: Path) -> None:
    """The tree that LSUN's tools export gives the same keys and values."""
    values = pictures(5)
    for key, value in values.items():
        directory = tmp_path / "tree" / "/".join(key.decode()[:6])
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{key.decode()}.webp").write_bytes(value)
    assert list(open_export(tmp_path / "tree").items()) == sorted(values.items())


def test_links_in_an_image_tree_lose_no_image(tmp_path: Path) -> None:
    """Directories behind links are read, once each, circles included; a dangling link is an entry without an image."""
    values = pictures(6)
    for idx, (key, value) in enumerate(values.items()):
        directory = tmp_path / ("tree/a", "tree/a/b", "elsewhere/c")[idx % 3]
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{key.decode()}.webp").write_bytes(value)
    (tmp_path / "tree/far").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "tree/again").symlink_to(tmp_path / "tree/a")
    (tmp_path / "elsewhere/c/circle").symlink_to(tmp_path / "tree")
    (tmp_path / "tree/a/gone.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "tree/a/self.jpg").symlink_to("self.jpg")
    assert dict(open_export(tmp_path / "tree").items()) == values | {b"gone": b"", b"self": b""}
    rows = inventory(tmp_path, {"cat": tmp_path / "tree"})
    assert dict(zip(rows["lmdb_key"], rows["reason"], strict=True))[b"gone"] == "empty" and len(rows) == 8


def test_trees_that_cannot_be_read_whole_are_one_line(tmp_path: Path) -> None:
    """A link to a directory that is not there, a pipe with an image's name, a file that vanished."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/k.png").write_bytes(encode(picture(9, 9), "PNG"))
    export = open_export(tmp_path / "tree")
    (tmp_path / "tree/k.png").unlink()
    with pytest.raises(UserError, match="k.png: cannot be read: No such file"):
        export.get(b"k")
    (tmp_path / "tree/disk2").symlink_to("/mnt/nowhere")
    with pytest.raises(UserError, match="disk2: a link to /mnt/nowhere, which does not exist"):
        open_export(tmp_path / "tree")
    (tmp_path / "tree/disk2").unlink()
    os.mkfifo(tmp_path / "tree/pipe.jpg")
    with pytest.raises(UserError, match="pipe.jpg: is no file"):
        open_export(tmp_path / "tree")


@pytest.mark.parametrize("kind", ["tree", "below", "lmdb"])
def test_an_export_without_permission_is_one_line(tmp_path: Path, kind: str) -> None:
    """Nothing is skipped because it may not be read."""
    export = write_lmdb(tmp_path / "cat", pictures(2))
    if kind != "lmdb":
        (export / "data.mdb").unlink()
        (export / "b").mkdir()
        (export / "a.png").write_bytes(encode(picture(9, 9), "PNG"))
    closed = export / "b" if kind == "below" else export
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.getuid() and directory != Path("/tmp"):
            directory.chmod(directory.stat().st_mode | 0o055)  # the others of this machine may come so far
    closed.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)  # root reads what it may not
        with pytest.raises(UserError, match="cannot be read: Permission denied"):
            open_export(export)
    finally:
        os.seteuid(user)
        closed.chmod(0o755)


def test_threads_open_one_export_at_once(tmp_path: Path) -> None:
    """As in a Dask worker of several threads: each open gives the export, never LMDB's refusal."""
    from pipeline import exports

    export = write_lmdb(tmp_path / "cat", pictures(2))

    def open_together(together: threading.Barrier) -> exports.Export:
        together.wait()
        return open_export(export)

    with ThreadPoolExecutor(8) as threads:
        for _ in range(50):
            open_export(export).close()
            exports._opened.clear()
            opened = list(threads.map(open_together, [threading.Barrier(8)] * 8))
            assert len(set(map(id, opened))) == 1


def test_annotations_by_sample_key(tmp_path: Path) -> None:
    """Lines are kept as JSON text; a broken one is named with its number."""
    export = write_lmdb(tmp_path / "cat", pictures(2))
    lines = [json.dumps({"key": key.decode(), "facts": {"kind": "cat"}}) for key in pictures(2)]
    (export / "annotations.jsonl").write_text("\n".join(lines) + "\n")
    assert ingest.write_annotations({"cat": export}, tmp_path) == 2
    table = pd.read_parquet(tmp_path / "annotations.parquet")
    assert json.loads(table["annotation"][0])["facts"] == {"kind": "cat"}
    assert table["sample_key"][0] == f"cat-{next(iter(pictures(2))).decode()}"
    (export / "annotations.jsonl").write_text(lines[0] + "\n{}\n")
    with pytest.raises(UserError, match="line 2"):
        ingest.write_annotations({"cat": export}, tmp_path)


def test_program_leaves_nothing_half_written(tmp_path: Path) -> None:
    """A broken second export: exit 1, one line on stderr, no data/inventory."""
    text = (Path(__file__).parents[1] / "presets/sample.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text)
    write_lmdb(tmp_path / "data/exports/catcar/cat", pictures(3))
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.ingest", "catcar"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: data/exports/catcar/car: no such export")
    assert not (tmp_path / "data/inventory").exists()
