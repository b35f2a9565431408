"""Training: resume equals not stopping, the same bytes twice, and every switch changes one thing."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tests import tiny_training
from tests.tiny_training import settings, sigterm_after
from textgan import train as stage
from textgan.distributed import local_part
from textgan.errors import UserError
from textgan.params import TrainParams
from textgan.training_loop import _held

one_thread, place = tiny_training.one_thread, tiny_training.place


def trained(place: tuple[Path, Path], params: TrainParams, out: str) -> dict[str, bytes]:
    """Files of the snapshot of one training."""
    stage.train("tiny", params, *place, Path(out), Path("runs"))
    return {path.name: path.read_bytes() for path in sorted(Path(out).iterdir())}


def failing_at(monkeypatch: pytest.MonkeyPatch, step: int, error: Exception) -> list[int]:
    """Raise `error` after the given step of all that follow; the list grows with the steps."""

    def fail() -> None:
        raise error

    return tiny_training.acting_after(monkeypatch, step, fail)


PAIRS = {"g_pair": 1.0, "g_pixels": 0.2, "g_pair_every": 2, "z_per_caption": 2}
"""Two pictures of each caption; those of half of the captions are held against its real image and each other."""


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "projected", **PAIRS},
        {"architecture": "projected"},
        {"architecture": "scratch"},
        {"architecture": "projected", "grow_kimg": 0.016},  # stopped at the full size
        {"architecture": "projected", "generator": "dfgan", "grow_kimg": 0.024},  # stopped before it grows
        {"architecture": "scratch", "grow_kimg": 0.032},  # stopped at half the size
    ],
)
def test_resuming_equals_not_stopping(place, monkeypatch, changes):
    """The snapshot's bytes are the same with and without a SIGTERM in the middle, between two ticks."""
    params = settings(**changes)
    whole = trained(place, params, "whole")
    steps = sigterm_after(monkeypatch, 3)
    with pytest.raises(SystemExit) as stopped:
        trained(place, params, "resumed")
    assert stopped.value.code == 143 and not Path("resumed").exists()
    assert trained(place, params, "resumed") == whole
    assert len(steps) == 6  # 48 images, 8 a step: nothing was trained twice


def test_one_in_so_many_captions_is_held_against_its_image():
    """It stands for the others; its pictures go together."""
    device, pictures = torch.device("cpu"), torch.arange(12)
    assert _held(1, pictures, device).tolist() == [1] * 12
    assert _held(3, pictures, device).tolist() == [3, 0, 0] * 4
    assert _held(2, pictures // 3, device).tolist() == [2, 2, 2, 0, 0, 0] * 2


def test_kill_loses_at_most_one_interval(place, monkeypatch):
    """A training that dies without warning goes on from its last checkpoint, to the same bytes."""
    whole = trained(place, settings(), "whole")
    steps = failing_at(monkeypatch, 5, RuntimeError("killed"))
    with pytest.raises(RuntimeError, match="killed"):
        trained(place, settings(), "resumed")
    assert trained(place, settings(), "resumed") == whole
    assert len(steps) == 5 + 2  # 40 images were seen, the checkpoint is at 32


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


def test_threads_do_not_depend_on_the_machine(monkeypatch):
    """Two in all, whatever OMP_NUM_THREADS says; a number of one's own is checked."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    for processes, threads in (("1", 2), ("2", 1), ("4", 1)):
        monkeypatch.setenv("WORLD_SIZE", processes)
        assert stage._threads() == threads
    monkeypatch.setenv("TEXTGAN_THREADS", "many")
    with pytest.raises(UserError, match="TEXTGAN_THREADS is 'many'"):
        stage._threads()


TWO = {"total_kimg": 0.08, "tick_kimg": 0.008, "architecture": "projected", **PAIRS}
"""Ten steps, a row each."""
OPTIMISERS = {
    "sgd": ("float32", {"optimiser": "sgd", "beta1": 0.9, "g_lr": 0.0001, "d_lr": 0.0003}),
    "adam": ("float64", {"optimiser": "adam"}),
}
"""Adam in double precision: its first steps divide a gradient by its own size, so that in fp32, where the order of a
sum is in the last bits, a gradient that is all but zero moves its weight by the full rate up in one and down in two
processes. Were anything else not the same (norms, averages, noise), it would not be the same in double precision.
SGD at gentle rates: at 0.001, rounding alone parts the losses of two processes within ten steps."""
SCRIPT = """
import sys, torch
from pathlib import Path
from tests.test_training_loop import OPTIMISERS, TWO, in_doubles
from tests.tiny_training import settings
from textgan import train
torch.set_num_threads(1)
dtype, changes = OPTIMISERS[sys.argv[1]]
if dtype == "float64":
    in_doubles(setattr)
where = Path("data/images/tiny"), Path("data/pairs/tiny"), Path("two")
train.train("tiny", settings(**TWO, **changes), *where, Path("runs"))
"""


def in_doubles(replace) -> None:
    """Everything in double precision, what asks for floats as well."""
    torch.set_default_dtype(torch.float64)
    replace(torch.Tensor, "float", torch.Tensor.double)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_two_processes_equal_one(place, monkeypatch, optimiser):
    """Ten steps of batch 8 in one process, and of 4 + 4 in two over gloo: every row of the curve agrees to 1e-5."""
    dtype, changes = OPTIMISERS[optimiser]
    try:
        if dtype == "float64":
            in_doubles(monkeypatch.setattr)
        trained(place, settings(**TWO, **changes), "one")
    finally:
        torch.set_default_dtype(torch.float32)
        monkeypatch.undo()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
    }
    root = place[0].parents[2]
    command = [sys.executable, "-c", SCRIPT, optimiser]
    processes = [subprocess.Popen(command, env={**environment, "RANK": str(rank)}, cwd=root) for rank in range(2)]
    assert [process.wait(timeout=280) for process in processes] == [0, 0]
    one, two = (pd.read_csv(root / name / "curve.csv") for name in ("one", "two"))
    assert len(one) == 10 and list(one.columns) == list(two.columns)
    np.testing.assert_allclose(one.to_numpy(), two.to_numpy(), atol=1e-5, rtol=1e-5)


def test_a_batch_that_cannot_be_divided_is_refused(monkeypatch):
    """The message names the key, the value and the rule."""
    monkeypatch.setattr("textgan.distributed.world_size", lambda: 3)
    with pytest.raises(UserError, match="batch_size is 8; it must be a multiple of the 3 processes"):
        local_part(8)


def test_an_error_says_where_the_training_goes_on(place, monkeypatch, capsys):
    """The last good checkpoint is named, whatever went wrong."""
    failing_at(monkeypatch, 5, ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        trained(place, settings(), "out")
    assert re.search(
        r"train: tiny failed \(the same command goes on from .*checkpoint-000000000032\)", capsys.readouterr().err
    )


ALLOCATORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    MemoryError("Unable to allocate 2.00 GiB for an array"),
]
"""What torch, its CPU allocator, cuDNN and numpy say."""


@pytest.mark.parametrize("error", ALLOCATORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["build_networks", "RealFeatures"])
def test_too_little_memory_outside_of_the_steps_is_said_in_one_line(place, monkeypatch, where, error):
    """The networks that are built and the features that are kept: the key to change, whoever says it."""

    def fail(*_args: object, **_named: object) -> None:
        raise error

    monkeypatch.setattr(stage, where, fail)
    with pytest.raises(UserError, match="datasets.tiny.train: the machine has too little memory .* lower cache_mb"):
        trained(place, settings(), "out")


def test_too_little_memory_names_the_checkpoint(place, monkeypatch):
    """Where the training would go on with another value is in the same line."""
    failing_at(monkeypatch, 5, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(UserError, match=r"lower cache_mb.* \(the same command goes on from .*checkpoint-0+32\)"):
        trained(place, settings(), "out")
