"""Checkpoints: the complete training state, whole or absent, enough to go on bit-identically.

A checkpoint is a directory `checkpoint-<images seen>` with `tensors.safetensors` (weights, buffers,
optimiser moments) and `state.json` (counters, the curve so far). It is written beside its place and
renamed, so that a kill at any moment leaves the one before.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from textgan.errors import UserError
from textgan.files import to_json

PREFIX = "checkpoint-"


def pack(modules: Mapping[str, nn.Module], optimisers: Mapping[str, torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Every tensor of the training by name. Random state needs none: each step is seeded by the images seen."""
    tensors = {}
    for name, module in modules.items():
        for key, value in module.state_dict().items():
            tensors[f"{name}/{key}"] = value
    for name, optimiser in optimisers.items():
        for idx, moments in optimiser.state_dict()["state"].items():
            for key, value in moments.items():
                if value is not None:
                    tensors[f"{name}.optimiser/{idx}/{key}"] = torch.as_tensor(value)
    # Clones: safetensors refuses tensors that share memory, and forgets other memory formats.
    return {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()}


def unpack(
    tensors: Mapping[str, Tensor],
    modules: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
) -> None:
    """Put a training back to where `pack` saw it. Raises KeyError or RuntimeError where the networks are others."""
    for name, module in modules.items():
        module.load_state_dict(
            {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}
        )
    for name, optimiser in optimisers.items():
        moments: dict[int, dict[str, Tensor]] = {}
        weights = [weight for group in optimiser.param_groups for weight in group["params"]]
        for key, value in tensors.items():
            owner, _, rest = key.partition("/")
            if owner == f"{name}.optimiser":
                idx, _, moment = rest.partition("/")
                weight = weights[int(idx)]
                if value.shape == weight.shape:  # the weight's memory format: fused optimisers walk both as flat memory
                    value = torch.empty_like(weight, requires_grad=False).copy_(value)
                moments.setdefault(int(idx), {})[moment] = value
        optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})


def save(directory: Path, cur_nimg: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> Path:
    """Write a checkpoint, then remove older ones."""
    place = directory / f"{PREFIX}{cur_nimg:012d}"
    building = directory / f".{place.name}.{os.getpid()}"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    save_file(dict(tensors), building / "tensors.safetensors")
    (building / "state.json").write_text(to_json(dict(state)), encoding="utf-8")
    for name in ("tensors.safetensors", "state.json"):
        with open(building / name, "rb") as file:
            os.fsync(file.fileno())
    if place.exists():
        shutil.rmtree(place)
    os.replace(building, place)
    for other in directory.iterdir():
        if other != place and other.name.lstrip(".").startswith(PREFIX):
            shutil.rmtree(other, ignore_errors=True)
    return place


def latest(directory: Path) -> Path | None:
    """The last whole checkpoint, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        found = sorted(place for place in directory.iterdir() if place.name.startswith(PREFIX))
        return found[-1] if found else None
    return None


def load(place: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and counters of a checkpoint. Raises UserError that names the file."""
    try:
        state = dict(json.loads((place / "state.json").read_text(encoding="utf-8")))
        return load_file(place / "tensors.safetensors"), state
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise UserError(f"{place}: the checkpoint cannot be read ({error}); remove it to begin again") from None
