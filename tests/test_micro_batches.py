"""Out of memory: a step in cuts gives the gradients of the whole one, and nothing of a failed try remains."""

from __future__ import annotations

import json
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

from tests import tiny_training
from tests.test_training_loop import OPTIMISERS, TWO, in_doubles
from tests.tiny_training import settings, sigterm_after
from textgan import train as stage
from textgan.errors import UserError
from textgan.growth import parts_of
from textgan.micro_batches import cuts_of
from textgan.networks.build import build_networks
from textgan.networks.generator import Generator
from textgan.networks.scratch import ScratchDiscriminator
from textgan.training import RealFeatures, Training, new_training
from textgan.training_data import load_split
from textgan.training_loop import game_step, text_step

PAIRS = {"g_pair": 1.0, "g_pixels": 0.2, "g_pair_every": 2, "z_per_caption": 2}
WORDS = 16


one_thread, place = tiny_training.one_thread, tiny_training.place


NO_ROOM = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
NO_ROOM_CPU = RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory")


def room_for(
    replace, network: type[torch.nn.Module], images: int, error: Exception = NO_ROOM, training: bool = True
) -> None:
    """From now on `network` cannot look at more than so many images, in training mode (or in the other one)."""
    forward = network.forward

    def limited(self, first, *rest):
        size = len(first[0] if isinstance(first, list) else first)
        if size > images and self.training == training:
            raise error
        return forward(self, first, *rest)

    replace(network, "forward", limited)


def trained(place: tuple[Path, Path], out: str, **changes) -> Path:
    stage.train("tiny", settings(**changes), *place, Path(out), Path("runs"))
    return Path(out)


def test_cuts_are_equal_and_cover_the_part():
    """Of the largest size that divides the part and is not above what fits."""
    assert cuts_of(slice(8, 16), 0) == [slice(8, 16)]
    assert cuts_of(slice(8, 16), 5) == [slice(8, 12), slice(12, 16)]
    assert len(cuts_of(slice(0, 15), 7)) == 3 and len(cuts_of(slice(0, 7), 6)) == 7
    assert cuts_of(slice(0, 4), 100) == [slice(0, 4)]  # resumed by more processes


def test_what_is_compared_stays_in_one_cut():
    """The pictures of one caption, whatever fits."""
    assert cuts_of(slice(4, 16), 5, together=2) == [slice(4, 8), slice(8, 12), slice(12, 16)]
    assert cuts_of(slice(0, 6), 1, together=3) == [slice(0, 3), slice(3, 6)]


GAMES = {
    "projected": {"architecture": "projected", **PAIRS},
    "augmented": {"architecture": "projected", "augment": "translate_cutout", **PAIRS},
    "relativistic": {"objective": "relativistic", "r2_gamma": 0.1},
    "hinge": {"hard_mismatches": 0},
}


@pytest.mark.parametrize("changes", GAMES.values(), ids=list(GAMES))
def test_gradients_and_values_in_cuts_are_those_of_the_whole(place, monkeypatch, changes):
    """In double precision, of D, text encoder and G, in a text step and a step of the game."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    params = settings(**changes, optimiser="sgd", beta1=0.0)  # a gradient that is not applied stays what it is
    found = []
    torch.set_default_dtype(torch.float64)
    try:
        for micro_batch in (0, 2):
            training = start(place, params)
            training.state.micro_batch = micro_batch
            found.append(two_steps(place, training))
    finally:
        torch.set_default_dtype(torch.float32)
    whole, cut = found
    assert whole.keys() == cut.keys()
    for name, value in whole.items():
        torch.testing.assert_close(cut[name], value, rtol=1e-7, atol=1e-10, msg=f"{name}: in cuts other than whole")


def start(place: tuple[Path, Path], params) -> Training:
    training = new_training(parts_of(params, 32, 32)[-1], build_networks(params, 32, 32, WORDS, torch.device("cpu")))
    for optimiser in (training.D_opt, training.G_opt):
        for group in optimiser.param_groups:
            group["lr"] = 1e-3
    return training


def two_steps(place: tuple[Path, Path], training: Training) -> dict[str, torch.Tensor]:
    """What two steps leave behind: gradients, weights, spectral norms, statistics."""
    params, networks = training.params, training.networks
    data = load_split(*place, "train", WORDS)
    real_features = RealFeatures(data, training, torch.device("cpu"))
    left: dict[str, torch.Tensor] = {}
    for step in (text_step, game_step):
        batch = data.batch(0, training.state.cur_nimg, params.batch_size, params.hard_mismatches)
        stats = step(training, batch, real_features, torch.Generator().manual_seed(1))
        left |= {f"{step.__name__}/{name}": value for name, value in stats.items()}
        for owner, net in (("text", networks.text), ("D", networks.D), ("G", networks.G)):
            left |= {f"{step.__name__}/{owner}/{name}": value.clone() for name, value in net.state_dict().items()}
            weights = {name: value.grad for name, value in net.named_parameters() if value.grad is not None}
            left |= {f"{step.__name__}/{owner}/{name}.grad": value.clone() for name, value in weights.items()}
        training.state.cur_nimg += params.batch_size
    return left


@pytest.mark.parametrize(
    ("network", "images", "error"),
    [(Generator, 2, NO_ROOM), (ScratchDiscriminator, 5, NO_ROOM_CPU)],
    ids=["gpu", "cpu"],
)
def test_a_training_that_ran_out_of_memory_equals_one_that_was_cut(place, monkeypatch, capsys, network, images, error):
    """The same bytes; said on the terminal, in the curve, beside the clock and in the snapshot."""
    with monkeypatch.context() as limit:
        room_for(limit.setattr, network, images, error)
        failed = trained(place, "failed", text_kimg=0.0)
    said = re.findall(r"memory at image (\d+) with (\d+) images at once; goes on with (\d+)", capsys.readouterr().err)
    assert said == [("0", "8", "4"), ("0", "4", "2")]
    assert set(pd.read_csv(failed / "curve.csv").micro_batch) == {2}
    assert json.loads(Path("runs/clock.jsonl").read_text().splitlines()[-1])["micro_batch"] == 2
    assert json.loads((failed / "snapshot.json").read_text())["micro_batch"] == 2

    def cut_already(*where) -> Training:
        training = new_training(*where)
        training.state.micro_batch = 2
        return training

    monkeypatch.setattr(stage, "new_training", cut_already)
    cut = trained(place, "cut", text_kimg=0.0)
    assert all((failed / path.name).read_bytes() == path.read_bytes() for path in cut.iterdir())


def test_d_is_not_stepped_twice_where_g_alone_fails(place, monkeypatch):
    """D ends in the same bits as without a failure, and G in the same weights but for rounding."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    params = settings(optimiser="sgd", beta1=0.0)
    torch.set_default_dtype(torch.float64)
    try:
        whole = two_steps(place, start(place, params))
        room_for(monkeypatch.setattr, ScratchDiscriminator, 2, training=False)  # as it is when G learns
        training = start(place, params)
        failed = two_steps(place, training)
    finally:
        torch.set_default_dtype(torch.float32)
    assert training.state.micro_batch == 2
    for name, value in whole.items():
        if "/G/" not in name and "/D/" in name or "/text/" in name:
            assert torch.equal(failed[name], value), name
        torch.testing.assert_close(failed[name], value, rtol=1e-7, atol=1e-10)


def test_resuming_goes_on_in_cuts(place, monkeypatch):
    """After SIGTERM, on a machine with more room, to the bytes of a training that was not stopped."""
    with monkeypatch.context() as limit:
        room_for(limit.setattr, Generator, 4)
        whole = trained(place, "whole")
        sigterm_after(limit, 3)
        with pytest.raises(SystemExit):
            trained(place, "resumed")
    resumed = trained(place, "resumed")
    assert all((resumed / path.name).read_bytes() == path.read_bytes() for path in whole.iterdir())
    assert json.loads((resumed / "snapshot.json").read_text())["micro_batch"] == 4


def test_one_image_that_does_not_fit_is_said_in_one_line(place, monkeypatch):
    """With the keys to lower and the last checkpoint; other errors are not taken for it."""
    with monkeypatch.context() as limit:
        room_for(limit.setattr, Generator, 0)
        with pytest.raises(UserError, match="too little memory for one image at a time; lower g_channels"):
            trained(place, "out")
    room_for(monkeypatch.setattr, Generator, 0, RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        trained(place, "out")


SCRIPT = """
import os, sys, torch
from pathlib import Path
from tests.test_micro_batches import room_for
from tests.test_training_loop import OPTIMISERS, TWO, in_doubles
from tests.tiny_training import settings
from textgan import train
from textgan.networks.generator import Generator
torch.set_num_threads(1)
in_doubles(setattr)
if os.environ["RANK"] == "1":
    room_for(setattr, Generator, int(sys.argv[1]))
where = Path("data/images/tiny"), Path("data/pairs/tiny"), Path("two")
train.train("tiny", settings(**TWO, **OPTIMISERS["adam"][1]), *where, Path("runs"))
"""


def in_two_processes(root: Path, room: int) -> list[int]:
    """Exit codes; the second one alone has room for so many images only."""
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
    command = [sys.executable, "-c", SCRIPT, str(room)]
    processes = [subprocess.Popen(command, env={**environment, "RANK": str(rank)}, cwd=root) for rank in range(2)]
    return [process.wait(timeout=280) for process in processes]


@pytest.mark.slow
def test_processes_cut_together(place, monkeypatch):
    """One of two runs out of memory: both cut, and the curve is that of one process; neither waits for the other."""
    in_doubles(monkeypatch.setattr)
    try:
        one = pd.read_csv(trained(place, "one", **TWO, **OPTIMISERS["adam"][1]) / "curve.csv")
    finally:
        torch.set_default_dtype(torch.float32)
        monkeypatch.undo()
    root = place[0].parents[2]
    assert in_two_processes(root, 2) == [0, 0]
    two = pd.read_csv(root / "two/curve.csv")
    assert set(two.micro_batch[1:]) == {2}
    np.testing.assert_allclose(one.to_numpy(), two[one.columns].to_numpy(), atol=1e-5, rtol=1e-5)
    assert in_two_processes(root, 0) == [1, 1]  # not one image: both stop
