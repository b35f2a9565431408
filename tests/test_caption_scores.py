"""Scores against labels: alternatives count, silence is not wrong, and a wrong CSV is named."""

from __future__ import annotations

import pytest

from pipeline.caption_scores import read_labels, score, wilson
from textgan.errors import UserError


def _labels(tmp_path, text: str):
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return read_labels(path)


def test_alternatives_synonyms_and_silence(tmp_path):
    """An accepted name is right, `beige` is cream, `mixed` is never right, `unclear` does not count."""
    rows = "key,coat,coat_alt,background_tone\na,black,brown|grey,mixed\nb,beige,,light\nc,unclear,,dark\n"
    labels = _labels(tmp_path, rows)
    claims = [
        (("a",), {"colour": "grey", "background_tone": "light"}),
        (("cat-b", "b"), {"colour": "cream"}),
        (("c",), {"colour": "red", "background_tone": "dark"}),
        (("not labelled",), {"colour": "red"}),
    ]
    scores = score(claims, labels)
    assert (scores["colour"].labelled, scores["colour"].said, scores["colour"].right) == (2, 2, 2)
    assert (scores["background_tone"].labelled, scores["background_tone"].said) == (3, 2)
    assert scores["background_tone"].right == 1


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("name,colour\na,red\n", "row 1 has the columns name, colour; it must have key"),
        ("key,wings\na,two\n", "row 1 .* it must have key and one or more of"),
        ("key,colour\na,red,extra\n", "row 2 has another number of columns"),
        ("key,colour\na\n", "row 2 has another number of columns"),
        ("key,colour\na,red\na,blue\n", "row 3 has the key 'a'"),
        ("key,colour\n,red\n", "row 2 has the key ''"),
        ("", "row 1 has the columns"),
    ],
)
def test_wrong_labels_are_named(tmp_path, text, match):
    """File, row and rule, in one line."""
    with pytest.raises(UserError, match=f"labels.csv: {match}"):
        _labels(tmp_path, text)


def test_labels_that_are_not_utf8(tmp_path):
    """The byte is named."""
    (tmp_path / "labels.csv").write_bytes(b"key,colour\na,\xff\n")
    with pytest.raises(UserError, match="byte 13 is not UTF-8"):
        read_labels(tmp_path / "labels.csv")


def test_wilson_interval():
    """It contains the share, lies in 0..1, shrinks with the count, and knows nothing of nothing."""
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(9, 10)
    assert 0.59 < low < 0.60 and 0.98 < high < 0.99
    assert wilson(90, 100)[0] > low
