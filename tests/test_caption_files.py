"""`textgan caption` and `textgan captions-sheet`: one's own pictures, labels, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import captions
from pipeline.caption_files import caption
from pipeline.captioners import Claims, Picture
from pipeline.captions_sheet import CELL_PX, captions_sheet
from tests.caption_data import PARAMS, make_dataset
from textgan.errors import UserError
from textgan.facts.schema import Fact

RED, GREY = (200, 20, 20), (120, 120, 120)
TURN_RIGHT = 6
"""EXIF orientation: to be shown turned by a quarter, clockwise."""


class SeesRed:
    """Says the kind that it was told, and red of what is red; nothing without a kind."""

    def __init__(self, thresholds) -> None:
        assert thresholds["cat"]

    def caption(self, pictures: list[Picture]) -> list[Claims]:
        found = []
        for picture in pictures:
            kind = (Fact("kind", picture.export, 1.0, "export"),) if picture.export in ("cat", "car") else ()
            reddish = picture.pixels is not None and picture.pixels[..., 0].mean() > 150
            found.append(Claims((*kind, Fact("colour", "red", 0.9, "probe")) if kind and reddish else kind))
        return found


@pytest.fixture
def pictures(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr("pipeline.captioners.measured.MeasuredCaptioner", SeesRed)
    directory = tmp_path / "pictures"
    (directory / "more").mkdir(parents=True)
    Image.new("RGB", (40, 30), RED).save(directory / "one.png")
    Image.new("RGB", (40, 30), GREY).save(directory / "more" / "two.jpg")
    (directory / "notes.txt").write_text("no picture")
    return directory


def test_facts_and_captions_are_printed(pictures, capsys):
    """Each picture with its facts, then captions in both languages; silence is said as such."""
    caption([pictures / "one.png", pictures / "more" / "two.jpg"], kind="car", count=2)
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == [str(pictures / "one.png"), "  kind car (1.00), colour red (0.90)"]
    assert [line[:5] for line in printed[2:6]] == ["  en:", "  en:", "  es:", "  es:"]
    assert all("red" in line for line in printed[2:4]) and all("rojo" in line for line in printed[4:6])
    assert "red" not in "".join(printed[6:])
    caption([pictures / "one.png"], kind=None, count=1)
    assert capsys.readouterr().out.splitlines()[1] == "  neither a cat nor a car for sure: nothing is said"


@pytest.mark.parametrize("content", [b"", b"no picture at all", None])
def test_what_is_no_picture_is_named(pictures, content):
    """An empty file, text, and a file that is not there: one line with its name."""
    path = pictures / "bad.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="bad.png: ") as caught:
        caption([path], kind="cat", count=1)
    assert "\n" not in str(caught.value)


def test_labels_are_marked_and_counted(pictures, tmp_path, capsys):
    """Wrong claims are red, right ones green, others plain; the counts are printed."""
    labels = tmp_path / "labels.csv"
    labels.write_text("key,colour,colour_alt\none,blue,\n")
    for name, told, counted in (("wrong.png", "blue", "0.0%"), ("right.png", "blue|red", "100.0%")):
        labels.write_text(f"key,colour,colour_alt\none,blue,{told}\n")
        captions_sheet(pictures, tmp_path / name, labels, kind="car", limit=10, seed=0)
        printed = capsys.readouterr().out
        assert "2 images" in printed and counted in printed
    wrong, right = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("wrong.png", "right.png"))
    assert wrong.shape == right.shape and (wrong != right).any()
    texts = wrong[CELL_PX + 5 :], right[CELL_PX + 5 :]
    assert [bool(((text[..., 0] - text[..., 1]) > 100).any()) for text in texts] == [True, False]


def test_a_turned_picture_is_shown_upright(tmp_path, monkeypatch):
    """The sheet shows what the captioner saw: EXIF orientation is obeyed."""
    monkeypatch.setattr("pipeline.captioners.measured.MeasuredCaptioner", SeesRed)
    exif = Image.Exif()
    exif[0x0112] = TURN_RIGHT
    (tmp_path / "in").mkdir()
    Image.new("RGB", (40, 20), RED).save(tmp_path / "in" / "turned.jpg", exif=exif)
    captions_sheet(tmp_path / "in", tmp_path / "out.png", None, kind="car", limit=1, seed=0)
    shown = np.asarray(Image.open(tmp_path / "out.png")).astype(int)[4 : CELL_PX + 4]
    reddish = (shown[..., 0] - shown[..., 1]) > 100
    assert np.ptp(np.nonzero(reddish.any(1))[0]) > 1.8 * np.ptp(np.nonzero(reddish.any(0))[0])


def test_a_datasets_test_split_is_drawn(tmp_path, monkeypatch, capsys):
    """data/images/D with data/captions/D: the captions that are there, labels by LMDB key."""
    monkeypatch.chdir(tmp_path)
    tars, inventory = make_dataset(tmp_path / "made")
    Path("data/images").mkdir(parents=True)
    tars.rename("data/images/d")
    captions.run(Path("data/images/d"), inventory, Path("data/captions/d"), PARAMS, "d")
    Path("labels.csv").write_text("key,colour\ntest0,red\ntest1,red\n")
    captions_sheet(Path("data/images/d"), Path("sheet.png"), Path("labels.csv"), kind=None, limit=48, seed=0)
    printed = capsys.readouterr().out
    assert "sheet.png: 5 images" in printed and "50.0%" in printed


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"directory": "nowhere"}, "nowhere: no such directory"),
        ({"directory": "empty"}, "empty: has no image files"),
        ({"kind": "dog"}, "--kind is 'dog'; it must be cat or car"),
        ({"out": "sheet.txt"}, "sheet.txt; it must be a file that ends in .png"),
        ({"out": "nowhere/sheet.png"}, "in a directory that is there"),
        ({"labels": "others.csv"}, "others.csv: none of its 1 keys is among the images"),
        ({"labels": "missing.csv"}, "missing.csv: no such file"),
    ],
)
def test_what_cannot_be_drawn_is_named(pictures, tmp_path, monkeypatch, options, match):
    """One line, before anything is written."""
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("others.csv").write_text("key,colour\nsomebody,red\n")
    wanted = {"directory": pictures, "out": "sheet.png", "labels": None, "kind": "cat", "limit": 5, "seed": 0} | options
    for name in ("directory", "out", "labels"):
        wanted[name] = wanted[name] and Path(wanted[name])
    with pytest.raises(UserError, match=match):
        captions_sheet(**wanted)
    assert not Path("sheet.png").exists()
