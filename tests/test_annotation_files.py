"""Annotations by JSONL, CSV and Parquet: the same records, and one line for whatever is wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pytest

from pipeline import captions, pairs
from pipeline.annotation_files import annotation_rows
from pipeline.captioners import Picture
from pipeline.captioners.annotations import AnnotationCaptioner
from tests.caption_data import PARAMS, make_dataset
from textgan.errors import UserError
from textgan.params import PairsParams
from textgan.text import words

ODD = {
    "html": "<p>A <b>red</b> cat &amp; co.</p><script>alert(1)</script>",
    "rtl": "\u202eחתול אדום\u202c",
    "emoji": "a 🐈 on the left",
    "control": "a \x01red\x7f cat\tand\nline",
    "empty": "",
    "blank": " \u200b ",
    "long": "red cat " * 5000,
}


def _write(directory: Path, rows: list[dict[str, str]], kind: str) -> Path:
    path = directory / f"annotations.{kind}"
    if kind == "csv":
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "parquet":
        pd.DataFrame(rows).to_parquet(path, index=False)
    else:
        records = [
            {
                "key": row["key"],
                "facts": {"colour": row["colour"]} if row["colour"] else {},
                "captions": {"en": [row["caption_en"]] if row["caption_en"] else []},
            }
            for row in rows
        ]
        path.write_text("\n".join(map(json.dumps, records)) + "\n", encoding="utf-8")
    return path


def _read(directory: Path) -> dict[str, dict]:
    return {row["sample_key"]: json.loads(row["annotation"]) for row in annotation_rows("cat", directory)}


def test_three_formats_say_the_same(tmp_path):
    """CSV, Parquet and JSONL of the same rows give the same records, odd texts among them."""
    rows = [{"key": name, "colour": "red", "caption_en": text} for name, text in ODD.items()]
    found = []
    for kind in ("jsonl", "csv", "parquet"):
        (tmp_path / kind).mkdir()
        _write(tmp_path / kind, rows, kind)
        found.append(_read(tmp_path / kind))
    assert found[0] == found[1] == found[2]
    assert list(found[0]) == [f"cat-{name}" for name in ODD]


def test_rows_of_one_key_are_joined(tmp_path):
    """One caption a row: captions follow one another, facts need stand once, empty cells say nothing."""
    rows = [
        {"key": "a", "colour": "red", "caption_en": "one", "caption_es": "uno"},
        {"key": "b", "colour": "", "caption_en": "", "caption_es": ""},
        {"key": "a", "colour": "", "caption_en": "two", "caption_es": ""},
    ]
    _write(tmp_path, rows, "csv")
    assert _read(tmp_path) == {
        "cat-a": {"key": "a", "facts": {"colour": "red"}, "captions": {"en": ["one", "two"], "es": ["uno"]}},
        "cat-b": {"key": "b", "facts": {}, "captions": {"en": [], "es": []}},
    }


def test_odd_captions_pass_the_text_path(tmp_path):
    """Texts without a word are dropped, the rest is split into clean words: no tag, control or direction character."""
    rows = [{"key": name, "colour": "", "caption_en": text} for name, text in ODD.items()]
    _write(tmp_path, rows, "csv")
    annotations = {row["sample_key"]: row["annotation"] for row in annotation_rows("cat", tmp_path)}
    captioner = AnnotationCaptioner(annotations, "f", "fallback")
    said = {name: captioner.caption([Picture(f"cat-{name}", "cat", None)])[0].captions.get("en", []) for name in ODD}
    assert said["empty"] == said["blank"] == []
    assert words(said["html"][0])[:3] == ["a", "red", "cat"] and "b" not in words(said["html"][0])
    assert words(said["rtl"][0]) == ["חתול", "אדום"]
    assert "🐈" in words(said["emoji"][0])
    assert words(said["control"][0]) == ["a", "red", "cat", "and", "line"]
    assert 0 < len(words(said["long"][0])) < 2000


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("key,color\na,red\n", r"row 1 has the columns key, color; it must have key once, .*caption_en.*colour"),
        ("colour\nred\n", "row 1 has the columns colour; it must have key"),
        ("key\na\n", "row 1 has the columns key; it must have key once, and"),
        ("key,colour,colour\na,red,red\n", "row 1 has the columns"),
        ("", r"row 1 has the columns \(none\)"),
        ("key,colour\na,red,extra\n", "row 2 has 3 columns; row 1 has 2"),
        ("key,colour\na,red\n,red\n", "row 3 has the key ''"),
        ("key,colour\na,mauve\n", "row 2: fact colour is 'mauve'; it must be one of black"),
        ("key,colour\na,red\na,blue\n", "row 3 says of 'a' colour 'blue', an earlier row 'red'"),
        ('key,caption_en\na,"open\n', "after row 1: not CSV"),
        (b"key,caption_en\na,ok\nb,\xff\n", "row 3: byte 22 of the file is not UTF-8"),
    ],
)
def test_a_wrong_csv_is_named(tmp_path, text, match):
    """File, row and rule, in one line."""
    (tmp_path / "annotations.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=f"annotations.csv: {match}") as caught:
        _read(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "match"),
    [
        (b"nonsense", "line 2 must be a JSON object"),
        (b"[1]", "line 2 must be a JSON object"),
        (b"{}", "line 2 has the key None; it must be a text"),
        (b'{"key": "\xff"}', "line 2: byte 9 is not UTF-8"),
        (b'{"key": "a"}', "line 2 has the key 'a' again"),
        (b'{"key": "b", "facts": {"wings": "two"}}', "line 2: fact wings is 'two'"),
        (b'{"key": "b", "facts": ["red"]}', "line 2: facts is .* must be an object"),
        (b'{"key": "b", "captions": {"fr": ["un chat"]}}', "line 2: captions.fr; it must be a list of texts, in en"),
        (b'{"key": "b", "captions": {"en": "text"}}', "line 2: captions.en; it must be a list of texts"),
        (b'{"key": "b", "source": "A b"}', "line 2: source is 'A b'; it must be a name"),
        (b'{"key": "\\ud800"}', "line 2 has the key .* must be UTF-8"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, match):
    """File, line and rule, in one line."""
    (tmp_path / "annotations.jsonl").write_bytes(b'{"key": "a"}\n' + line + b"\n")
    with pytest.raises(UserError, match=f"annotations.jsonl: {match}"):
        _read(tmp_path)


def test_a_wrong_parquet_is_named(tmp_path):
    """No Parquet, other columns, other types."""
    path = tmp_path / "annotations.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match=r"annotations.parquet: after row 0: not Parquet"):
        _read(tmp_path)
    pd.DataFrame({"key": ["a"], "text": ["red"]}).to_parquet(path)
    with pytest.raises(UserError, match="row 1 has the columns key, text; it must have"):
        _read(tmp_path)
    pd.DataFrame({"key": ["a"], "colour": [3]}).to_parquet(path)
    with pytest.raises(UserError, match="row 1: colour is 3; it must be a text"):
        _read(tmp_path)
    pd.DataFrame({"key": ["a"], "caption_en": [["one", None, "two"]]}).to_parquet(path)
    assert _read(tmp_path)["cat-a"]["captions"] == {"en": ["one", "two"]}


def test_two_files_are_refused(tmp_path):
    """Which one counts is not guessed."""
    rows = [{"key": "a", "colour": "red", "caption_en": "one"}]
    for kind in ("csv", "jsonl"):
        _write(tmp_path, rows, kind)
    with pytest.raises(UserError, match=r"annotations.jsonl and annotations.csv; an export has one of them"):
        _read(tmp_path)


def test_human_captions_reach_the_pairs(tmp_path, monkeypatch):
    """From a user's CSV to token ids: unknown keys are counted, pictures without a row keep their kind."""
    monkeypatch.chdir(tmp_path)
    tars, inventory = make_dataset(tmp_path)
    rows = [
        {"key": "train0", "colour": "", "caption_en": "Tom, our cat", "caption_es": ""},
        {"key": "nobody", "colour": "red", "caption_en": "", "caption_es": ""},
        {"key": "train1", "colour": "", "caption_en": "<br>", "caption_es": "\x00"},
    ]
    (tmp_path / "export").mkdir()
    _write(tmp_path / "export", rows, "csv")
    notes = pd.DataFrame(list(annotation_rows("cat", tmp_path / "export")))
    notes.to_parquet(inventory / "annotations.parquet", index=False)
    metrics = captions.run(tars, inventory, tmp_path / "captions", PARAMS, "d")
    assert metrics["annotations"] == {"images_without": 13, "without_image": 1}
    table = pd.read_parquet(tmp_path / "captions" / "train-00000.parquet").set_index("sample_key")
    assert table.loc["cat-train0", "captions_en"][0] == "Tom, our cat"
    assert all("cat" in caption for caption in table.loc["cat-train1", "captions_en"])
    params = PairsParams(languages=["en"], stem=False, min_count=1, max_tokens=32)
    assert pairs.run(tmp_path / "captions", tmp_path / "pairs", params, "d")["splits"]["train"]["images"] == 5
    first = pd.read_parquet(tmp_path / "pairs" / "train-00000.parquet").set_index("sample_key").loc["cat-train0"]
    assert first["captions"][0] == "Tom, our cat"
