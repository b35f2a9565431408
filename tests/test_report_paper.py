"""The paper's tables: fit for LaTeX, every ruin and control in them, both languages to the last word."""

from __future__ import annotations

import dataclasses
import re

import pytest

from tests.test_report_browser import write_full_evaluation
from tests.test_report_page import REPOSITORY
from textgan import params as parameters
from textgan.report.cost import hardware_table, times_table
from textgan.report.paper import captions_table, names_table, protocol_table, settings_table
from textgan.report.paper_results import (
    copies_table,
    image_table,
    latent_table,
    results_tables,
    retrieval_table,
    supplied_table,
)
from textgan.report.paper_words import WORDS, escape
from textgan.report.results import Results, read_results
from textgan.report.times import StageTime


@pytest.fixture
def result(tmp_path) -> Results:
    write_full_evaluation(tmp_path / "catcar")
    return read_results(tmp_path / "catcar")


def test_every_row_of_every_table_has_a_cell_a_column_and_no_raw_underscore(result):
    """`inception_unverified` once stood in a table as it is, which LaTeX refuses."""
    result.value["numbers"].append({**result.value["numbers"][0], "extractor": "inception_unverified"})
    result.value["numbers"].append({**result.value["numbers"][0], "extractor": "some_other"})
    result.value["by_kind"]["dining_room"] = result.value["by_kind"]["car"]
    for language in WORDS:
        tables = [*results_tables(result, language), protocol_table(result, language), names_table(result, language)]
        tables.append(captions_table(result, language))
        for table in tables:
            assert not re.search(r"(?<!\\)[_#]", table)
            columns = len(re.findall(r"\\begin\{tabular\}\{(\w+)\}", table)[0])
            rows = [line for line in table.splitlines() if line.endswith(" \\\\")]
            assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {columns}


def test_all_ruins_and_the_deviation_stand_in_the_table_of_the_pictures(result):
    table = image_table(result.value, "en")
    assert "Ten repeated" in table and "0.618" in table and "3.35" in table and "0.0221" in table


def test_chance_controls_and_z_stand_in_the_tables(result):
    assert "Chance" in retrieval_table(result.value, "en")
    assert "Diversity" in latent_table(result.value, "en") and "Chance" in latent_table(result.value, "en")
    assert "6.1 \\%" in copies_table(result.value, "en"), "the planted control"
    assert "kid1k\\_lite2\\_test" in names_table(result, "en")


def test_the_truth_of_captions_stands_beside_its_interval(result):
    table = captions_table(result, "es")
    assert "Color & 7999 & 100,0 \\% & 98,0 \\% & [93,0 \\%; 99,4 \\%] & 99" in table
    assert "Tipo & 7999 & 100,0 \\% & -- & -- & --" in table, "what nobody looked at is not called right"
    assert captions_table(dataclasses.replace(result, captions=None), "es") == "% not computed\n"


def test_what_supplied_weights_give_has_floor_and_chance(result):
    table = supplied_table(result.value, "en")
    assert "fid50k\\_full} & 12.3 & [12.0; 12.6] & Floor: 1.10" in table and table.count("Chance") == 2
    assert supplied_table({}, "en").startswith("% not computed")


def test_the_method_speaks_spanish():
    params = parameters.load(REPOSITORY / "params.yaml").datasets["catcar"]
    table = settings_table(params, "es")
    assert "proyectada" in table and "las propias" in table and not re.search(r"& (matched|projected|none) ", table)


def test_the_cost_sums_what_ran_alone():
    stages = [StageTime("train@catcar", 331.0, "restored"), StageTime("images@catcar", 12.0, "ran")]
    table = times_table([*stages, StageTime("pairs@catcar", None, "restored")], "es")
    assert "todas las ejecutadas & 12,0" in table and "pairs@catcar & --" in table and "331" in table
    assert "x86\\_64" in hardware_table({"system": "Linux x86_64", "GPU": "none"}, "es")


def test_both_languages_have_the_same_words():
    """Names of facts' splits are English already."""
    assert set(WORDS["es"]) - set(WORDS["en"]) == {"train", "select", "test", "car", "cat"}
    assert set(WORDS["en"]) <= set(WORDS["es"])
    assert escape("50% a_b {x}") == "50\\% a\\_b \\{x\\}"
