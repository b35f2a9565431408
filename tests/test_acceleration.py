"""bfloat16, torch.compile and deterministic kernels: wired so that training is the same in all but its last bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tests.tiny_training import settings, write_data
from textgan import acceleration
from textgan import train as stage
from textgan.networks.build import build_networks

CPU = torch.device("cpu")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with data in it, and one thread."""
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield write_data(Path())
    torch.set_num_threads(before)


def curve(place: tuple[Path, Path], out: str, **changes) -> pd.DataFrame:
    """Of a training of three steps, a row each; its snapshot must be of fp32."""
    params = settings(architecture="projected", total_kimg=0.024, tick_kimg=0.008, **changes)
    stage.train("tiny", params, *place, Path(out), Path("runs"))
    assert {value.dtype for value in load_file(f"{out}/G_ema.safetensors").values()} == {torch.float32}
    return pd.read_csv(f"{out}/curve.csv")


def test_bf16_and_compile_train_as_fp32_does(place, monkeypatch):
    """Losses of the first steps are near, by either or both, but not equal: the switches do something."""
    monkeypatch.setattr(acceleration, "BACKEND", "aot_eager")
    plain = curve(place, "plain")
    for name, changes in {"half": {"precision": "bf16"}, "compiled": {"precision": "bf16", "compile": True}}.items():
        other = curve(place, name, **changes)
        assert list(other.columns) == list(plain.columns)
        assert not np.array_equal(other["d_loss"], plain["d_loss"])
        np.testing.assert_allclose(other[["d_loss", "g_loss"]], plain[["d_loss", "g_loss"]], rtol=0.05, atol=0.05)


def test_compiled_networks_have_the_same_weights_by_the_same_names(monkeypatch):
    """A checkpoint does not say whether its training was compiled; gradients reach G through the compiled part."""
    monkeypatch.setattr(acceleration, "BACKEND", "aot_eager")
    plain = build_networks(settings(architecture="projected"), 32, 32, 10, CPU)
    names = {name: list(module.state_dict()) for name, module in plain.modules().items()}
    z, ids = torch.randn(2, 8), torch.tensor([[4, 5], [6, 0]])
    expected = plain.D(plain.D.features(plain.G(z, plain.text(ids)))).patches.detach()
    plain.D.train(False)
    acceleration.accelerate(plain, settings(architecture="projected", compile=True), CPU)
    judged = plain.D(plain.D.features(plain.G(z, plain.text(ids))))
    assert names == {name: list(module.state_dict()) for name, module in plain.modules().items()}
    torch.testing.assert_close(judged.patches.detach(), expected, rtol=0.05, atol=0.05)
    judged.patches.mean().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in plain.G.blocks.parameters())


def test_spectral_norms_are_not_rounded():
    """Under bf16 the norms of the weights come out as they do under fp32."""
    params = settings(architecture="scratch", precision="bf16")
    plain, half = (build_networks(params, 32, 32, 10, CPU) for _ in range(2))
    acceleration.accelerate(half, params, CPU)
    with acceleration.precision(params, CPU):
        weight = half.D.head.patch.weight
    torch.testing.assert_close(weight, plain.D.head.patch.weight, rtol=0, atol=0)
    assert weight.dtype == torch.float32


def test_determinism_of_a_cpu_needs_no_switch(monkeypatch):
    """The flags of a GPU are left alone."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    acceleration.set_determinism(settings(deterministic=True), CPU)
    assert not torch.are_deterministic_algorithms_enabled()


def test_determinism_of_a_gpu_sets_what_torch_asks_for(monkeypatch):
    """cuBLAS's workspace, deterministic algorithms, and no search for kernels; without it, the search."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    for flag in ("deterministic", "benchmark"):
        monkeypatch.setattr(torch.backends.cudnn, flag, getattr(torch.backends.cudnn, flag))
    try:
        for wanted in (True, False):
            acceleration.set_determinism(settings(deterministic=wanted), torch.device("cuda"))
            assert torch.are_deterministic_algorithms_enabled() is wanted
            assert torch.backends.cudnn.deterministic is wanted and torch.backends.cudnn.benchmark is not wanted
    finally:
        torch.use_deterministic_algorithms(False)


def test_series_for_tensorboard(place, monkeypatch):
    """The rows of the curve, where they are asked for and the package is there."""
    pytest.importorskip("tensorboard")
    monkeypatch.setenv("TEXTGAN_TENSORBOARD", "1")
    curve(place, "out")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator("runs/tensorboard").Reload()
    assert [event.step for event in events.Scalars("d_loss")] == [16, 24]  # the first step is the words' alone
