"""The report: same results, same bytes; run facts apart from what DVC compares; nothing from the network."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from textgan.errors import UserError
from textgan.metrics.sheets import Sheets
from textgan.plots import Series, line_chart, ticks
from textgan.report import paper
from textgan.report.__main__ import main
from textgan.report.claims import claims
from textgan.report.figures import write_figures
from textgan.report.latex import local
from textgan.report.results import read_results

REPOSITORY = Path(__file__).parents[1]
NO_COPIES = {"ratio": 1.0, "ratio_low": 0.9, "ratio_high": 1.1, "nearer_than_test": 0.01}
FIGURES = ("curves", "facts", "confusion", "samples")


def share(value: float) -> dict[str, float]:
    return {"value": value, "low": max(0.0, value - 0.05), "high": min(1.0, value + 0.05)}


def beside_chance(value: float, chance: float) -> dict[str, object]:
    return {**share(value), "chance": share(chance)}


def write_evaluation(directory: Path) -> None:
    """A small evaluation of the shape that the stage evaluate writes."""
    directory.mkdir(parents=True)
    sheets = Sheets(directory)
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype(np.uint8)
    sheets.rows("grid", [images, images], ["a red car", "un gato <b>azul</b>"], ["en", "es"])
    sheets.rows("interpolation", [images], ["a red car"], ["en"])
    for name in ("uncurated", "real", "neighbours"):
        sheets.tiles(name, images)
    sheets.tiles("worst", images, ["a red car (colour wrong)"] * 8)
    numbers = [
        {
            "name": f"{what}1k_lite2_test", "what": what, "extractor": "lite2", "value": 0.2, "low": 0.1, "high": 0.3,
            "deviation": None, "floor": 0.01, "ceilings": {"blurred": 0.5, "collapsed": 0.9},
            "lower_is_better": what in ("kid", "fd"),
        }
        for what in ("kid", "fd", "recall", "coverage", "precision", "density")
    ]  # fmt: skip
    fact = {
        "name": "colour", "matched": share(0.9), "shuffled": share(0.1), "shuffled_exact": 0.1, "base_rate": 0.1,
        "chance": share(0.1),
        "count": 10, "values": ["red", "blue", "(none)"], "confusion": [[5, 0, 0], [1, 4, 0]],
    }  # fmt: skip
    agreement = {
        "protocol": "heldout", "measurer": "measure_drawn", "pictures": 10, "facts": [fact], "main_facts": ["colour"],
        "main_all_right": {**beside_chance(0.9, 0.1), "shuffled": 0.1, "count": 10},
        "real": {"colour": share(1.0)}, "never_measured": [],
        "measured": ["colour"],
        "by_language": {tongue: {"colour": beside_chance(0.9, 0.1)} for tongue in ("en", "es")},
    }  # fmt: skip
    found = {"value": 0.4, "deviation": 0.01, "low": 0.35, "high": 0.45, "distinct": 900, "chance": share(0.01)}
    walked = {
        "unevenness": {"value": 1.4, "low": 1.2, "high": 1.6}, "ends_apart": {"value": 0.4, "low": 0.3, "high": 0.5},
        "walks": 24, "still": 0, "steps": 7,
    }  # fmt: skip
    value = {
        "format": 1, "dataset": "catcar", "seed": 0, "versions": {"textgan": "0.1.0"}, "numbers": numbers,
        "snapshot": {"cur_nimg": 3000, "width": 16, "height": 16}, "agreement": agreement, "not_computed": {},
        "metrics": {"kid1k_lite2_test": 0.2, "fid50k_full": None, "agreement_colour_1k_heldout": 0.9},
        "fingerprints": {"lite2": {"real_images": 10, "generated_images": 10, "extractor": {"input_px": 128}}},
        "retrieval": {"name": "r", "real": found, "generated": found, "shuffled": found},
        "sheets": sheets.index, "grid_seeds": list(range(8)), "apart": None,
        "diversity": {"value": 0.8, "low": 0.7, "high": 0.9}, "interpolation": walked,
        "memorisation": {**NO_COPIES, "train_images": 100}, "by_kind": {},
    }  # fmt: skip
    (directory / "metrics.json").write_text(json.dumps(value), encoding="utf-8")
    (directory / "curve.csv").write_text("cur_nimg,d_loss,g_loss\n1000,2.0,\n2000,1.5,3.0\n3000,1.2,2.5\n")


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    shutil.copyfile(REPOSITORY / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paper, "write_figures", lambda *_: [])  # seconds of matplotlib; they have a test of their own
    write_evaluation(tmp_path / "data/evaluation/catcar")
    main([])
    return tmp_path


def test_the_page_asks_nothing_of_the_network(workplace):
    page = (workplace / "report/index.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "http" not in re.sub(r"data:[^\"]*", "", page)
    assert "&lt;b&gt;azul" in page, "prompts are text, never markup"


def test_the_captions_lengths_and_words_are_drawn(workplace):
    """The points that the stage `pairs` wrote become two charts; without them there is none."""
    assert "by their length" not in (workplace / "report/content/page.html").read_text(encoding="utf-8")
    plots = {"lengths": [[0, 0], [3, 20], [4, 9]], "rank_frequency": [[0.0, 2.0], [0.5, 1.2]]}
    found = {"splits": {}, "plots": plots}
    (workplace / "data/evaluation/catcar/pairs.json").write_text(json.dumps(found), encoding="utf-8")
    main([])
    shown = (workplace / "report/content/page.html").read_text(encoding="utf-8")
    assert 'aria-label="Captions of train by their length"' in shown and "by its rank" in shown


def test_run_facts_change_nothing_that_dvc_compares(workplace):
    """Other stage times, another page; the same content, paper and metrics."""

    def compared() -> dict[str, bytes]:
        folders = ("report/content", "report/paper", "metrics")
        return {str(file): file.read_bytes() for folder in folders for file in sorted(Path(folder).iterdir())}

    before, page = compared(), Path("report/index.html").read_bytes()
    Path("runs").mkdir()
    Path("runs/stages.json").write_text(json.dumps({"stages": {"train@catcar": {"seconds": 300.5, "how": "ran"}}}))
    main(["--assemble"])
    assert b"300.5" in Path("report/index.html").read_bytes() != page
    main([])
    assert compared() == before


def test_metrics_in_git_keep_what_was_not_computed(workplace):
    value = json.loads(Path("metrics/catcar.json").read_text(encoding="utf-8"))
    assert value["metrics"]["fid50k_full"] is None
    assert value["metrics"]["kid1k_lite2_test"] == 0.2


def test_words_and_z_are_not_judged_by_pictures_in_which_nothing_else_is_read(workplace):
    """As early photos are: a colour word was changed, and no fact is left that could have stayed."""
    result = read_results(Path("data/evaluation/catcar"))
    text = "The same z with another colour word changes the colour and little else"
    result.value["apart"] = {"colour_right": 0.9, "kept": {"side": 0.95}, "colours": ["red"], "pictures": 10}
    assert {claim.text: claim.holds for claim in claims(result)}[text]
    result.value["apart"]["kept"] = {}
    assert text not in {claim.text for claim in claims(result)}


def test_claims_have_a_command_a_result_and_this_machines_time(workplace):
    """What does not hold says so: the row is there all the same."""
    result = read_results(Path("data/evaluation/catcar"))
    rows = {claim.text: claim for claim in claims(result)}
    assert (
        rows["The colour follows the words beyond chance"].holds
        and rows["Pictures find their own captions beyond chance"].holds
    )
    assert all("catcar" in claim.command and claim.result for claim in rows.values())
    result.value["agreement"]["facts"][0]["matched"] = share(0.12)
    result.value["agreement"]["facts"][0]["shuffled"] = share(0.3)
    rows = {claim.text: claim for claim in claims(result)}
    assert rows["The colour follows the words beyond chance"].holds is False
    control = rows["The control fails: with shuffled prompts all are within chance"]
    assert control.holds is False and "(outside)" in control.result and "colour" in control.result
    Path("runs").mkdir()
    Path("runs/stages.json").write_text(json.dumps({"stages": {"evaluate@catcar": {"seconds": 71.6, "how": "ran"}}}))
    main(["--assemble"])
    page = Path("report/index.html").read_text(encoding="utf-8")
    assert page.count('<td class="n">72 s</td>') >= 3 and "<!-- seconds" not in page


def test_figures_are_drawn_in_both_languages_with_the_same_bytes(workplace, tmp_path):
    results = [read_results(Path("data/evaluation/catcar"))]
    names = []
    for place in (tmp_path / "once", tmp_path / "again"):
        place.mkdir()
        names = write_figures(results, place)
    assert names == [f"{what}-catcar-{tongue}" for tongue in ("en", "es") for what in FIGURES]
    for name in names:
        for suffix in (".pdf", ".png"):
            payload = (tmp_path / "once" / f"{name}{suffix}").read_bytes()
            assert payload == (tmp_path / "again" / f"{name}{suffix}").read_bytes() and len(payload) > 1000


def test_curves_lie_where_dvc_plots_looks(workplace):
    assert Path("report/curves/catcar.csv").read_bytes() == Path("data/evaluation/catcar/curve.csv").read_bytes()


def test_tables_of_the_paper_speak_both_languages(workplace):
    english = Path("report/paper/results-catcar-en.tex").read_text(encoding="utf-8")
    spanish = Path("report/paper/results-catcar-es.tex").read_text(encoding="utf-8")
    assert "0.2" in english and "0,2" in spanish and "Cobertura" in spanish
    assert english.count("\\toprule") == english.count("\\bottomrule") == 6, "no kinds apart in this one"


def test_a_missing_evaluation_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="stage evaluate"):
        read_results(tmp_path / "nothing")


@pytest.mark.parametrize(("value", "text"), [
        (0.123456, "0.123"), (0.04, "0.0400"), (0.0, "0"), (555.06, "555"), (4321.0, "4321"), (-0.00144, "$-0.00144$"),
        (0.00012, "$1.20 \\cdot 10^{-4}$"),
    ],
)  # fmt: skip
def test_numbers_of_the_paper(value, text):
    assert local(value, "en") == text


def test_ticks_are_round_and_cover():
    for low, high in ((0, 1), (0.013, 0.087), (-3, 12345), (5, 5)):
        marks = ticks(low, high)
        assert marks[0] <= low and marks[-1] >= high and 2 <= len(marks) <= 12


def test_a_chart_of_one_point_is_drawn_and_of_none_is_empty():
    assert line_chart([], "t", "x") == ""
    assert "NaN" not in line_chart([Series("a", (1.0,), (2.0,))], "t", "x")
