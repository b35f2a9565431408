"""Words and z apart: what is kept, what chance keeps, and what is not seen keeps nothing."""

import numpy as np

from textgan.metrics.apart import ROWS, judged, separation
from textgan.metrics.prompts import Prompts, by_lot

COLOURS = ("red", "blue", "green", "white")
READABLE = {"kind", "side", "colour"}


def rows(count: int, side, colours=COLOURS) -> list[list[dict[str, str]]]:
    return [[{"kind": "cat", "colour": colour, "side": side(row, place)} for place, colour in enumerate(COLOURS)]
            for row in range(count)]  # fmt: skip


def test_what_stays_in_each_row_is_kept_and_chance_is_far_below():
    found = judged(COLOURS, rows(12, lambda row, _: ("left", "right", "centre")[row % 3]), READABLE, 0)
    assert found["colour_right"] == 1 and found["kept"] == {"kind": 1, "side": 1}
    assert found["pictures"] == 48 and found["rows"] == 12
    assert 0.5 < found["chance"]["side_kept"]["value"] < 0.7 and found["chance"]["side_kept"]["high"] < 0.8
    assert found["chance"]["kind_kept"]["value"] == 1  # all are cats: to keep that says nothing
    assert abs(found["chance"]["colour_right"]["value"] - 0.25) < 0.02
    assert found["intervals"]["side_kept"]["low"] < 1


def test_what_changes_with_the_word_is_not_kept():
    sides = np.random.default_rng(0).choice(["left", "right", "centre"], (200, 4))
    found = judged(COLOURS, rows(200, lambda row, place: str(sides[row, place])), READABLE, 0)
    own, chance = found["intervals"]["side_kept"], found["chance"]["side_kept"]
    assert own["low"] < chance["value"] < own["high"]


def test_a_row_in_which_nothing_is_seen_keeps_nothing():
    """Not seen is no value: it was counted as one, and such a row as kept."""
    found = judged(COLOURS, [[{}] * 4] * 3, READABLE, 0)
    assert found["colour_right"] == 0 and found["kept"] == {"kind": 0, "side": 0}
    assert found["chance"]["side_kept"]["value"] == 0
    half = judged(COLOURS, [[{"side": "left"}, {}, {}, {}]] * 3, READABLE, 0)
    assert half["kept"]["side"] == 0.25
    assert judged(COLOURS, [[{}] * 4] * 3, {"colour"}, 0)["kept"] == {}  # what no measurer reads is not judged


def test_every_share_has_a_name_and_its_chance():
    named = separation(judged(COLOURS, rows(12, lambda row, _: "left"), READABLE, 0))
    assert named["separation_side_kept_48"] == 1 and "separation_side_kept_48_chance" in named
    assert set(named) >= {"separation_colour_right_48", "separation_colour_right_48_chance"}
    assert separation(None) == {}


def test_rows_are_of_the_grid_first_and_no_two_of_one_z():
    count = 60
    facts = [{"kind": "cat", "colour": "red"} if place % 5 else {"kind": "cat"} for place in range(count)]
    asked = Prompts([""] * count, ["en"] * count, facts, [[]] * count, [place // 2 for place in range(count)])
    places = by_lot(asked, [9, 20, 8], ROWS, saying="colour")
    assert places[0] == 9 and len(places) == ROWS  # 20 says no colour, 8 has the z of 9
    assert len({asked.seeds[place] for place in places}) == ROWS
    assert max(places) > count // 2  # held-out combinations begin with all cats
