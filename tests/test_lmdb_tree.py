"""A damaged LMDB is refused in one line: it crashes nothing and loses nothing in silence."""

from __future__ import annotations

import random
from pathlib import Path

import lmdb
import pytest

from pipeline import images
from pipeline.exports import LmdbExport
from tests.lmdb_exports import pictures, write_lmdb
from textgan.errors import UserError

PAGE = 4096


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough entries for branch pages; some values lie inside leaves, most on pages of their own."""
    values = pictures(60) | {f"f{idx:039x}".encode(): bytes([idx % 256]) * (idx % 3000) for idx in range(400)}
    return write_lmdb(tmp_path_factory.mktemp("tree") / "cat", values)


def structure(raw: bytes) -> list[int]:
    """Offsets of the pages that look like branches, leaves or the beginnings of values."""
    starts = range(2 * PAGE, len(raw), PAGE)
    return [at for at in starts if int.from_bytes(raw[at : at + 8], "little") == at // PAGE and raw[at + 10] & 7]


def damaged(export: Path, place: Path, at: int, foreign: bytes) -> Path:
    raw = bytearray((export / "data.mdb").read_bytes())
    raw[at : at + len(foreign)] = foreign
    place.mkdir(exist_ok=True)
    (place / "data.mdb").write_bytes(raw)
    return place


def test_entries_are_those_that_lmdb_gives(export):
    ours = list(LmdbExport(export / "data.mdb").items())
    with lmdb.open(str(export), readonly=True, lock=False) as environment, environment.begin() as transaction:
        assert ours == list(transaction.cursor().iternext(keys=True, values=True))


@pytest.mark.parametrize("seed", range(40))
def test_bytes_overwritten_in_the_middle(export, tmp_path, seed):
    """All keys come in order, or one line does; the pages that hold the tree never pass unnoticed."""
    chance = random.Random(seed)
    raw = (export / "data.mdb").read_bytes()
    whole = [key for key, _ in LmdbExport(export / "data.mdb").items()]
    page = chance.choice(structure(raw))
    foreign = chance.randbytes(chance.choice([8, 16, 64, PAGE])) if seed % 2 else bytes(chance.choice([16, PAGE]))
    place = damaged(export, tmp_path / "cat", page, foreign)
    with pytest.raises(UserError, match=r"data\.mdb: the LMDB is damaged: .*bring the file again"):
        assert [key for key, _ in LmdbExport(place / "data.mdb").items()] == whole


@pytest.mark.parametrize("seed", range(20))
def test_anything_anywhere_gives_all_keys_or_one_line(export, tmp_path, seed):
    chance = random.Random(seed)
    size = (export / "data.mdb").stat().st_size
    place = damaged(export, tmp_path / "cat", chance.randrange(2 * PAGE, size - 64), chance.randbytes(64))
    try:
        found = list(LmdbExport(place / "data.mdb").items())
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert len(found) == 460


def test_a_build_from_it_is_refused_and_leaves_nothing(export, tmp_path):
    page = structure((export / "data.mdb").read_bytes())[0]
    place = damaged(export, tmp_path / "cat", page, bytes(PAGE))
    arguments = [str(place), str(tmp_path / "out"), "--width", "32", "--height", "32", "--workers", "1"]
    with pytest.raises(UserError, match="the LMDB is damaged"):
        images.by_hand(images.parser().parse_args(arguments))
    assert not (tmp_path / "out").exists()
