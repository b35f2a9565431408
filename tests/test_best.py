"""The weights that a snapshot holds are those that scored best on `select`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file

from tests.tiny_training import settings, sigterm_after, write_data
from textgan import train as stage
from textgan.best import SCORED_BY, SelectScore
from textgan.metrics.matcher import MatcherSpec

SELECTED = settings(select_kimg=0.016, total_kimg=0.064)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with data in it."""
    monkeypatch.chdir(tmp_path)
    return write_data(Path())


def test_a_worse_score_later_changes_nothing(place, monkeypatch):
    """Scores 3, 1, 2, 4: what is kept is what was there at the second."""
    scores = iter([3.0, 1.0, 2.0, 4.0])
    seen = []

    def score(self, net):
        seen.append({name: value.clone() for name, value in net.state_dict().items()})
        return next(scores)

    monkeypatch.setattr(SelectScore, "__call__", score)
    stage.train("tiny", SELECTED, *place, Path("out"), Path("runs"))
    assert len(seen) == 4
    kept = load_file("out/G_ema.safetensors")
    assert all(kept[name].equal(value) for name, value in seen[1].items())
    assert any(not kept[name].equal(value) for name, value in seen[3].items())
    assert json.loads(Path("out/snapshot.json").read_text())["cur_nimg"] == 32
    assert pd.read_csv("out/curve.csv")["select_kid"].dropna().tolist() == [3, 1, 2, 4]


def test_resuming_keeps_the_best(place, monkeypatch):
    """Stopped between two scores, the snapshot has the same bytes."""
    stage.train("tiny", SELECTED, *place, Path("whole"), Path("runs"))
    sigterm_after(monkeypatch, 5)
    with pytest.raises(SystemExit):
        stage.train("tiny", SELECTED, *place, Path("stopped"), Path("runs"))
    stage.train("tiny", SELECTED, *place, Path("stopped"), Path("runs"))
    for name in ("G_ema.safetensors", "curve.csv", "snapshot.json"):
        assert Path("whole", name).read_bytes() == Path("stopped", name).read_bytes()


def test_never_the_network_of_the_discriminator():
    """Whoever judges is not looked through by D: select, metrics and matcher alike."""
    (backbone,) = (field.default for field in dataclasses.fields(MatcherSpec) if field.name == "backbone")
    for extractor in ("lite0", "lite1"):
        assert dataclasses.replace(SELECTED, extractor=extractor).extractor != SCORED_BY == backbone
    with pytest.raises(ValueError, match="extractor is 'lite2'; it must be lite0 or lite1: .* metrics look through"):
        dataclasses.replace(SELECTED, extractor=SCORED_BY)
