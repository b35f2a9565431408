"""Where a build by hand may publish: nothing of others is lost, and what cannot be is one line."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import build, images, work_places
from pipeline.export_zip import export_zip
from pipeline.verify import verify
from tests.lmdb_exports import pictures, write_lmdb
from textgan.dataset import ImageShards
from textgan.errors import UserError

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An LMDB directory with twelve good pictures."""
    return write_lmdb(tmp_path_factory.mktemp("exports") / "cat", pictures(12))


def by_hand(export: Path | str, out: Path | str, *more: str) -> str:
    """What `python -m pipeline.images EXPORT OUT ...` does, in this process."""
    arguments = [str(export), str(out), "--width", "32", "--height", "24", "--workers", "1", *more]
    return images.by_hand(images.parser().parse_args(arguments))


def everything(directory: Path) -> dict[str, bytes]:
    """The files below a directory by path."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def keys(out: Path) -> int:
    """How many images a built directory has."""
    return sum(len(ImageShards(out, split)) for split in ("train", "select", "test"))


def put_in_earlier_build(export: Path, tmp_path: Path) -> tuple[Path, Path]:
    by_hand(export, tmp_path / "out")
    source = tmp_path / "out/src.mdb"
    source.write_bytes((export / "data.mdb").read_bytes())
    return source, tmp_path / "out"


def linked_from_outside(export: Path, tmp_path: Path) -> tuple[Path, Path]:
    _, out = put_in_earlier_build(export, tmp_path)
    (tmp_path / "link.mdb").symlink_to(out / "src.mdb")
    return tmp_path / "link.mdb", out


def named_like_a_shard(export: Path, tmp_path: Path) -> tuple[Path, Path]:
    by_hand(export, tmp_path / "out")
    source = tmp_path / "out/train-00000.tar"
    source.write_bytes((export / "data.mdb").read_bytes())
    return source, tmp_path / "out"


def in_the_work_place(export: Path, tmp_path: Path) -> tuple[Path, Path]:
    source = tmp_path / ".out.unfinished/data.mdb"
    source.parent.mkdir()
    source.write_bytes((export / "data.mdb").read_bytes())
    return source.parent, tmp_path / "out"


def out_in_the_export(export: Path, tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/data.mdb").write_bytes((export / "data.mdb").read_bytes())
    return tmp_path / "cat", tmp_path / "cat/shards"


def out_is_the_export(export: Path, tmp_path: Path) -> tuple[Path, Path]:
    source, _ = out_in_the_export(export, tmp_path)
    return source, source


@pytest.mark.parametrize(
    "arranged",
    [
        put_in_earlier_build,
        linked_from_outside,
        named_like_a_shard,
        in_the_work_place,
        out_in_the_export,
        out_is_the_export,
    ],
)
def test_the_export_is_never_replaced(export: Path, tmp_path: Path, arranged: Callable) -> None:
    """An export in OUT, behind a link, in the place of unfinished work; OUT in the export: refused, all untouched."""
    source, out = arranged(export, tmp_path)
    before = everything(tmp_path)
    with pytest.raises(UserError, match="name another place|name a place outside|move that"):
        by_hand(source, out)
    assert everything(tmp_path) == before


def test_the_overlap_is_named(export: Path, tmp_path: Path) -> None:
    """Also where all in OUT looks like a build's."""
    source, out = named_like_a_shard(export, tmp_path)
    with pytest.raises(UserError, match="the export .*train-00000.tar lies in it and would be replaced"):
        by_hand(source, out)


def web_app(out: Path) -> None:
    (out / "manifest.json").write_text('{"name": "app", "icons": []}')
    (out / "index.html").write_text("")


def pairs_with_a_thesis(out: Path) -> None:
    (out / "manifest.json").write_text('{"format": 1, "dataset": "d", "splits": {"train": {"rows": 3}}}')
    (out / "thesis.tex").write_text("")


def manifest_of_a_list(out: Path) -> None:
    value = dict.fromkeys(("dataset", "width", "height", "geometry", "small", "encoding", "read", "written"), 1)
    splits = {split: {"shards": []} for split in ("train", "select", "test")}
    text = json.dumps(value | {"format": 1, "upscaled": 0, "rejected": [], "splits": splits})
    (out / "manifest.json").write_text(text)


@pytest.mark.parametrize("made", [web_app, pairs_with_a_thesis, manifest_of_a_list])
def test_another_manifest_is_no_build(export: Path, tmp_path: Path, made: Callable) -> None:
    """A file of that name alone does not make a directory ours to replace."""
    out = tmp_path / "out"
    out.mkdir()
    made(out)
    before = everything(tmp_path)
    with pytest.raises(UserError, match="holds no image shards"):
        by_hand(export, out)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "train-00099.tar", "album/photo.txt"])
def test_what_was_put_beside_shards_is_kept(export: Path, tmp_path: Path, name: str) -> None:
    """An earlier build is replaced only where nothing else is in its directory; the foreign file is named."""
    out = tmp_path / "out"
    by_hand(export, out)
    by_hand(export, out, "--limit", "5")  # alone it is replaced
    assert keys(out) == 5
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("mine")
    before = everything(tmp_path)
    with pytest.raises(UserError, match=f"holds {name.split('/')[0]}, which no build made"):
        by_hand(export, out)
    assert everything(tmp_path) == before


def test_what_comes_while_a_build_runs_is_kept(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OUT is looked at again before it is replaced; the finished shards wait for the next command."""
    out, original = tmp_path / "out", build.build_shard

    def put_beside(task):
        out.mkdir(exist_ok=True)
        (out / "notes.txt").write_text("mine")
        return original(task)

    monkeypatch.setattr(build, "build_shard", put_beside)
    with pytest.raises(UserError, match="holds no image shards"):
        by_hand(export, out)
    assert (out / "notes.txt").read_text() == "mine"
    assert list(tmp_path.glob(".out.unfinished/*/*.tar"))


def test_out_may_be_where_we_stand(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cd out && ... ../cat . `: the new build replaces the old one, and nothing is left beside it."""
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/data.mdb").write_bytes((export / "data.mdb").read_bytes())
    by_hand(export, tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    assert f"shards in {tmp_path}/out" in by_hand("../cat", ".", "--limit", "5")
    monkeypatch.chdir(tmp_path)
    assert keys(tmp_path / "out") == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cat", "out"]


def test_a_linked_out_stays_a_link(export: Path, tmp_path: Path) -> None:
    """The directory that it names is replaced, also one that is not there yet; nothing comes beside the link."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here/out").symlink_to(tmp_path / "disk/big")
    for limit in ("7", "5"):
        by_hand(export, tmp_path / "here/out", "--limit", limit)
        assert (tmp_path / "here/out").is_symlink()
        assert keys(tmp_path / "disk/big") == int(limit)
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["big"]


@pytest.mark.parametrize("out", ["", "/", "/proc", "loop"])
def test_places_that_cannot_be_replaced(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    """No name, the root, a mounted file system, a loop of links: one line before anything is read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match="OUT is|a file system begins there|leads to itself"):
        by_hand(export, out)
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


@pytest.mark.parametrize("out", ["file/out", "/proc/here/out", "n" * 250])
def test_places_where_nothing_can_be_made(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    """Below a file, in /proc, a name that is too long: one line that names the place."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Not a directory|No such file|too long"):
        by_hand(export, out)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_read_only_place(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system refuses is one line (a test may run as root, whom no mode stops)."""

    def refuse(work: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(work))

    monkeypatch.setattr(work_places, "locked", refuse)
    with pytest.raises(UserError, match=r"\.out\.unfinished: Read-only file system"):
        by_hand(export, tmp_path / "out")


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (("--workers", "-3"), "--workers is -3; it must be from 1 to 1024"),
        (("--workers", "0"), "--workers is 0; it must be"),
        (("--max-pixels", "0"), "max_pixels is 0; it must be at least 1"),
        (("--limit", "-1"), "--limit is -1; it must be at least 1"),
        (("--limit", "0"), "--limit is 0; it must be at least 1"),
    ],
)
def test_numbers_that_mean_nothing(export: Path, tmp_path: Path, more: tuple[str, ...], line: str) -> None:
    """Each is one line with the rule, and leaves nothing."""
    with pytest.raises(UserError, match=line):
        by_hand(export, tmp_path / "out", *more)
    assert not list(tmp_path.iterdir())


def test_workers_of_the_environment(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A superscript two is a digit and no number."""
    monkeypatch.setenv("TEXTGAN_WORKERS", "²")
    arguments = [str(export), str(tmp_path / "out"), "--width", "32", "--height", "24"]
    with pytest.raises(UserError, match="TEXTGAN_WORKERS is '²'; it must be a number from 1 to 1024"):
        images.by_hand(images.parser().parse_args(arguments))


def test_no_room_for_the_inventory(export: Path, tmp_path: Path) -> None:
    """A disk that is full before the first shard: one line, and no trace, for nothing was finished."""
    code = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "sys.argv[0] = 'images'; runpy.run_module('pipeline.images', run_name='__main__')"
    )
    arguments = [str(export), "out", "--width", "32", "--height", "24", "--workers", "1"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code, *arguments]
    full = subprocess.run(command, cwd=tmp_path, text=True, env=environment, capture_output=True)
    assert full.returncode == 1
    assert full.stderr.strip().splitlines()[-1].startswith("error: ") and "File too large" in full.stderr
    assert "Traceback" not in full.stderr
    assert not list(tmp_path.iterdir())


def test_no_room_for_the_publication(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full at the end: one line, the old build stands, the shards wait for the next command."""
    out = tmp_path / "out"
    by_hand(export, out, "--limit", "5")
    before = everything(out)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "Error writing bytes to file")

    with monkeypatch.context() as patched:
        patched.setattr(build, "write_json", full)
        with pytest.raises(UserError, match="out: No space left on device; what is finished is kept"):
            by_hand(export, out)
    assert everything(out) == before
    assert list(tmp_path.glob(".out.unfinished/*/*.tar"))
    by_hand(export, out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_export_without_images_is_named(tmp_path: Path) -> None:
    """`none can be kept` says of which export, and leaves nothing behind."""
    export = write_lmdb(tmp_path / "bad", {b"a": b"text", b"b": pictures(1).popitem()[1][:300]})
    with pytest.raises(UserError, match=f"{export}: none of 2 images can be kept"):
        by_hand(export, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]


def test_a_file_is_no_directory_of_shards(tmp_path: Path) -> None:
    """`verify FILE` and `export-zip FILE` are one line."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="must be a directory of image shards"):
        verify(tmp_path / "file")
    with pytest.raises(UserError, match="must be a directory of image shards"):
        export_zip(tmp_path / "file", tmp_path / "out.zip")
