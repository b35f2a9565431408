"""Files are whole or absent, and the same value has the same bytes."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from textgan import files
from textgan.seeds import derive_seed, unit_interval


def test_publishing_leaves_nothing_when_it_fails(tmp_path: Path) -> None:
    """A failure inside the block leaves the old directory and no trace of the new one."""
    out = tmp_path / "out"
    with files.publishing(out) as built:
        (built / "a").write_text("old")
    with pytest.raises(RuntimeError), files.publishing(out) as built:
        (built / "a").write_text("new")
        raise RuntimeError
    assert (out / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_publishing_replaces_a_directory_whole(tmp_path: Path) -> None:
    """Files of the former build do not stay behind."""
    out = tmp_path / "out"
    for name in ("first", "second"):
        with files.publishing(out) as built:
            (built / name).write_text(name)
    assert [path.name for path in out.iterdir()] == ["second"]


def test_json_is_canonical(tmp_path: Path) -> None:
    """Key order does not show in the bytes; NaN is refused, not written."""
    files.write_json(tmp_path / "a.json", {"b": 1, "a": "ñ"})
    files.write_json(tmp_path / "b.json", {"a": "ñ", "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    with pytest.raises(ValueError):
        files.to_json({"a": float("nan")})


def test_fingerprints_tell_values_apart() -> None:
    """Unfinished work of other parameters is never found."""
    assert files.fingerprint({"a": 1}) == files.fingerprint({"a": 1})
    assert files.fingerprint({"a": 1}) != files.fingerprint({"a": 2})


def test_seeds_depend_on_their_names_alone() -> None:
    """Known values: a change here would change every split and every picture."""
    assert derive_seed(0, "caption", "cat-1") == derive_seed(0, "caption", "cat-1")
    assert derive_seed(0, "a", "b") != derive_seed(0, "b", "a")
    assert derive_seed(0, "split", "cat-1") == 4899633141020325192
    values = [unit_interval(0, "split", idx) for idx in range(2000)]
    assert 0 <= min(values) and max(values) < 1 and abs(sum(values) / len(values) - 0.5) < 0.03


def test_the_old_stands_until_the_new_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the second rename fails, or the process is killed before it, the former directory is not lost."""
    out, rename = tmp_path / "out", files.os.replace
    with files.publishing(out) as built:
        (built / "a").write_text("old")

    def fails_for_the_new(source: Path, target: Path) -> None:
        if ".publishing-" in Path(source).name:
            raise OSError(5, "Input/output error")
        rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "replace", fails_for_the_new)
        with pytest.raises(OSError, match="Input/output"), files.publishing(out) as built:
            (built / "a").write_text("new")
    assert (out / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    out.rename(tmp_path / ".out.former-x")  # killed between the two renames
    (tmp_path / ".out.publishing-x").mkdir()
    files.discard_unpublished(out)
    assert (out / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """What is published behind a link is where the link leads."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk/big")
    for text in ("old", "new"):
        with files.publishing(tmp_path / "out") as built:
            (built / "a").write_text(text)
    assert (tmp_path / "out").is_symlink() and (tmp_path / "disk/big/a").read_text() == "new"
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["big"]


def test_a_directory_that_cannot_be_renamed_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """overlayfs says EXDEV of a directory that came with a container's image."""
    out, rename = tmp_path / "out", files.os.replace
    with files.publishing(out) as built:
        (built / "a").write_text("old")

    def refuses_the_old(source: Path, target: Path) -> None:
        if Path(source) == out:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(files.os, "replace", refuses_the_old)
    with files.publishing(out) as built:
        (built / "a").write_text("new")
    assert (out / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
