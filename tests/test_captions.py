"""Captions: aligned with the image shards, deterministic, resumable; annotations are checked."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from pipeline import captions
from pipeline.captioners import Picture, kind_of_export
from pipeline.captioners.annotations import AnnotationCaptioner
from tests.caption_data import PARAMS, make_dataset
from textgan.errors import UserError


def _bytes(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def test_captions_are_aligned_and_repeatable(tmp_path, monkeypatch):
    """Same keys in the same order as the image shard; the same bytes each time; every claim has a source."""
    monkeypatch.chdir(tmp_path)
    tars, inventory = make_dataset(tmp_path)
    metrics = captions.run(tars, inventory, tmp_path / "a", PARAMS, "d")
    captions.run(tars, inventory, tmp_path / "b", PARAMS, "d")
    assert _bytes(tmp_path / "a") == _bytes(tmp_path / "b")
    table = pd.read_parquet(tmp_path / "a" / "train-00000.parquet")
    assert table["sample_key"].tolist() == [f"cat-train{idx}" for idx in range(5)]
    assert all(len(row["captions_en"]) == len(row["captions_es"]) == 3 for row in table.to_dict("records"))
    assert {fact["source"] for facts in table["facts"] for fact in facts} == {"annotations", "export"}
    assert metrics["images"] == 15 and metrics["facts"]["colour"]["coverage"] == 1


def test_a_stopped_run_goes_on(tmp_path, monkeypatch):
    """Shards that were finished before a stop are not made again, and the bytes are the same."""
    monkeypatch.chdir(tmp_path)
    tars, inventory = make_dataset(tmp_path)
    captions.run(tars, inventory, tmp_path / "whole", PARAMS, "d")
    made: list[str] = []
    original = captions.caption_shard

    def stops(shard, *rest):
        made.append(shard.name)
        if len(made) == 2:
            raise KeyboardInterrupt
        return original(shard, *rest)

    monkeypatch.setattr(captions, "caption_shard", stops)
    with pytest.raises(KeyboardInterrupt):
        captions.run(tars, inventory, tmp_path / "out", PARAMS, "d")
    assert not (tmp_path / "out").exists()
    captions.run(tars, inventory, tmp_path / "out", PARAMS, "d")
    assert made == ["train-00000.tar", "select-00000.tar", "select-00000.tar", "test-00000.tar"]
    assert _bytes(tmp_path / "out") == _bytes(tmp_path / "whole")


def test_other_annotations_never_meet_old_work(tmp_path, monkeypatch):
    """Unfinished work is found only by the same inputs and parameters."""
    monkeypatch.chdir(tmp_path)
    tars, inventory = make_dataset(tmp_path / "x")
    _tars, bare = make_dataset(tmp_path / "y", note=False)
    captions.run(tars, inventory, tmp_path / "a", PARAMS, "d")
    metrics = captions.run(tars, bare, tmp_path / "b", PARAMS, "d")
    assert "colour" not in metrics["facts"] and metrics["annotations"]["images_without"] == 15


def test_a_shard_that_lacks_images_is_refused(tmp_path, monkeypatch):
    """The manifest's count and the tar must agree."""
    monkeypatch.chdir(tmp_path)
    tars, inventory = make_dataset(tmp_path)
    manifest = json.loads((tars / "manifest.json").read_text())
    manifest["splits"]["train"]["shards"][0]["images"] = 6
    (tars / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="train-00000.tar: has 5 images; its manifest says 6"):
        captions.run(tars, inventory, tmp_path / "out", PARAMS, "d")


def test_given_captions_come_first():
    """A person's captions are kept as they are and filled up with the facts in words."""
    captioner = AnnotationCaptioner(
        {"cat-1": json.dumps({"facts": {"colour": "red"}, "captions": {"en": ["Tom!", " "]}})}, "f", "fallback"
    )
    [claims] = captioner.caption([Picture("cat-1", "cat", None)])
    texts = captions.captions_of(claims, "cat-1", PARAMS)
    assert texts["en"][0] == "Tom!" and len(texts["en"]) == 3 and "red" in texts["en"][1]
    assert len(texts["es"]) == 3


@pytest.mark.parametrize("facts", [{"colour": "mauve"}, {"wings": "two"}, ["red"], "red"])
def test_wrong_facts_are_named(facts):
    """One line with file, key and rule."""
    captioner = AnnotationCaptioner({"cat-1": json.dumps({"facts": facts})}, "notes.jsonl", "fallback")
    with pytest.raises(UserError, match="notes.jsonl: cat-1"):
        captioner.caption([Picture("cat-1", "cat", None)])


@pytest.mark.parametrize(
    ("export", "kind"), [("cat", "cat"), ("lsun-car-val", "car"), ("cat-car", None), ("bedroom", None)]
)
def test_kind_of_export(export, kind):
    """The export's name tells the kind where it names exactly one."""
    fact = kind_of_export(export)
    assert (fact.value if fact else None) == kind


def test_labels_score_what_is_there(tmp_path, monkeypatch, capsys):
    """Label keys may be LMDB keys; counts and intervals come out; foreign labels are refused."""
    monkeypatch.chdir(tmp_path)
    captions.run(*make_dataset(tmp_path), tmp_path / "out", PARAMS, "d")
    labels = tmp_path / "labels.csv"
    labels.write_text("key,colour,colour_alt\ntrain0,red,\ntrain1,green,blue\ntest2,red,\n", encoding="utf-8")
    scores = captions.score_labels(tmp_path / "out", [labels])["labels.csv"]["facts"]["colour"]
    assert (scores["said"], scores["right"], scores["coverage"]) == (3, 2, 1.0)
    assert "precision" in capsys.readouterr().out
    labels.write_text("key,colour\nnobody,red\n", encoding="utf-8")
    with pytest.raises(UserError, match="none of its 1 keys"):
        captions.score_labels(tmp_path / "out", [labels])


def test_scores_go_beside_the_outs_of_the_stages(tmp_path, monkeypatch):
    """metrics/ is an out of the stage report: the one would overwrite what the other wrote."""
    monkeypatch.chdir(tmp_path)
    captions.run(*make_dataset(tmp_path), captions.OUT / "d", PARAMS, "d")
    report = Path("metrics/captions-d.json")
    report.parent.mkdir()
    report.write_text("{}")
    Path("labels.csv").write_text("key,colour\ntrain0,red\n", encoding="utf-8")
    monkeypatch.setattr(captions.params_file, "dataset", lambda _name: SimpleNamespace(captions=PARAMS))
    monkeypatch.setattr("sys.argv", ["captions", "d", "--labels", "labels.csv"])
    captions.main()
    assert report.read_text() == "{}"
    scored = json.loads(Path("runs/d/captions-labels.json").read_text())
    assert scored["labels"]["labels.csv"]["facts"]["colour"]["right"] == 1 and scored["images"] > 0


def test_a_missing_annotation_is_refused_where_params_say_so():
    """`missing: reject` names the picture; `fallback` says its kind alone."""
    picture = Picture("cat-1", "cat", None)
    with pytest.raises(UserError, match="cat-1 has no annotation"):
        AnnotationCaptioner({}, "f", "reject").caption([picture])
    [claims] = AnnotationCaptioner({}, "f", "fallback").caption([picture])
    assert [(fact.name, fact.value) for fact in claims.facts] == [("kind", "cat")]
