"""params.yaml is strict: whatever is wrong is named by file, key, value and rule."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from textgan import params
from textgan.errors import UserError

PRESETS = sorted(Path("presets").glob("*.yaml"))
COMPLETE = [path for path in PRESETS if "." not in path.stem]


@pytest.fixture
def sample() -> Any:
    return yaml.safe_load(Path("presets/sample.yaml").read_text(encoding="utf-8"))


def refusal(value: Any, tmp_path: Path) -> str:
    """The message that `load` refuses the value with."""
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        params.load(path)
    message = str(caught.value)
    assert "params.yaml" in message and "\n" not in message
    return message


@pytest.mark.parametrize("path", COMPLETE, ids=lambda path: path.stem)
def test_presets_are_complete_and_name_themselves(path: Path) -> None:
    """Each preset is a whole parameter file that carries its own name."""
    assert params.load(path).preset == path.stem


def test_unknown_key_is_refused(sample: Any, tmp_path: Path) -> None:
    """A key that nobody reads is an error at any depth."""
    changed = copy.deepcopy(sample)
    changed["datasets"]["catcar"]["images"]["widht"] = 64
    assert "datasets.catcar.images.widht is unknown" in refusal(changed, tmp_path)


def test_missing_key_is_refused(sample: Any, tmp_path: Path) -> None:
    """There are no defaults: every number stands in the file."""
    changed = copy.deepcopy(sample)
    del changed["datasets"]["catcar"]["ingest"]["seed"]
    assert "datasets.catcar.ingest.seed is missing" in refusal(changed, tmp_path)


@pytest.mark.parametrize(
    ("section", "key", "value", "must"),
    [
        ("images", "width", 0, "between 8 and 8192"),
        ("images", "width", "64", "of type int"),
        ("images", "height", True, "of type int"),
        ("images", "geometry", "squash", "one of center_crop"),
        ("ingest", "select", 1.5, "between 0 and 1"),
        ("images", "max_images", -1, "null or at least 1"),
        ("pairs", "languages", ["de"], "of en, es"),
        ("train", "batch_size", 0, "at least 2"),
        ("train", "z_per_caption", 3, "a divisor of batch_size ("),
    ],
)
def test_values_are_checked(sample: Any, tmp_path: Path, section: str, key: str, value: Any, must: str) -> None:
    """The message holds section, key, value and rule."""
    changed = copy.deepcopy(sample)
    changed["datasets"]["catcar"][section][key] = value
    message = refusal(changed, tmp_path)
    assert key in message and repr(value) in message and must in message


def test_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    """A clone without params.yaml is told the command that writes it."""
    with pytest.raises(UserError, match="textgan preset"):
        params.load(tmp_path / "params.yaml")


def test_not_yaml_is_one_line(tmp_path: Path) -> None:
    """A YAML error names the file."""
    path = tmp_path / "params.yaml"
    path.write_text("a: [", encoding="utf-8")
    with pytest.raises(UserError, match="not YAML"):
        params.load(path)
