"""Exports have names; where they are is this machine's affair, and what is no export is refused in one line."""

from __future__ import annotations

from pathlib import Path

import lmdb
import pytest
import yaml

from flows import exports
from pipeline.exports import open_export
from textgan import params
from textgan.errors import UserError
from textgan.preset import compose

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose dataset is not drawn, and a directory of two small exports."""
    monkeypatch.chdir(REPOSITORY)
    value = yaml.safe_load(compose("sample"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(exports.ROOT_VARIABLE, raising=False)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({**value, "draw": {}}))
    (tmp_path / "lsun").mkdir()
    for name in ("cat", "car"):
        with lmdb.open(str(tmp_path / "lsun" / name)) as environment, environment.begin(write=True) as transaction:
            transaction.put(b"key", b"value")
    return tmp_path


def test_links_are_made_once_and_hold_no_lock_file(place, monkeypatch):
    monkeypatch.setenv(exports.ROOT_VARIABLE, str(place / "lsun"))
    assert set(exports.link_all()) == {"catcar/cat", "catcar/car"}
    link = place / "data" / "exports" / "catcar" / "cat" / "data.mdb"
    assert link.resolve() == place / "lsun" / "cat" / "data.mdb"
    assert [path.name for path in link.parent.iterdir()] == ["data.mdb"]
    before = link.lstat().st_mtime_ns
    exports.link_all()
    assert link.lstat().st_mtime_ns == before


def test_exports_local_yaml_wins_over_the_root(place, monkeypatch):
    monkeypatch.setenv(exports.ROOT_VARIABLE, "/nowhere")
    exports.PLACES.write_text(f"cat: {place}/lsun/cat\ncar: {place}/lsun/car\n")
    assert exports.link_all()["catcar/cat"] == place / "lsun" / "cat"


def test_an_unknown_export_says_where_to_write_it():
    with pytest.raises(
        UserError, match=r"params\.yaml: datasets\.catcar\.exports names 'cat'.*exports\.local\.yaml.*LSUN_ROOT"
    ):
        exports.link_all()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda directory: (directory / "data.mdb").unlink(), "has no data.mdb"),
        (lambda directory: (directory / "data.mdb").write_bytes(b""), "is empty"),
        (lambda directory: (directory / "data.mdb").write_bytes(b"x" * 9000), "does not begin as an LMDB data file"),
        (lambda directory: directory.rename(directory.with_name("moved")), "must be a directory with data.mdb"),
    ],
)
def test_what_is_no_export_is_refused_and_nothing_is_linked(place, monkeypatch, harm, message):
    monkeypatch.setenv(exports.ROOT_VARIABLE, str(place / "lsun"))
    harm(place / "lsun" / "car")
    with pytest.raises(UserError, match=message):
        exports.link_all()
    assert not (place / "data").exists()


def test_links_of_a_former_preset_go_when_the_dataset_is_drawn(place, monkeypatch):
    monkeypatch.setenv(exports.ROOT_VARIABLE, str(place / "lsun"))
    exports.link_all()
    value = yaml.safe_load(params.PARAMS_FILE.read_text())
    params.PARAMS_FILE.write_text(yaml.safe_dump({**value, "draw": {"catcar": {"images": 9, "seed": 0}}}))
    assert exports.link_all() == {}
    assert not (place / "data" / "exports" / "catcar").exists()
    assert (place / "lsun" / "cat" / "data.mdb").exists()


def test_files_that_a_user_put_there_are_never_removed(place, monkeypatch):
    monkeypatch.setenv(exports.ROOT_VARIABLE, str(place / "lsun"))
    own = place / "data" / "exports" / "catcar" / "cat" / "data.mdb"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    with pytest.raises(UserError, match="holds files that textgan did not put there"):
        exports.link_all()
    assert own.read_bytes() == b"mine"


def test_a_data_file_alone_and_an_image_tree_are_exports(place):
    """The file is linked under the stages' name; the tree is packed once, and again when it has changed."""
    (place / "lsun/cat/data.mdb").rename(place / "lsun/my-cats.mdb")
    tree = place / "lsun/tree"
    (tree / "a").mkdir(parents=True)
    (tree / "a/k2.jpg").write_bytes(b"two")
    (tree / "k1.webp").write_bytes(b"one")
    (tree / "gone.png").symlink_to("nowhere")
    (tree / "annotations.jsonl").write_text("")
    exports.PLACES.write_text(f"cat: {place}/lsun/my-cats.mdb\ncar: {tree}\n")
    exports.link_all()
    linked = place / "data/exports/catcar"
    assert (linked / "cat/data.mdb").resolve() == place / "lsun/my-cats.mdb"
    assert (linked / "car/annotations.jsonl").resolve() == tree / "annotations.jsonl"
    assert dict(open_export(linked / "car").items()) == {b"gone": b"", b"k1": b"one", b"k2": b"two"}
    before, bytes_before = (linked / "car/data.mdb").stat().st_mtime_ns, (linked / "car/data.mdb").read_bytes()
    exports.link_all()
    assert (linked / "car/data.mdb").stat().st_mtime_ns == before
    (tree / "k3.jpg").write_bytes(b"three")
    exports.link_all()
    assert dict(open_export(linked / "car").items())[b"k3"] == b"three"
    (tree / "k3.jpg").unlink()
    exports.link_all()
    assert (linked / "car/data.mdb").read_bytes() == bytes_before


def test_an_image_of_a_tree_that_is_not_read_is_an_entry_all_the_same(place):
    """Ingest then rejects it by reason: images of unusual formats are not lost silently; other files are no images."""
    tree = place / "tree"
    tree.mkdir()
    for name in ("a.JFIF", "b.avif", "c.heic", "d.webp", "README.txt", ".hidden"):
        (tree / name).write_bytes(b"bytes")
    assert sorted(open_export(tree).files) == [b"a", b"b", b"c", b"d"]
