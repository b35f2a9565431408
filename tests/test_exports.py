"""Exports have names; where they are is this machine's affair, and what is no export is refused in one line."""

from __future__ import annotations

from pathlib import Path

import lmdb
import pytest
import yaml

from flows import exports
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
        (lambda directory: directory.rename(directory.with_name("moved")), "must be an existing directory"),
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
