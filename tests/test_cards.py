"""The model card and the Croissant description: complete, true to the files, and with hashes that are checked."""

from __future__ import annotations

import copy
import dataclasses
import fnmatch
import importlib.util
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from flows import cards, croissant, pretrained, provenance
from tests import toy_graph
from textgan import params
from textgan.errors import UserError
from textgan.records import SPLITS

COMMIT, DATE = "a" * 40, "2026-01-02T03:04:05+00:00"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose graph has run."""
    return toy_graph.make(tmp_path_factory.mktemp("cards") / "toy")


@pytest.fixture(autouse=True)
def inside(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cards are made in the repository."""
    monkeypatch.chdir(repository)


def photos() -> params.Params:
    """The same parameters, as if the pictures were not drawn."""
    loaded = params.load()
    return params.Params(preset="photos-cpu", draw={}, datasets=loaded.datasets)


def describe() -> dict[str, Any]:
    """The description of the built dataset."""
    return cards.croissant(params.load(), "catcar", COMMIT, DATE)


def test_a_card_has_what_its_format_asks_for_and_says_drawn_for_drawn() -> None:
    """Header, sections, every measured number beside its floor or control; photos never pass for drawn pictures."""
    drawn, real = (cards.model_card(loaded, "catcar", COMMIT, DATE) for loaded in (params.load(), photos()))
    assert cards.lint_card(drawn) == cards.lint_card(real) == []
    assert provenance.DRAWN in drawn and provenance.DRAWN not in real
    assert "license: apache-2.0" in drawn and "license_name: lsun-research-use" in real
    assert "| `kid1k_lite2_test` | 0.125 [0.12, 0.13] | 0.001 | blurred 0.9 | lower |" in drawn
    assert "| colour | 75.0% | 11.0% | 10.0% | 600 |" in drawn
    assert COMMIT in drawn


def test_the_main_numbers_are_those_that_the_report_chose() -> None:
    """All of them, in its order, without those that were not computed; of a commit without a report the first few."""
    assert list(cards.main_numbers("catcar")) == ["kid1k_lite2_test", "agreement_colour_600_heldout"]
    header = cards.model_card(params.load(), "catcar", COMMIT, DATE).split("---")[1]
    assert re.findall(r"- type: (\w+_\w+)\n", header) == list(cards.main_numbers("catcar"))
    place = Path("metrics/catcar.json")
    whole = place.read_bytes()
    place.unlink()
    assert list(cards.main_numbers("catcar")) == ["agreement_colour_600_heldout", "kid1k_lite2_test", "recall"]
    place.write_bytes(whole)


def test_the_cards_header_is_read_by_the_hub_library() -> None:
    """Where it is installed: its own parser finds the metrics with their values."""
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard(cards.model_card(params.load(), "catcar", COMMIT, DATE), ignore_metadata_errors=False)
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert found == cards.main_numbers("catcar")
    assert card.data.pipeline_tag == "text-to-image"


@pytest.mark.parametrize(
    ("before", "after", "rule"),
    [
        ("license: apache-2.0", "licence: x", "license is missing"),
        ("## Data", "## Dato", "section Data"),
        ("---", "", "YAML header"),
    ],
)
def test_an_incomplete_card_is_found(before: str, after: str, rule: str) -> None:
    """The linter names what is missing."""
    card = cards.model_card(params.load(), "catcar", COMMIT, DATE)
    assert any(rule in line for line in cards.lint_card(card.replace(before, after)))


def test_a_card_without_evaluation_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """No number is made up."""
    monkeypatch.setattr(cards, "_evaluation", lambda name: {})
    card = cards.model_card(params.load(), "catcar", COMMIT, DATE)
    assert "Not evaluated." in card and yaml.safe_load(card.split("---")[1])["model-index"][0]["results"] == []


def test_provenance_counts_every_entry_and_names_the_export() -> None:
    """Entries taken and rejected sum to the inventory; the export is named by DVC's hash; drawn is said."""
    value = provenance.provenance(params.load(), "catcar", COMMIT)
    assert value["exports"] == {"car": {"ok": 11, "rejected": 1}, "cat": {"ok": 12}}
    assert list(value["inputs"]) == ["data/exports/catcar"] and value["drawn"] is True
    assert value["images"]["read"] == 24 and value["images"]["splits"]["train"] == 17
    assert provenance.provenance(photos(), "catcar", COMMIT)["statement"] == provenance.PHOTOS


def test_every_pretrained_network_is_named_with_its_licence_and_no_other(repository: Path) -> None:
    """By the parameters and what the stages recorded; the card and the release say the same."""
    plain = params.load()
    names = [entry["name"] for entry in provenance.provenance(plain, "catcar", COMMIT)["licence"]["pretrained"]]
    assert names == [pretrained.LITE]
    value = yaml.safe_load((repository / "params.yaml").read_text())
    settings = value["datasets"]["catcar"]
    settings["captions"] |= {"captioner": "merge", "order": ["annotations", "measured", "model"]}
    settings["pairs"]["embeddings"] = settings["train"]["text_encoder"] = "minilm"
    weights = {name: {"path": "w", "sha256": digit * 64} for digit, name in enumerate_hex(pretrained.SUPPLIED)}
    settings["evaluate"]["weights"] = weights
    loaded = params.from_mapping(params.Params, value, "params.yaml")
    found = pretrained.of_dataset(loaded, "catcar", {"captioner": "merge(model/1:blip)"}, {})
    text = "\n".join(map(pretrained.line, found))
    for said in ("EfficientNet-Lite", "U2-Netp", "merge(model/1:blip)", "MiniLM", "Inception", "DINOv2", "CLIP"):
        assert said in text
    assert {entry["sha256"][0] for entry in found if "sha256" in entry} == set("abc")
    identity = {"embeddings": {"model_sha256": "f" * 64}}
    [vectors] = [e for e in pretrained.of_dataset(loaded, "catcar", {}, identity) if e["name"] == pretrained.MINILM]
    assert vectors["sha256"] == "f" * 64 and vectors["licence"] == "Apache-2.0"
    card = cards.model_card(loaded, "catcar", COMMIT, DATE)
    assert cards.lint_card(card) == [] and all(f"- pretrained: {entry['name']}" in card for entry in found[3:])
    photographed = params.Params(preset="p", draw={}, datasets=plain.datasets)
    measured = dataclasses.replace(plain.datasets["catcar"].captions, measured={"cat": {"colour": 0.5}})
    photographed.datasets["catcar"] = dataclasses.replace(plain.datasets["catcar"], captions=measured)
    assert pretrained.SALIENCY in [e["name"] for e in pretrained.of_dataset(photographed, "catcar", {}, {})]


def enumerate_hex(names: Iterable[str]) -> Iterable[tuple[str, str]]:
    """(a, first name), (b, second name) ..."""
    return zip("abcdef", names, strict=False)


def test_a_description_is_complete_and_its_hashes_are_true(tmp_path: Path) -> None:
    """Lint finds nothing; every shard is described; a byte changed in one is found and named."""
    value = describe()
    assert croissant.lint(value) == [] and croissant.wrong_files(value, Path()) == []
    files = {item["contentUrl"] for item in value["distribution"] if item["@type"] == "cr:FileObject"}
    assert files == {path.as_posix() for path in Path("data").rglob("*-00000.*")}
    assert json.dumps(describe(), sort_keys=True) == json.dumps(value, sort_keys=True)
    for name in files:
        copied = tmp_path / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(Path(name).read_bytes())
    assert croissant.wrong_files(value, tmp_path) == []
    damaged = tmp_path / "data/images/catcar/test-00000.tar"
    damaged.write_bytes(b"X" + damaged.read_bytes()[1:])
    (tmp_path / "data/pairs/catcar/test-00000.parquet").unlink()
    lines = croissant.wrong_files(value, tmp_path)
    assert [line.partition(":")[0] for line in lines] == sorted(line.partition(":")[0] for line in lines)
    assert "test-00000.tar: sha256 is" in lines[0] and "test-00000.parquet: no such file" in lines[1]


def test_sentence_vectors_are_described_and_are_no_captions() -> None:
    """Where the pairs have some; the set of files that captions are read from leaves them out."""
    vectors = Path("data/pairs/catcar/embeddings-train-00000.parquet")
    before = describe()
    vectors.write_bytes(b"vectors")
    try:
        value = describe()
        assert croissant.lint(value) == [] and croissant.wrong_files(value, Path()) == []
    finally:
        vectors.unlink()
    entries = {item["@id"]: item for item in value["distribution"]}
    assert entries.keys() - {item["@id"] for item in before["distribution"]} == {vectors.as_posix()}
    read = [name for name in entries for pattern in entries["pair-files"]["includes"] if fnmatch.fnmatch(name, pattern)]
    assert sorted(read) == sorted(f"data/pairs/catcar/{split}-00000.parquet" for split in SPLITS)
    assert croissant.wrong_files(value, Path()) == [f"{vectors.as_posix()}: no such file under ."]


@pytest.mark.parametrize(
    ("place", "value", "rule"),
    [
        (("license",), "", "license is missing"),
        (("conformsTo",), "http://mlcommons.org/croissant/0.8", "conformsTo is"),
        (("distribution", 0, "sha256"), "123", "sha256 is '123'"),
        (("distribution", 0, "contentUrl"), "", "contentUrl is missing"),
        (("distribution", 0, "@id"), "other", "is referred to and not defined"),
        (("distribution", 1, "@id"), "image-files", "comes twice"),
        (("recordSet", 0, "field", 0, "dataType"), None, "dataType is missing"),
    ],
)
def test_a_broken_description_is_found(place: tuple[Any, ...], value: Any, rule: str) -> None:
    """The linter names the entry and what is wrong."""
    broken = copy.deepcopy(describe())
    below: Any = broken
    for key in place[:-1]:
        below = below[key]
    below[place[-1]] = value
    assert any(rule in line for line in croissant.lint(broken))


def test_a_description_cannot_lead_out_of_its_directory() -> None:
    """contentUrl is a stranger's text."""
    value = describe()
    value["distribution"][0]["contentUrl"] = "../../etc/passwd"
    assert "leads out" in croissant.wrong_files(value, Path())[0]


def test_the_command_writes_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it wrote it accepts; a wrong sha256, which the format's own validator accepts, it does not."""
    file = Path("build-croissant.json")
    croissant.main(["catcar", str(file)])
    croissant.main(["catcar", str(file), "--check"])
    assert "every file has the bytes" in capsys.readouterr().out
    value = json.loads(file.read_text())
    value["distribution"][0]["sha256"] = "0" * 64
    file.write_text(json.dumps(value))
    with pytest.raises(UserError, match="the description states 0000"):
        croissant.main(["catcar", str(file), "--check"])
    file.unlink()


@pytest.mark.skipif(importlib.util.find_spec("mlcroissant") is None, reason="mlcroissant is not installed")
@pytest.mark.parametrize("embedded", [False, True])
def test_mlcroissant_reads_captions(embedded: bool) -> None:
    """The format's own reader finds no fault and yields every sample, also where sentence vectors lie beside them."""
    import mlcroissant

    file, vectors = Path("croissant-catcar.json"), Path("data/pairs/catcar/embeddings-train-00000.parquet")
    try:
        if embedded:
            pd.DataFrame({"text": ["a cat"], "embedding": [[0.0, 1.0]]}).to_parquet(vectors)
        croissant.main(["catcar", str(file)])
        dataset = mlcroissant.Dataset(jsonld=str(file))
        assert not dataset.metadata.ctx.issues.errors
        keys = [row["captions/sample_key"].decode() for row in dataset.records("captions")]
    finally:
        vectors.unlink(missing_ok=True)
        file.unlink(missing_ok=True)
    tables = [pd.read_parquet(f"data/pairs/catcar/{split}-00000.parquet") for split in SPLITS]
    assert sorted(keys) == sorted(key for table in tables for key in table["sample_key"])


def test_the_environment_names_versions_and_licences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locked packages with what is installed; another version than locked is said."""
    Path("requirements.lock").write_text("pyyaml==0.0.1\nno-such-package==1.0\n")
    value = provenance.environment()
    Path("torch.lock").write_text("torch==0.1\n")
    with_torch = provenance.environment()
    Path("requirements.lock").unlink()
    Path("torch.lock").unlink()
    assert with_torch["packages"]["torch"]["licence"] and "torch" in with_torch["not_as_locked"]
    assert "MIT" in value["packages"]["pyyaml"]["licence"]
    assert set(value["not_as_locked"]) == {"pyyaml", "no-such-package"}
