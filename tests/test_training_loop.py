"""Training: resume equals not stopping, the same bytes twice, and every switch changes one thing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny_training import settings, write_data
from textgan import train as stage
from textgan.errors import UserError
from textgan.params import TrainParams


@pytest.fixture(autouse=True)
def one_thread():
    """Bits depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with data in it."""
    monkeypatch.chdir(tmp_path)
    return write_data(Path())


def trained(place: tuple[Path, Path], params: TrainParams, out: str) -> dict[str, bytes]:
    """Files of the snapshot of one training."""
    stage.train("tiny", params, *place, Path(out), Path("runs"))
    return {path.name: path.read_bytes() for path in sorted(Path(out).iterdir())}


@pytest.mark.parametrize("architecture", ["projected", "scratch"])
def test_resuming_equals_not_stopping(place, monkeypatch, architecture):
    """The snapshot's bytes are the same with and without a SIGTERM in the middle, between two ticks."""
    params = settings(architecture=architecture)
    whole = trained(place, params, "whole")
    steps = 0
    after_step = stage.Caretaker.__call__

    def stop_at_three(self, training, num):
        nonlocal steps
        steps += 1
        if steps == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return after_step(self, training, num)

    monkeypatch.setattr(stage.Caretaker, "__call__", stop_at_three)
    with pytest.raises(SystemExit) as stopped:
        trained(place, params, "resumed")
    assert stopped.value.code == 143 and not Path("resumed").exists()
    assert trained(place, params, "resumed") == whole
    assert steps == 6  # 48 images, 8 a step: nothing was trained twice


def test_kill_loses_at_most_one_interval(place, monkeypatch):
    """A training that dies without warning goes on from its last checkpoint, to the same bytes."""
    whole = trained(place, settings(), "whole")
    steps = 0
    after_step = stage.Caretaker.__call__

    def die_at_five(self, training, num):
        nonlocal steps
        steps += 1
        if steps == 5:
            raise RuntimeError("killed")
        return after_step(self, training, num)

    monkeypatch.setattr(stage.Caretaker, "__call__", die_at_five)
    with pytest.raises(RuntimeError, match="killed"):
        trained(place, settings(), "resumed")
    assert trained(place, settings(), "resumed") == whole
    assert steps == 5 + 2  # 40 images were seen, the checkpoint is at 32


def test_other_parameters_find_no_checkpoint(place):
    """A checkpoint belongs to its parameters: another seed begins at image 0 and ends elsewhere."""
    first = trained(place, settings(), "first")
    assert trained(place, settings(seed=1), "second")["G_ema.safetensors"] != first["G_ema.safetensors"]
    assert not list(Path(".state/unfinished/train").iterdir())


def test_no_ema_snapshot_is_g_itself(place):
    """ema_kimg 0 samples G itself, not an average."""
    trained(place, settings(ema_kimg=0.0), "plain")
    trained(place, settings(), "average")
    plain, average = (load_file(f"{name}/G_ema.safetensors") for name in ("plain", "average"))
    assert any(not torch.equal(plain[name], average[name]) for name in plain)


def test_batch_larger_than_data_is_refused(place):
    """The message names the key, the value and the rule."""
    with pytest.raises(UserError, match="train.batch_size is 64; it must be at most the 60 images"):
        trained(place, settings(batch_size=64), "out")
    assert not Path("out").exists()
