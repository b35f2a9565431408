"""The page of a full result in a browser: everything open, a phone and a wide window, light and dark."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.browser import chromium
from tests.test_report_page import NO_COPIES, REPOSITORY, beside_chance, share, write_evaluation
from textgan.metrics.sheets import Sheets
from textgan.report import paper
from textgan.report.__main__ import main


def write_full_evaluation(directory: Path) -> None:
    """An evaluation with every part that the page can show, in numbers as wide as real ones."""
    write_evaluation(directory)
    value = json.loads((directory / "metrics.json").read_text(encoding="utf-8"))
    sheets = Sheets(directory)
    sheets.index = value["sheets"]
    images = np.random.default_rng(1).integers(0, 256, (24, 16, 16, 3)).astype(np.uint8)
    sheets.rows("apart", [images[:8], images[8:16]], ["a red car", "un gato azul"], ["en", "es"])
    sheets.tiles("neighbours", images, ["samples", "nearest in features", "nearest in pixels"])
    ruins = {"blurred": 1.0727, "collapsed": 0.617998, "other_kind": 3.34543}
    for number in list(value["numbers"]):
        number |= {"ceilings": ruins, "deviation": 0.0221138 if number["what"] in ("kid", "fd") else None}
        patches = {"extractor": "patches8", "name": number["name"].replace("lite2", "patches8"), "value": -0.00144286}
        value["numbers"].append({**number, **patches})
    colours = ["black", "white", "grey", "brown", "orange", "red", "yellow", "green", "blue", "purple", "pink"]
    fact = value["agreement"]["facts"][0]
    fact |= {"values": [*colours, "(none)"], "confusion": [[50 * (y == x) for x in range(12)] for y in range(11)]}
    value["agreement"]["facts"] = [{**fact, "name": name} for name in ("kind", "colour", "background")]
    value["agreement"]["by_language"] = {tongue: {"colour": beside_chance(0.9, 0.1)} for tongue in ("en", "es")}
    names = ("colour_right", "kind_kept", "side_kept", "background_kept")
    value["apart"] = {
        "colours": colours[:8], "colour_right": 0.9, "kept": {name[:-5]: 0.9 for name in names[1:]}, "rows": 2,
        "pictures": 16, "intervals": dict.fromkeys(names, share(0.9)), "chance": dict.fromkeys(names, share(0.3)),
    }  # fmt: skip
    kind = {"kid": 1.41559, "low": 1.33552, "high": 1.50802, "floor": 0.000347751, "images": 501}
    kind |= {"deviation": 0.0221138, "ceilings": ruins}
    value["by_kind"] = {"car": kind, "cat": kind}
    planted = {"share": 0.05, "jpeg_quality": 75, "nearer_than_test": 0.0612, "found": 1.0, "flagged": True}
    searched = {**NO_COPIES, "nearer_than_test": 0.001, "low": 0.0, "high": 0.004, "flagged": False}
    searched |= {"train_images": 6437, "all_of_train": True, "planted": planted, "planted_hard": planted}
    value["memorisation"] = {**searched, "pixels": {**searched, "side_px": 16}}
    scores = {key: {"value": 31.2, "low": 30.9, "high": 31.5} for key in ("generated", "real", "shuffled")}
    value["clip"] = {"name": "clip_score500_test", "pictures": 500, "chance": scores["shuffled"], **scores}
    value["full"] = {
        "name": "fid50k_full", "value": 12.3, "low": 12.0, "high": 12.6, "floor": 1.1, "floor_images": 50_000,
        "generated_images": 50_000, "real_images": 120_000, "verified": True,
    }  # fmt: skip
    value["sheets"] = sheets.index
    (directory / "metrics.json").write_text(json.dumps(value), encoding="utf-8")
    images_record = {
        "read": 8000, "written": 7999, "rejected": {"too_small": 1}, "splits": {"train": {"images": 6437}},
    }  # fmt: skip
    said = {"captions": 38622, "distinct_captions": 38606, "words_per_caption": {"mean": 20.5}, "distinct_words": 161}
    pairs = {
        "splits": {"train": {**said, "images": 6437, "out_of_vocabulary_rate": 0.01}},
        "plots": {"lengths": [[0, 0], [20, 3000], [40, 0]], "rank_frequency": [[0.0, 5.0], [2.0, 1.2]]},
    }
    fact_said = {"said": 7999, "coverage": 1.0, "precision": None}
    captions = {
        "captioner": "annotations/1", "facts": {"colour": fact_said, "kind": fact_said},
        "pixels": {"facts": {"colour": {
            "right": 97, "said": 99, "precision": 0.98, "precision_low": 0.93, "precision_high": 0.994,
        }}}, "sources": {"annotations": 15998}, "distinct_captions_en": 7000,
    }  # fmt: skip
    for name, record in (("images", images_record), ("pairs", pairs), ("captions", captions)):
        (directory / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")


@pytest.fixture
def full(tmp_path, monkeypatch):
    shutil.copyfile(REPOSITORY / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paper, "write_figures", lambda *_: [])
    write_full_evaluation(tmp_path / "data/evaluation/catcar")
    Path("runs").mkdir()
    times = {"train@catcar": {"seconds": 300.5, "how": "ran"}, "pairs@catcar": {"seconds": 0.4, "how": "restored"}}
    Path("runs/stages.json").write_text(json.dumps({"stages": times}), encoding="utf-8")
    main([])
    return tmp_path


def test_every_part_of_a_full_result_is_on_the_page(full):
    shown = (full / "report/index.html").read_text(encoding="utf-8")
    parts = (
        "By kind",
        "The same z, another word",
        "CLIP score",
        "fid50k_full",
        "Floor 1.10",
        "the pixels agree in 97 of 99",
        "Copied or made",
        "planted",
        "By language",
        "Confusion",
    )
    parts += ("by their length", "images read", "The training", "The worst cases", "Where the words come from")
    assert [part for part in parts if part not in shown] == []


def test_a_full_result_gives_the_same_page_again(full):
    before = (full / "report/content/page.html").read_bytes()
    main([])
    assert (full / "report/content/page.html").read_bytes() == before


PROBE = """
const done = () => {
  document.querySelectorAll('details').forEach(one => { one.open = true; });
  const wide = [...document.querySelectorAll('body *')].filter(e => {
    for (let p = e.parentElement; p; p = p.parentElement)
      if (p.classList.contains('scroll') || p.tagName === 'PRE') return false;
    return e.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
  }).map(e => e.tagName + '.' + e.className);
  const broken = [...document.images].filter(i => !i.complete || !i.naturalWidth).length;
  const clipped = [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1)
    .map(e => e.firstElementChild.className + ': ' + e.innerText.slice(0, 60));
  const unseen = [...document.querySelectorAll('.range td.n, .control td.n')].filter(e =>
    e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).length;
  const tiles = Math.min(...[...document.querySelectorAll('.cut img')].map(i =>
    i.getBoundingClientRect().width / +getComputedStyle(i).getPropertyValue('--here')));
  return {wide, broken, unseen, tiles, clipped, images: document.images.length,
    scroll: document.documentElement.scrollWidth, client: document.documentElement.clientWidth,
    fetched: performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:'))};
};
return done();
"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_in_a_browser(full, width):
    """No console error, no request, every image loaded and large enough to see, nothing wider than the window."""
    with chromium(width, "browser") as browser:
        browser.get((full / "report/index.html").as_uri())
        for scheme in ("light", "dark"):
            feature = [{"name": "prefers-color-scheme", "value": scheme}]
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": feature})
            seen = browser.execute_script(PROBE)
            assert seen["images"] > 3 and seen["broken"] == 0
            assert seen["wide"] == [] and seen["scroll"] <= seen["client"]
            assert seen["fetched"] == [] and seen["unseen"] == 0 and seen["tiles"] >= 80
            assert width < 800 or seen["clipped"] == [], "tables scroll on a phone alone"
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
