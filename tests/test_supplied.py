"""Extractors of supplied weights: another file is refused, the network is the published one, controls stand beside."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from textgan import params as parameters
from textgan.errors import UserError
from textgan.files import sha256_file
from textgan.metrics import full, supplied
from textgan.metrics.distances import frechet_distance, gaussian_of
from textgan.metrics.features import extract
from textgan.metrics.inception import CONVOLUTIONS, load_inception, resize_like_tensorflow
from textgan.params import WeightsParams
from textgan.verify_extractor import verify_extractor

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
def inception_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "inception.safetensors"
    save_file(tiny_state(), file)
    return file


def of(file: Any) -> WeightsParams:
    target = file / "model.safetensors" if file.is_dir() else file
    return WeightsParams(path=str(file), sha256=sha256_file(target))


@pytest.fixture
def somewhere(tmp_path, monkeypatch):
    """A directory of one's own, and little noise."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(supplied, "NOISE_IMAGES", 24)
    return tmp_path


def pictures(count: int = 4, px: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, px, px, 3)).astype(np.uint8)


def test_the_network_has_the_published_parameters():
    """21,785,568 in front of the classifier: convolutions, and scale and shift of each of their channels."""
    count = sum(out * into * height * width + 2 * out for out, into, height, width in shapes().values())
    assert set(shapes()) == set(CONVOLUTIONS) and count == 21_785_568


def test_features_are_the_same_from_both_kinds_of_file(inception_file, tmp_path):
    torch.save(tiny_state(), tmp_path / "inception.pth")
    images = torch.from_numpy(pictures(2))
    a, b = (load_inception(file).pooled(images) for file in (inception_file, tmp_path / "inception.pth"))
    assert a.shape == (2, 2048 // PART) and torch.equal(a, b) and a.std() > 0


def test_pictures_are_resized_as_tensorflow_1_did():
    row = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
    assert resize_like_tensorflow(row.expand(1, 1, 2, 2), 4)[0, 0, 0].tolist() == [0.0, 0.5, 1.0, 1.0]
    large = torch.rand(1, 3, 8, 8)
    assert torch.equal(resize_like_tensorflow(large, 4), large[:, :, ::2, ::2]), "nothing is averaged"


def test_weights_that_reproduce_no_published_value_say_unverified(inception_file, somewhere):
    extractor = supplied.InceptionExtractor(of(inception_file))
    assert not extractor.verified and extractor.name == "inception_unverified"
    assert json.loads(json.dumps([check.holds for check in extractor.reference])) == [False, False]
    with pytest.raises(UserError, match="not reproduced"):
        verify_extractor(inception_file)


def test_another_file_is_refused(inception_file, tmp_path):
    with pytest.raises(UserError, match=f"sha256 is {sha256_file(inception_file)}.*wants {'0' * 64}"):
        supplied.weights_file(WeightsParams(path=str(inception_file), sha256="0" * 64))
    with pytest.raises(UserError, match="no such file"):
        supplied.weights_file(WeightsParams(path=str(tmp_path / "none.pth"), sha256="0" * 64))
    with pytest.raises(ValueError, match="64 hex digits"):
        WeightsParams(path="x", sha256="abc")


def test_what_is_no_inception_or_holds_code_is_refused(tmp_path):
    state = tiny_state()
    del state["Mixed_7c.branch_pool.conv.weight"]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(UserError, match=r"1 tensors are missing \(Mixed_7c.branch_pool.conv.weight\)"):
        load_inception(tmp_path / "part.safetensors")
    torch.save(UserError("an object"), tmp_path / "object.pth")
    with pytest.raises(UserError, match="more than tensors"):
        load_inception(tmp_path / "object.pth")
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), str(tmp_path / "script.pt"))
    with pytest.raises(UserError):
        load_inception(tmp_path / "script.pt")


def test_the_full_distance_is_that_of_all_images_and_keeps_real_statistics(inception_file, somewhere, monkeypatch):
    extractor = supplied.InceptionExtractor(of(inception_file))
    real, fake = pictures(70), pictures(40, 36)
    reads = []

    def samples(*_):
        reads.append(1)
        yield from ((image, None) for image in real)

    monkeypatch.setattr(full, "BLOCK", 32)
    monkeypatch.setattr(full, "samples", samples)
    monkeypatch.setattr(full, "read_captions", lambda *_: [[1], [2]])
    monkeypatch.setattr(full, "manifest_of", lambda _: {"splits": {"train": {"shards": [{"sha256": "a"}]}}})
    monkeypatch.setattr(full, "generate", lambda _, ids, seeds: fake[: len(ids)])
    snapshot: Any = SimpleNamespace(settings=SimpleNamespace(text_encoder="words"))
    found = [full.full_distance("d", snapshot, extractor, 32, 0) for _ in range(2)]
    wanted = frechet_distance(
        gaussian_of(extract(real, extractor, "real")), gaussian_of(extract(fake[:32], extractor, "fake"))
    )
    assert found[0] == found[1] and len(reads) == 1
    assert found[0]["value"] == pytest.approx(wanted, rel=1e-6)
    assert found[0]["name"] == "fid32_full_unverified" and found[0]["real_images"] == 70


@pytest.fixture(scope="module")
def clip_directory(tmp_path_factory):
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


def test_clip_scores_are_cosines_of_an_image_and_its_text(clip_directory, somewhere):
    clip = supplied.ClipExtractor(of(clip_directory))
    texts, images = ["a red cat", "a car"], pictures(2)
    found = supplied.clip_scores(clip, images, texts, "pictures")
    cosines = (extract(images, clip) * clip.texts(texts)).sum(axis=1)
    assert found == pytest.approx(100 * cosines.clip(min=0), rel=1e-5)
    assert np.linalg.norm(clip.texts(texts), axis=1) == pytest.approx([1, 1], rel=1e-5)
    assert np.array_equal(clip.texts(texts)[1], clip.texts(["a car"])[0]), "company changes nothing"


def test_dinov2_is_read_and_another_model_is_not(clip_directory, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    transformers.Dinov2Model(config).save_pretrained(tmp_path)
    extractors = supplied.load_supplied({"dinov2": of(tmp_path)})
    assert extract(pictures(3), extractors[0]).shape == (3, 16)
    with pytest.raises(UserError, match="type 'clip'; 'dinov2' is wanted"):
        supplied.DinoExtractor(of(clip_directory))


def test_params_name_weights_and_know_their_names():
    value = json.loads(
        '{"seed": 0, "num_images": 32, "prompts": "test", "agreement_images": 2, "grid_prompts": 1, "grid_seeds": 1}'
    )
    read = parameters.from_mapping(parameters.EvaluateParams, value, "params.yaml", "evaluate")
    assert read.weights is None and read.full_images == 50_000
    with pytest.raises(UserError, match="weights is 'vgg'; it must be one of clip, dinov2, inception"):
        weights = {"vgg": {"path": "x", "sha256": "0" * 64}}
        parameters.from_mapping(parameters.EvaluateParams, {**value, "weights": weights}, "params.yaml", "evaluate")
