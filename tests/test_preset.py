"""Presets are complete, checked, and never lose what a user wrote."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from textgan import params
from textgan.errors import UserError
from textgan.preset import KEPT, compose, names, preset

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(REPOSITORY / "presets", tmp_path / "presets")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_preset_is_a_complete_parameter_file_of_its_name():
    for name in names():
        assert yaml.safe_load(compose(name))["preset"] == name


def test_every_small_form_changes_only_what_the_preset_has():
    for file in Path("presets").glob("*.smoke.yaml"):
        assert compose(file.name.removesuffix(".smoke.yaml"), smoke=True) != compose(
            file.name.removesuffix(".smoke.yaml")
        )


def test_the_committed_params_are_the_sample_preset():
    assert (REPOSITORY / "params.yaml").read_text(encoding="utf-8") == compose("sample")


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(UserError, match=r"preset 'nothing' is unknown; presets/ has .*sample"):
        preset("nothing")


def test_a_preset_is_written_and_an_edited_file_is_kept(capsys):
    preset("sample")
    assert params.PARAMS_FILE.read_text(encoding="utf-8") == compose("sample")
    edited = compose("sample").replace("min_count: 1", "min_count: 2")
    params.PARAMS_FILE.write_text(edited, encoding="utf-8")
    preset("sample")
    assert KEPT.read_text(encoding="utf-8") == edited
    assert str(KEPT) in capsys.readouterr().out


def test_a_small_form_may_not_invent_keys(place):
    (place / "presets" / "sample.smoke.yaml").write_text("datasets:\n  catcar:\n    train:\n      speed: 3\n")
    with pytest.raises(UserError, match=r"sample\.smoke\.yaml: datasets\.catcar\.train\.speed is unknown"):
        preset("sample", smoke=True)


def test_a_small_form_is_the_preset_with_its_changes(place):
    (place / "presets" / "sample.smoke.yaml").write_text("draw:\n  catcar:\n    images: 20\n")
    preset("sample", smoke=True)
    assert params.load().draw["catcar"].images == 20
    assert params.load().datasets == params.load(place / "presets" / "sample.yaml").datasets
