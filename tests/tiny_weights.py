"""Weights of the networks that users supply, as small as they go: random numbers in the files of the real ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

PART = 16
"""The tiny network's layers are so many times narrower."""


def shapes(part: int = 1) -> dict[str, tuple[int, ...]]:
    """Out, in, height, width of each convolution, from the papers' table."""
    found = {
        "Conv2d_1a_3x3": (32, 3, 3, 3), "Conv2d_2a_3x3": (32, 32, 3, 3), "Conv2d_2b_3x3": (64, 32, 3, 3),
        "Conv2d_3b_1x1": (80, 64, 1, 1), "Conv2d_4a_3x3": (192, 80, 3, 3),
    }  # fmt: skip

    def block(name: str, channels: int, *rows: tuple[str, int, int | None, int, int]) -> None:
        for branch, out, into, height, width in rows:
            found[f"{name}.{branch}"] = (out, into or channels, height, width)

    double = [("branch3x3dbl_1", 64, None, 1, 1), ("branch3x3dbl_2", 96, 64, 3, 3)]
    for name, channels, pool in (("Mixed_5b", 192, 32), ("Mixed_5c", 256, 64), ("Mixed_5d", 288, 64)):
        block(
            name, channels, ("branch1x1", 64, None, 1, 1), ("branch5x5_1", 48, None, 1, 1),
            ("branch5x5_2", 64, 48, 5, 5), *double, ("branch3x3dbl_3", 96, 96, 3, 3), ("branch_pool", pool, None, 1, 1),
        )  # fmt: skip
    block("Mixed_6a", 288, ("branch3x3", 384, None, 3, 3), *double, ("branch3x3dbl_3", 96, 96, 3, 3))
    for name, c in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        block(
            name, 768, ("branch1x1", 192, None, 1, 1),
            ("branch7x7_1", c, None, 1, 1), ("branch7x7_2", c, c, 1, 7), ("branch7x7_3", 192, c, 7, 1),
            ("branch7x7dbl_1", c, None, 1, 1), ("branch7x7dbl_2", c, c, 7, 1), ("branch7x7dbl_3", c, c, 1, 7),
            ("branch7x7dbl_4", c, c, 7, 1), ("branch7x7dbl_5", 192, c, 1, 7), ("branch_pool", 192, None, 1, 1),
        )  # fmt: skip
    block(
        "Mixed_7a", 768, ("branch3x3_1", 192, None, 1, 1), ("branch3x3_2", 320, 192, 3, 3),
        ("branch7x7x3_1", 192, None, 1, 1), ("branch7x7x3_2", 192, 192, 1, 7), ("branch7x7x3_3", 192, 192, 7, 1),
        ("branch7x7x3_4", 192, 192, 3, 3),
    )  # fmt: skip
    for name, channels in (("Mixed_7b", 1280), ("Mixed_7c", 2048)):
        block(
            name, channels, ("branch1x1", 320, None, 1, 1), ("branch3x3_1", 384, None, 1, 1),
            ("branch3x3_2a", 384, 384, 1, 3), ("branch3x3_2b", 384, 384, 3, 1), ("branch3x3dbl_1", 448, None, 1, 1),
            ("branch3x3dbl_2", 384, 448, 3, 3), ("branch3x3dbl_3a", 384, 384, 1, 3),
            ("branch3x3dbl_3b", 384, 384, 3, 1), ("branch_pool", 192, None, 1, 1),
        )  # fmt: skip
    return {
        name: (out // part, into if into == 3 else into // part, height, width)
        for name, (out, into, height, width) in found.items()
    }


def tiny_state() -> dict[str, torch.Tensor]:
    """Inception, PART times narrower, under the names of its published weights."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes(PART).items():
        weight = torch.randn(shape, generator=generator)
        state[f"{name}.conv.weight"] = weight * (2 / weight[0].numel()) ** 0.5
        state[f"{name}.bn.weight"] = 1 + 0.1 * torch.randn(shape[0], generator=generator)
        state[f"{name}.bn.bias"] = 0.1 * torch.randn(shape[0], generator=generator)
        state[f"{name}.bn.running_mean"] = 0.1 * torch.randn(shape[0], generator=generator)
        state[f"{name}.bn.running_var"] = 1 + torch.rand(shape[0], generator=generator)
    return state


@pytest.fixture(scope="module")
def clip_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLIP of one layer each, and a tokenizer of seven words. A module names it to take it: `clip_directory = ...`."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    place = tmp_path_factory.mktemp("clip")
    words = {word: idx for idx, word in enumerate(["<pad>", "<unk>", "a", "red", "cat", "car", "<end>"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="<end>"
    ).save_pretrained(place)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    transformers.CLIPModel(
        transformers.CLIPConfig(
            text_config={**small, "vocab_size": 7, "max_position_embeddings": 12, "eos_token_id": 6},
            vision_config={**small, "image_size": 32, "patch_size": 16},
            projection_dim=8,
        )
    ).save_pretrained(place)
    return place
