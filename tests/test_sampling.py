"""Sampling: the same (seed, prompt), the same picture; snapshots that do not fit are refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import textgan
from tests.tiny_training import settings, write_data
from textgan import train
from textgan.errors import UserError
from textgan.sample import parse_seeds, sample
from textgan.sampling import generate, latents, load_snapshot


@pytest.fixture(scope="module", params=["fastgan", "dfgan"])
def model(request, tmp_path_factory):
    """A snapshot after a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("sampling")
        patch.chdir(root)
        chosen = settings(total_kimg=0.024, generator=request.param)
        train.train("tiny", chosen, *write_data(Path()), Path("model"), Path("runs"))
    return root / "model"


def test_a_picture_depends_on_its_seed_and_prompt_alone(model):
    """Whatever else is asked for beside it, at the head or the tail of a chunk."""
    snapshot = load_snapshot(model)
    prompts = [[2, 4, 5, 3], [2, 4, 6, 7, 8, 3], [2, 9, 3]] * 9
    many = generate(snapshot, prompts, range(27))
    for place in (0, 13, 16, 26):
        assert np.array_equal(generate(snapshot, [prompts[place]], [place])[0], many[place])
    assert not np.array_equal(many[0], many[3])  # the same prompt, another seed


def test_pictures_that_are_not_finite_are_refused(model):
    """Finite weights, NaN pictures: as bytes they would be black ones."""
    snapshot = load_snapshot(model)
    with torch.no_grad():
        for weight in snapshot.net.generator.parameters():
            weight.mul_(1e25)
    assert all(torch.isfinite(weight).all() for weight in snapshot.net.generator.parameters())
    with pytest.raises(UserError, match="G_ema.safetensors: 1 of 1 pictures have values that are not finite") as caught:
        generate(snapshot, [[2, 4, 5, 3]], [1])
    assert "\n" not in str(caught.value)


def test_a_snapshot_that_names_no_generator_is_of_the_first(model, tmp_path):
    """Snapshots from before there were two load as they did; weights of the other one are refused."""
    older = tmp_path / "older"
    shutil.copytree(model, older)
    said = json.loads((older / "snapshot.json").read_text(encoding="utf-8"))
    kind = said["train"].pop("generator")
    (older / "snapshot.json").write_text(json.dumps(said), encoding="utf-8")
    if kind == "fastgan":
        assert np.array_equal(*(generate(load_snapshot(place), [[2, 5, 3]], [1]) for place in (model, older)))
    else:
        with pytest.raises(UserError, match="belongs to another architecture"):
            load_snapshot(older)


def test_latents_do_not_depend_on_their_neighbours():
    """Each seed has its own z."""
    assert latents([5, 7], 8)[1].equal(latents([7], 8)[0])


def test_without_variety_every_seed_gives_the_mean_picture(model):
    """Truncation 0 leaves the prompt alone to decide; 1 changes nothing."""
    snapshot = load_snapshot(model)
    flat = generate(snapshot, [[2, 5, 8, 3]] * 2, [1, 2], truncation=0.0)
    assert np.abs(flat[0].astype(int) - flat[1]).max() <= 1
    assert np.array_equal(generate(snapshot, [[2, 5, 3]], [1]), generate(snapshot, [[2, 5, 3]], [1], truncation=1.0))


def test_sample_writes_a_grid_that_says_what_it_is(model, tmp_path):
    """Prompts in rows, seeds in columns; the PNG carries prompts, seeds, model and version."""
    out = tmp_path / "grid.png"
    sample(model, out, ["a red cat", "un coche azul"], None, "0-2", 1.0, 1, "warn")
    picture = Image.open(out)
    assert json.loads(picture.info["prompts"]) == ["a red cat", "un coche azul"]
    assert json.loads(picture.info["seeds"]) == [0, 1, 2]
    assert picture.info["model"] == json.loads((model / "snapshot.json").read_text())["weights_sha256"]
    assert picture.width >= 3 * 32 and picture.height >= 2 * 32


def test_prompts_come_from_a_file_too(model, tmp_path):
    """After those of the command line, a sentence a line, empty lines left out; the PNG says version and truncation."""
    prompts, out = tmp_path / "prompts.txt", tmp_path / "grid.png"
    prompts.write_text("a blue car\n\nun gato verde\n", encoding="utf-8")
    sample(model, out, ["a red cat"], prompts, "0", 0.7, 1, "warn")
    picture = Image.open(out)
    assert json.loads(picture.info["prompts"]) == ["a red cat", "a blue car", "un gato verde"]
    assert picture.info["textgan"] == textgan.__version__ and picture.info["truncation"] == "0.7"
    with pytest.raises(UserError, match="none.txt: cannot be read"):
        sample(model, out, None, tmp_path / "none.txt", "0", 1.0, 1, "warn")


@pytest.mark.parametrize("value", [-0.1, 2.5, float("nan")])
def test_a_truncation_that_is_none_is_refused(model, tmp_path, value):
    """The message shows the value."""
    with pytest.raises(UserError, match="--truncation is"):
        sample(model, tmp_path / "grid.png", ["a red cat"], None, "0", value, 1, "warn")


def test_unknown_words_are_named_with_known_ones_near(model, tmp_path, capsys):
    """A warning by default; an error where no word is known, or where errors are asked for."""
    sample(model, tmp_path / "grid.png", ["a gren cat"], None, "0", 1.0, 1, "warn")
    assert "gren (near: green" in capsys.readouterr().err
    with pytest.raises(UserError, match="gren"):
        sample(model, tmp_path / "grid.png", ["a gren cat"], None, "0", 1.0, 1, "error")
    with pytest.raises(UserError, match="never saw"):
        sample(model, tmp_path / "grid.png", ["xyzzy"], None, "0", 1.0, 1, "warn")


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,,2", "0-5000"])
def test_seeds_that_are_none_are_refused(text):
    """The message shows the value."""
    with pytest.raises(UserError, match="--seeds"):
        parse_seeds(text)


def test_seeds_are_lists_and_ranges():
    """0-2,5 is 0, 1, 2, 5."""
    assert parse_seeds("0-2,5") == [0, 1, 2, 5]


def test_snapshots_that_do_not_fit_are_refused(model, tmp_path):
    """Another vocabulary, architecture or format, or a missing file: the message names the file."""
    for name, change, says in (
        (
            "vocabulary",
            lambda place: (place / "vocabulary.json").write_text('{"words": [], "sha256": ""}'),
            "vocabulary",
        ),
        ("architecture", lambda place: _edit(place, "g_channels", 4), "another architecture"),
        ("resolution", lambda place: _say(place, width=64), "another architecture"),
        ("size", lambda place: _say(place, width=100), "100x32 cannot be built"),
        ("format", lambda place: _say(place, format=1), "snapshot.json: format is 1; this version reads 2"),
        ("missing", lambda place: (place / "G_ema.safetensors").unlink(), "no such file"),
    ):
        shutil.copytree(model, tmp_path / name)
        change(tmp_path / name)
        with pytest.raises(UserError, match=says):
            load_snapshot(tmp_path / name)


def _edit(place: Path, key: str, value: int) -> None:
    info = json.loads((place / "snapshot.json").read_text())
    info["train"][key] = value
    (place / "snapshot.json").write_text(json.dumps(info))


def _say(place: Path, **changes: int) -> None:
    info = json.loads((place / "snapshot.json").read_text())
    (place / "snapshot.json").write_text(json.dumps({**info, **changes}))


def test_without_texts_no_prompt_is_heard(tmp_path, monkeypatch):
    """A training with captions none never learnt a word: its pictures, and what scores them, hear none either."""
    monkeypatch.chdir(tmp_path)
    heard = []
    monkeypatch.setattr(train.Caretaker, "_tick", lambda self: heard.append(self.captions))
    train.train("tiny", settings(captions="none"), *write_data(Path()), Path("model"), Path("runs"))
    assert heard and not any(ids.any() for ids in heard)
    snapshot = load_snapshot(Path("model"))
    said, silent = (generate(snapshot, prompts, [3, 4]) for prompts in ([[4, 5], [6, 7, 8]], [[], []]))
    assert np.array_equal(said, silent) and not np.array_equal(said[0], said[1])
