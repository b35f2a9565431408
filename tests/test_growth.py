"""Growing: what was learnt at half the size is what the full size begins with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from tests.tiny_training import settings, write_data
from textgan import train as stage
from textgan.errors import UserError
from textgan.growth import at_half_size, half_of, parts_of
from textgan.networks.build import build_networks
from textgan.networks.layers import blend_twice, repeat_twice
from textgan.sampling import generate, load_snapshot, read_prompts
from textgan.text import Vocabulary, encode_prompt
from textgan.training import RealFeatures, new_training
from textgan.training_data import load_split

CPU = torch.device("cpu")
GROWING = {"grow_kimg": 0.024, "architecture": "projected", "z_per_caption": 2, "g_pixels": 1.0}


@pytest.mark.parametrize(("generator", "doubled"), [("fastgan", repeat_twice), ("dfgan", blend_twice)])
def test_the_full_size_begins_with_the_doubled_pictures(generator, doubled):
    """Of G and of its average, which differ; D of the other scale is not taken over, the words are."""
    params = settings(**GROWING, generator=generator)
    half, full = (
        new_training(part, build_networks(part.params, part.width, part.height, 20, CPU))
        for part in parts_of(params, 32, 32)
    )
    with torch.no_grad():
        for weight in half.networks.G.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.05)
        half.networks.text.embedding.weight.add_(1.0)
    full.grow_from(half)
    z, c = torch.randn(4, params.z_dim), torch.randn(4, params.text_dim)
    for before, now in (
        (half.networks.G, full.networks.G),
        (half.networks.G_ema.generator, full.networks.G_ema.generator),
    ):
        assert now(z, c).shape == (4, 3, 32, 32)
        torch.testing.assert_close(now(z, c), doubled(before(z, c)))
    assert not torch.equal(full.networks.G(z, c), full.networks.G_ema.generator(z, c))
    blocks = full.networks.G.blocks
    assert [block.upsample for block in blocks] == [*[doubled] * (len(blocks) - 1), repeat_twice]
    assert generator == "fastgan" or float(blocks[-1].gate) == 1.0
    words = torch.tensor([[2, 5, 3]])
    assert torch.equal(full.networks.text(words), half.networks.text(words))
    assert full.state is half.state and full.state.part == 1


@pytest.mark.parametrize("generator", ["fastgan", "dfgan"])
def test_the_finest_level_learns(generator):
    """Its colours are zero at first, their gradient is not."""
    params = settings(**GROWING, generator=generator)
    G = build_networks(params, 32, 32, 20, CPU).G
    G.grow_from(build_networks(at_half_size(params), 16, 16, 20, CPU).G)
    G(torch.randn(2, params.z_dim), torch.randn(2, params.text_dim)).square().sum().backward()
    assert float(G.to_rgb.conv.weight.grad.abs().sum()) > 0


def test_real_images_are_halved_by_means(tmp_path):
    """D at half the size sees the mean of each four pixels."""
    images, pairs = write_data(tmp_path)
    data = load_split(images, pairs, "train", 20)
    half = parts_of(settings(**GROWING), 32, 32)[0]
    seen = RealFeatures(data, new_training(half, build_networks(half.params, 16, 16, 20, CPU)), CPU)
    index = torch.arange(3)
    expected = F.avg_pool2d(data.images[index].float() / 127.5 - 1, 2)
    torch.testing.assert_close(seen.images_at(index), expected)
    assert seen(index, torch.zeros(3, 4))[0].shape[2:] == (8, 8)  # stride 4 of 32 pixels, as of the full size


def test_a_grown_snapshot_is_sampled(tmp_path, monkeypatch):
    """It says that it grew, and its pictures have the full size."""
    images, pairs = write_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    stage.train("tiny", settings(**GROWING), images, pairs, Path("models/tiny"), Path("runs"))
    snapshot = load_snapshot(Path("models/tiny"))
    assert snapshot.info["train"]["grow_kimg"] == 0.024
    tokens = [encode_prompt("a red cat", Vocabulary.load(snapshot.vocabulary_file), snapshot.info["max_tokens"])]
    pictures = generate(snapshot, read_prompts(snapshot, ["a red cat"], tokens, ["en"]), [0])
    assert pictures.shape == (1, 32, 32, 3) and pictures.dtype == np.uint8


def test_nothing_is_kept_before_the_finest_level_has_played(tmp_path, monkeypatch):
    """A score is due at 32 images, but the step that ends there still teaches words: zero weights would win there."""
    images, pairs = write_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    changes = {"grow_kimg": 0.022, "text_kimg": 0.02, "total_kimg": 0.056, "select_kimg": 0.016}
    stage.train("tiny", settings(**{**GROWING, **changes}), images, pairs, Path("models/tiny"), Path("runs"))
    kept = load_file(Path("models/tiny/G_ema.safetensors"))
    assert float(kept["generator.to_rgb.conv.weight"].abs().sum()) > 0
    scored = [line for line in Path("models/tiny/curve.csv").read_text().splitlines()[1:] if line.split(",")[-1]]
    assert all(int(line.split(",")[0]) > 32 for line in scored) and scored


@pytest.mark.parametrize(("full", "half"), [(32, 32), (48, 48), (64, 48), (128, 64)])
def test_the_frozen_network_sees_enough_of_the_half_size(full, half):
    """Half of what it will see, but 48 pixels, unless it never sees as many."""
    assert at_half_size(settings(**GROWING, extractor_px=full)).extractor_px == half


@pytest.mark.parametrize(("size", "why"), [((65, 64), "it has no half"), ((16, 16), "8x8 cannot be built")])
def test_sizes_that_cannot_be_grown_to_are_refused(size, why):
    """One line with the key."""
    with pytest.raises(UserError, match=f"images: {size[0]}x{size[1]} cannot be grown to: {why}.*grow_kimg to 0"):
        half_of(*size)


@pytest.mark.parametrize("kimg", [-1, 0.008, 0.038, 0.048])
def test_growing_lies_between_words_and_the_end(kimg):
    """By key, value and rule."""
    with pytest.raises(ValueError, match=f"grow_kimg is {kimg}; it must be 0, or above text_kimg and, with"):
        settings(**{**GROWING, "grow_kimg": kimg})
