"""Each preset builds its networks: every size fits the next, without a picture being computed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from textgan import params
from textgan.growth import parts_of
from textgan.networks.build import build_networks
from textgan.training import new_training

META = torch.device("meta")
PRESETS = Path(__file__).parents[1] / "presets"
NAMES = sorted(path.stem for path in PRESETS.glob("*.yaml") if not path.stem.endswith(".smoke"))


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_builds_its_networks(name, monkeypatch):
    """Pictures of its size from a sentence; D judges them; optimisers and rates are built, too."""
    monkeypatch.setattr("torch.nn.init.orthogonal_", lambda weight, gain=1.0: weight)  # minutes for nothing
    loaded = params.load(PRESETS / f"{name}.yaml")
    for dataset in loaded.datasets.values():
        width, height = dataset.images.width, dataset.images.height
        for part in parts_of(dataset.train, width, height):
            networks = build_networks(part.params, part.width, part.height, 300, torch.device("cpu"))
            new_training(part, networks)
        for module in (networks.text, networks.G, networks.D):
            module.to(META)
        c = networks.text(torch.ones(2, dataset.pairs.max_tokens, dtype=torch.int64, device=META))
        pictures = networks.G(torch.empty(2, dataset.train.z_dim, device=META), c)
        assert pictures.shape == (2, 3, height, width)
        judged = networks.D(networks.D.features(pictures))
        assert judged.matched(c).shape == judged.base.shape and judged.vectors.shape[2] == dataset.train.text_dim
        assert dataset.train.batch_size % 8 == 0  # a node of eight GPUs divides it
