"""Files are whole or absent, and the same value has the same bytes."""

from __future__ import annotations

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
