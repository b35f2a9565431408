"""local.yaml says how fast and where, behind the environment, and refuses what it does not know."""

from __future__ import annotations

import os

import pytest

from textgan import local
from textgan.errors import UserError


def test_the_environment_wins_over_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXTGAN_WORKERS", "3")
    monkeypatch.delenv("TEXTGAN_DEVICE", raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    (tmp_path / "local.yaml").write_text("workers: 8\ndevice: cpu\n")
    local.apply(tmp_path / "local.yaml")
    assert (os.environ["TEXTGAN_WORKERS"], os.environ["TEXTGAN_DEVICE"]) == ("3", "cpu")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speed: 3\n", "speed is unknown; known keys are workers"),
        ("workers: [1]\n", r"workers is \[1\]; it must be"),
        ("- workers\n", "must be a mapping"),
        ("workers: {\n", "not YAML"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    (tmp_path / "local.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        local.apply(tmp_path / "local.yaml")


def test_no_file_is_no_setting(tmp_path):
    local.apply(tmp_path / "local.yaml")
