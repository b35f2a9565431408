"""The drawn export: what it may show, that it is the same everywhere, and that LSUN's readers can read it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import Image

from pipeline.draw import KINDS, check_place, draw_export, draw_one, picture, sample_export
from textgan.errors import UserError
from textgan.facts import drawn
from textgan.facts.heldout import heldout, heldout_facts, is_heldout
from textgan.facts.schema import VALUES

SEED, IMAGES = 5, 12


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("drawn") / "export"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXTGAN_WORKERS", "1")
        sample_export(out, images=IMAGES, seed=SEED)
    return out


def entries(directory: Path) -> dict[bytes, bytes]:
    with lmdb.open(str(directory), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return dict(transaction.cursor())


def tree(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_files_of_an_export(export: Path) -> None:
    """Nothing but the documented files is left: no lock.mdb, no spool."""
    names = {f"{kind}/{name}" for kind in KINDS for name in ("data.mdb", "annotations.jsonl")}
    assert set(tree(export)) == names | {"heldout.json"}


def test_keys_are_sha1_of_values_that_decode(export: Path) -> None:
    """Keys are 40 hex digits; every value is a picture whose smaller side is 256 and larger at most 340."""
    for kind in KINDS:
        found = entries(export / kind)
        assert len(found) == IMAGES
        for key, value in found.items():
            assert key.decode() == hashlib.sha1(value, usedforsecurity=False).hexdigest()
            with Image.open(io.BytesIO(value)) as image:
                image.load()
                assert min(image.size) == 256 and max(image.size) <= 340


def test_formats_are_mixed() -> None:
    """JPEG, WebP and PNG values all occur in a few dozen pictures."""
    formats = set()
    for idx in range(60):
        with Image.open(io.BytesIO(draw_one(0, "car", idx)[2])) as image:
            formats.add(image.format)
    assert formats == {"JPEG", "WEBP", "PNG"}


def test_annotations_name_each_key_once(export: Path) -> None:
    """One line for each LMDB key, in key order, with facts of the schema and captions in two languages."""
    for kind in KINDS:
        lines = [json.loads(line) for line in (export / kind / "annotations.jsonl").read_text("utf-8").splitlines()]
        assert [line["key"].encode() for line in lines] == sorted(entries(export / kind))
        for line in lines:
            assert line["facts"]["kind"] == kind and drawn.drawable(line["facts"])
            assert all(value in VALUES[name] for name, value in line["facts"].items())
            assert set(line["captions"]) == {"en", "es"} and all(line["captions"].values())


def test_any_number_of_workers_gives_the_same_bytes(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes that finish in any order write what one process writes."""
    monkeypatch.setenv("TEXTGAN_WORKERS", "2")
    draw_export(tmp_path, IMAGES, SEED)
    assert tree(tmp_path) == tree(export)


def test_another_seed_gives_other_pictures() -> None:
    """The seed decides facts and shapes."""
    assert draw_one(1, "cat", 0)[0] != draw_one(2, "cat", 0)[0]
    facts = drawn.picture_facts(1, "cat", 0, heldout())
    assert not np.array_equal(picture(facts, 1, 0)[:200, :200], picture(facts, 2, 0)[:200, :200])


def test_facts_of_training_pictures() -> None:
    """Held-out combinations never occur, every other value and pair does, and all may be drawn."""
    for kind in KINDS:
        seen = [drawn.picture_facts(0, kind, idx, heldout()) for idx in range(4000)]
        assert not any(map(is_heldout, seen)) and all(map(drawn.drawable, seen))
        pairs = {(facts["colour"], facts["background"]) for facts in seen}
        left_out = {(facts["colour"], facts["background"]) for facts in heldout() if facts["kind"] == kind}
        possible = {(c, b) for c in drawn.OBJECT_PALETTE for b in drawn.BACKGROUND_PALETTE if drawn.pair_allowed(c, b)}
        assert pairs == possible - left_out
        for name in ("side", "framing", "facing", "light", "pattern" if kind == "cat" else "body"):
            assert {facts[name] for facts in seen} == set(VALUES[name])


def test_heldout_combinations() -> None:
    """About forty, distinct, drawable; each colour and background is held out with a kind and trained with it."""
    combinations = heldout()
    assert 35 <= len(combinations) <= 45
    assert len({tuple(sorted(facts.items())) for facts in combinations}) == len(combinations)
    assert all(drawn.drawable(facts) for facts in combinations)
    assert {facts["colour"] for facts in combinations} == set(drawn.OBJECT_PALETTE)
    assert {facts["background"] for facts in combinations} == set(drawn.BACKGROUND_PALETTE)
    prompts = heldout_facts(0, 2 * len(combinations))
    assert all(map(is_heldout, prompts)) and all(map(drawn.drawable, prompts))


def test_palette_sizes() -> None:
    """The export shows at least 10 object colours and 8 backgrounds, all words of the schema."""
    assert len(drawn.OBJECT_PALETTE) >= 10 and len(drawn.BACKGROUND_PALETTE) >= 8
    assert set(drawn.OBJECT_PALETTE) <= set(VALUES["colour"])
    assert set(drawn.BACKGROUND_PALETTE) <= set(VALUES["background"])


def test_random_facts_of_what_cannot_be_drawn() -> None:
    """A combination that is never drawable is an error, not an endless search."""
    with pytest.raises(ValueError, match="no picture can be drawn"):
        drawn.random_facts("cat", 0, {"colour": "blue", "background": "blue"})


@pytest.mark.parametrize("images", [0, -3, 10_000_001])
def test_impossible_counts(images: int, tmp_path: Path) -> None:
    """The message names the option and the rule; nothing is written."""
    with pytest.raises(UserError, match=r"--images is .* must be between 1 and"):
        sample_export(tmp_path / "out", images=images, seed=0)
    assert not list(tmp_path.iterdir())


def test_only_a_drawn_export_is_replaced(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other people's directories, files and links are refused."""
    check_place(export)
    check_place(tmp_path)
    check_place(tmp_path / "new")
    (tmp_path / "notes.txt").write_text("mine")
    for place, rule in ((tmp_path, "is not empty"), (tmp_path / "notes.txt", "no directory")):
        with pytest.raises(UserError, match=rule):
            check_place(place)
    (tmp_path / "link").symlink_to(export)
    with pytest.raises(UserError, match="no directory"):
        check_place(tmp_path / "link")
    monkeypatch.chdir(export)
    with pytest.raises(UserError, match="current directory"):
        check_place(Path("."))


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """A parent that is a file: one line that names the place."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        sample_export(tmp_path / "file" / "out", images=1, seed=0)


def test_a_failure_leaves_no_half_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When drawing fails in the second kind, neither OUT nor a temporary directory remains."""

    def full_disk(seed: int, kind: str, index: int) -> tuple[str, dict[str, str], bytes]:
        if kind == "car":
            raise OSError(28, "No space left on device")
        return draw_one(seed, kind, index)

    monkeypatch.setenv("TEXTGAN_WORKERS", "1")
    monkeypatch.setattr("pipeline.draw.draw_one", full_disk)
    with pytest.raises(UserError, match="No space left"):
        sample_export(tmp_path / "out", images=2, seed=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("workers", ["0", "two", "-1"])
def test_bad_worker_counts(workers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TEXTGAN_WORKERS is checked before anything is drawn."""
    monkeypatch.setenv("TEXTGAN_WORKERS", workers)
    with pytest.raises(UserError, match="TEXTGAN_WORKERS"):
        sample_export(tmp_path / "out", images=1, seed=0)


def test_the_stage_publishes_what_params_say(tmp_path: Path) -> None:
    """`python -m pipeline.draw D` writes data/exports/D, and names the datasets it knows."""
    root = Path(__file__).resolve().parents[1]
    text = (root / "presets" / "sample.yaml").read_text("utf-8")
    assert "images: 4000" in text
    (tmp_path / "params.yaml").write_text(text.replace("images: 4000", "images: 3"), "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(root), "TEXTGAN_WORKERS": "1"}
    command = [sys.executable, "-m", "pipeline.draw"]
    subprocess.run([*command, "catcar"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert len(entries(tmp_path / "data/exports/catcar/cat")) == 3
    wrong = subprocess.run([*command, "dogs"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert wrong.returncode == 1 and wrong.stderr == "error: params.yaml: draw has no 'dogs'; it has catcar\n"
