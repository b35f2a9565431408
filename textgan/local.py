"""How fast and where, for this machine: git-ignored `local.yaml`, behind the environment.

`workers: 4` there is TEXTGAN_WORKERS=4 unless the environment says otherwise. None of it is a parameter, stands in a
stage's cmd or changes a byte of an out.
"""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from textgan.errors import UserError

FILE = Path("local.yaml")
KEYS = {
    "workers": "processes of the image stages",
    "dask": "address of a Dask scheduler for the image stages",
    "device": "cpu or cuda, for training and evaluation",
    "processes": "processes of one training (torchrun)",
    "slots": "stages that a flow runs side by side",
    "pools": "work pools whose stages this machine runs itself, e.g. cpu; the rest go to workers elsewhere",
    "weights": "directory with pretrained weights",
    "lsun_root": "directory with one LSUN export in each of its directories",
    "data_mb": "MiB of a split's decoded images that training keeps in memory; more are read as they are needed",
    "tensorboard": "1: training writes series for TensorBoard",
    "gpu_lock": "file that guards the GPU; two GPUs, two files",
}


def apply(path: Path = FILE) -> None:
    """Put the settings of local.yaml into the environment, where the stages read them. Raises UserError."""
    if not path.exists():
        return
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    if not isinstance(settings, dict):
        raise UserError(f"{path}: it must be a mapping")
    for key, value in settings.items():
        if key not in KEYS:
            raise UserError(f"{path}: {key} is unknown; known keys are {', '.join(KEYS)}")
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise UserError(f"{path}: {key} is {value!r}; it must be a text or a whole number")
        os.environ.setdefault(f"TEXTGAN_{key.upper()}", str(value))
