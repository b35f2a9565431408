"""Extractors of supplied weights: another file is refused, the network is the published one, controls stand beside."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests import tiny_weights
from tests.tiny_weights import PART, shapes, tiny_state
from textgan import params as parameters
from textgan.errors import UserError
from textgan.files import sha256_file
from textgan.metrics import full, listening, supplied
from textgan.metrics.distances import RunningStatistics, frechet_distance, gaussian_of, merged
from textgan.metrics.features import extract
from textgan.metrics.inception import CONVOLUTIONS, load_inception, resize_like_tensorflow
from textgan.metrics.prompts import Prompts
from textgan.params import WeightsParams
from textgan.verify_extractor import verify_extractor

clip_directory = tiny_weights.clip_directory


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
    real, fake = pictures(70), pictures(40, 36) // 2
    reads, captions = [], [[1], [2]]

    def samples(*_):
        reads.append(1)
        yield from ((image, SimpleNamespace(sample_key=str(place))) for place, image in enumerate(real))

    monkeypatch.setattr(full, "BLOCK", 32)
    monkeypatch.setattr(full, "samples", samples)
    monkeypatch.setattr(full, "keys_of", lambda *_: [str(place) for place in range(len(real))])
    monkeypatch.setattr(full, "read_captions", lambda *_: captions)
    monkeypatch.setattr(full, "manifest_of", lambda _: {"splits": {"train": {"shards": [{"sha256": "a"}]}}})
    monkeypatch.setattr(full, "generate", lambda _, ids, seeds: fake[: len(ids)])
    snapshot: Any = SimpleNamespace(settings=SimpleNamespace(text_encoder="words"))
    found = [full.full_distance("d", snapshot, extractor, 32, 0) for _ in range(2)]
    wanted = frechet_distance(
        gaussian_of(extract(real, extractor, "real")), gaussian_of(extract(fake[:32], extractor, "fake"))
    )
    assert found[0] == found[1] and len(reads) == 1
    assert found[0]["value"] == pytest.approx(wanted, rel=0.01), "covariances of rank 31 in 128 dimensions"
    assert found[0]["name"] == "fid32_full_unverified" and found[0]["real_images"] == 70
    assert (
        found[0]["floor_images"] == 32
        and 0 < found[0]["floor"]
        and found[0]["low"] < found[0]["value"] < found[0]["high"]
    )
    captions[0] = [3]
    other = full.full_distance("d", snapshot, extractor, 32, 0)
    assert other["prompts_sha256"] != found[0]["prompts_sha256"], "other captions of train are other prompts"


def test_the_jackknife_knows_the_deviation_of_a_mean():
    """Where covariances are alike the distance is |mean|^2: its deviation over sets is what leaving out parts says."""
    rng, real = np.random.default_rng(0), gaussian_of(np.random.default_rng(1).standard_normal((20_000, 2)))

    def one() -> tuple[float, float]:
        groups = [RunningStatistics(2) for _ in range(10)]
        for group in groups:
            group.add(rng.standard_normal((100, 2)) + [2.0, 0.0])
        return full.jackknife(real, groups)

    values, spreads = zip(*(one() for _ in range(60)), strict=True)
    assert np.mean(values) == pytest.approx(4, rel=0.02)
    assert np.mean(spreads) == pytest.approx(np.std(values), rel=0.25)


def test_statistics_in_parts_are_those_of_the_whole():
    rows = np.random.default_rng(0).standard_normal((50, 3))
    parts = [RunningStatistics(3) for _ in range(2)]
    for part, some in zip(parts, (rows[:20], rows[20:]), strict=True):
        part.add(some)
    kept = {**full.statistics_as(parts[0], "a"), **full.statistics_as(parts[1], "b")}
    again = merged([full.statistics_from(kept, name) for name in "ab"])
    whole = gaussian_of(rows)
    assert again.count == 50 and np.allclose(again.gaussian().covariance, whole.covariance, rtol=1e-12)


def test_clip_scores_are_cosines_of_an_image_and_its_text(clip_directory, somewhere):
    clip = supplied.ClipExtractor(of(clip_directory))
    texts, images = ["a red cat", "a car"], pictures(2)
    found = supplied.clip_scores(clip, images, clip.texts(texts), "pictures")
    cosines = (extract(images, clip) * clip.texts(texts)).sum(axis=1)
    assert found.shape == (2, 2) and np.diag(found) == pytest.approx(100 * cosines.clip(min=0), rel=1e-5)
    assert np.linalg.norm(clip.texts(texts), axis=1) == pytest.approx([1, 1], rel=1e-5)
    assert np.array_equal(clip.texts(texts)[1], clip.texts(["a car"])[0]), "company changes nothing"


def test_what_reads_the_weights_is_part_of_the_fingerprint(clip_directory, tmp_path):
    """The same weights under another config or tokenizer give other numbers: comparing them must be an error."""
    other = tmp_path / "clip"
    shutil.copytree(clip_directory, other)
    config = json.loads((other / "config.json").read_text())
    before = [supplied.ClipExtractor(of(place)).identity for place in (clip_directory, other)]
    assert before[0] == before[1] and "transformers" in before[0]
    config["logit_scale_init_value"] = 1.0
    (other / "config.json").write_text(json.dumps(config))
    after = supplied.ClipExtractor(of(other)).identity
    assert after["weights_sha256"] == before[0]["weights_sha256"] and after != before[0]


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


def test_clip_score_stands_between_real_shuffled_and_chance(monkeypatch):
    """Pictures whose vectors are those of their captions score 100, dealt out they do not."""
    vectors = np.eye(40, dtype=np.float32)
    clip: Any = SimpleNamespace(texts=lambda texts: vectors[[int(text) for text in texts]])
    monkeypatch.setattr(listening, "clip_scores", lambda clip, images, texts, what: 100.0 * images @ texts.T)
    test: Any = SimpleNamespace(images=vectors)
    said = [str(place) for place in range(40)]
    prompts = Prompts(said, ["en"] * 40, [{}] * 40, [[]] * 40, list(range(40)))
    metrics: listening.Metrics = {}
    found, reasons = listening.clip_numbers(clip, test, vectors, prompts, 0, metrics)
    assert found is not None and not reasons
    assert found["generated"]["value"] == found["real"]["value"] == 100 > found["chance"]["high"]
    assert found["shuffled"]["value"] <= found["chance"]["high"]
    assert found["chance"]["value"] == pytest.approx(2.5, abs=1)
    assert metrics["clip_score40_test"] == 100 and "clip_score40_test_shuffled" in metrics
