"""The comparing benchmarks: switches that change one thing, costs, calibration, verdicts, tables; no real training."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny_training import write_data
from textgan.errors import UserError
from textgan.metrics import splits

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY / "benchmarks"))
import ablations  # noqa: E402
import calibration  # noqa: E402
import photo_bars  # noqa: E402
import scratch_curve  # noqa: E402
import shuffled_captions  # noqa: E402
import trials  # noqa: E402

PRESETS = ("sample", "photos-cpu")


def measured(kid: float = 0.8, patches: float = 0.04, coverage: float = 0.5) -> dict:
    """What evaluation would write."""
    values = {
        ("kid", "lite2"): kid,
        ("fd", "lite2"): 560.0,
        ("recall", "lite2"): 0.07,
        ("coverage", "lite2"): coverage,
        ("kid", "patches8"): patches,
        ("fd", "patches8"): 22.0,
    }
    chance = {"value": 0.5, "low": 0.45, "high": 0.55}
    return {
        "numbers": [{"what": what, "extractor": by, "value": value} for (what, by), value in values.items()],
        "agreement": {"facts": [{"name": "kind", "matched": {"value": 0.9}, "chance": chance}], "main_facts": ["kind"]},
        "retrieval": {"generated": {"value": 0.6, "chance": chance}},
        "snapshot": {"cur_nimg": 30000},
    }


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A tree that has a result of the sample preset, and stages that only write numbers; the runs they made."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(REPOSITORY / "presets/sample.yaml", "params.yaml")
    for name in ("data/images/catcar", "data/pairs/catcar", "data/captions/catcar", "models/catcar-matcher"):
        Path(name).mkdir(parents=True)
    ran: list[tuple[str, str]] = []

    def run_program(trial, module, *arguments, watch=None):
        ran.append((trial.name, module))
        assert (trial.place / "data/pairs/catcar").is_dir() and (trial.place / "models/catcar-matcher").is_dir()
        if module == "textgan.train":
            train = calibration.settings(trial)
            trial.model.mkdir(parents=True)
            (trial.model / "snapshot.json").write_text("{}")
            trial.clock.parent.mkdir(parents=True)
            rows = [train["text_kimg"] + train["tick_kimg"], train["total_kimg"]]
            # 5 seconds of start and 20 ms an image
            lines = [{"cur_nimg": round(kimg * 1000), "cpu_seconds": 5 + kimg * 20} for kimg in rows]
            trial.clock.write_text("".join(json.dumps(line) + "\n" for line in lines))
        else:
            trial.measured.parent.mkdir(parents=True)
            scratch = calibration.settings(trial)["architecture"] == "scratch"
            trial.measured.write_text(json.dumps(measured(kid=2.0 if scratch else 0.8)))

    monkeypatch.setattr(trials, "run_program", run_program)
    return ran


@pytest.mark.parametrize("preset", PRESETS)
def test_each_switch_changes_its_keys_alone(preset):
    """Against the preset, and to values that params.yaml accepts; what the preset has not is left out."""
    parameters = trials.read_parameters("catcar", REPOSITORY / "presets" / f"{preset}.yaml")
    plain = parameters["datasets"]["catcar"]["train"]
    found = ablations.applicable(plain)
    assert {"full", "mismatch-off", "ema-off", "augmentation", "text-off", "shuffled", "random-features"} <= set(found)
    assert ("pair-off" in found) == (plain.get("g_pair", 0.0) > 0)
    for name, changes in found.items():
        other = trials.changed(parameters, "catcar", train=changes)
        train = other["datasets"]["catcar"].pop("train")
        assert {key for key in train if train[key] != plain.get(key)} == set(changes)
        most = 0 if name == "full" else 2 if name in ("choice-off", "pair-off", "pixels-off") else 1
        assert min(most, 1) <= len(changes) <= most
        rest = {key: value for key, value in parameters["datasets"]["catcar"].items() if key != "train"}
        assert other["datasets"]["catcar"] == rest


def test_augmentation_is_turned_the_other_way():
    """Off where the preset has it, on where it has none; the table says which."""
    train = {"architecture": "scratch", "augment": "translate"}
    assert ablations.applicable(train)["augmentation"] == {"augment": "none"}
    assert "random-features" not in ablations.applicable(train)
    assert ablations.describe("augmentation", {"augment": "none"}) == "no augmentation"
    assert "translate_cutout" in ablations.describe("augmentation", {"augment": "translate_cutout"})


def test_a_shorter_training_keeps_its_proportions():
    """--kimg 15 of 30: half of the text phase, half of the mean's length; learning rates as they are."""
    train = {"total_kimg": 30, "text_kimg": 6, "ema_kimg": 1.0, "select_kimg": 0.0, "g_lr": 0.001}
    assert trials.of_length(train, 15) == {"total_kimg": 15, "text_kimg": 3.0, "ema_kimg": 0.5, "select_kimg": 0.0}
    assert trials.of_length(train, None) == trials.of_length(train, 30) == {}


def test_every_switch_is_trained_once_and_the_table_has_all(tree, capsys):
    """Two commands with other switches add up to one table; the same command trains nothing again."""
    ablations.main(["--switch", "full", "ema-off", "--kimg", "3"])
    ablations.main(["--switch", "text-off", "--kimg", "3"])
    assert [name for name, module in tree if module == "textgan.train"] == ["full", "ema-off", "text-off"]
    before = list(tree)
    ablations.main(["--switch", "text-off", "full", "--kimg", "3"])
    assert tree == before
    result = json.loads(Path("build/ablations/result.json").read_text())
    assert [row["changes"] for row in result["rows"]] == [{}, {"ema_kimg": 0.0}, {"captions": "none"}]
    assert result["total_kimg"] == 3 and {row["cpu_seconds"] for row in result["rows"]} == {65.0}
    table = Path("build/ablations/table.md").read_text().splitlines()
    assert len(table) == 2 + 3 and {line.count("|") for line in table} == {table[0].count("|")}
    assert "| kind | R-precision | CPU-s |" in table[0] and "| 90.0 % | 60.0 % | 65 |" in table[2]


def test_other_settings_are_refused(tree):
    """A directory with results of another length, thread count or data is not mixed with these."""
    ablations.main(["--switch", "full", "--kimg", "3"])
    for other in (["--kimg", "4"], ["--kimg", "3", "--threads", "1"]):
        with pytest.raises(UserError, match="made with other settings or data"):
            ablations.main(["--switch", "full", *other])
    Path("data/images/catcar/manifest.json").write_text("{}")
    with pytest.raises(UserError, match="made with other settings or data"):
        ablations.main(["--switch", "full", "--kimg", "3"])


def test_a_switch_that_changes_nothing_is_refused(tree):
    """By name; without a name it is left out."""
    text = Path("params.yaml").read_text().replace("g_pair: 3.0", "g_pair: 0.0")
    Path("params.yaml").write_text(text)
    with pytest.raises(UserError, match="pair-off: changes nothing"):
        ablations.main(["--switch", "pair-off"])
    assert tree == []


def test_shuffled_captions_says_what_is_chance(tree):
    """Its two trainings differ in their captions, and a score beyond its interval is not chance."""
    with pytest.raises(SystemExit) as ended:
        shuffled_captions.main(["--kimg", "3", "--work", "build/shuffled"])
    assert ended.value.code == 1  # the stages above give the shuffled one 90 % as well
    assert [name for name, module in tree if module == "textgan.train"] == ["full", "shuffled"]
    rows = json.loads(Path("build/shuffled/result.json").read_text())["rows"]
    assert len(rows) == 4 and not any(row["is_chance"] for row in rows)


def test_costs_of_a_training_that_went_on(tmp_path):
    """A new process counts from 0: theirs add up, images shown twice included."""
    rows = [(1000, 10.0), (2000, 18.0), (1500, 6.0), (2000, 10.0), (3000, 18.0)]
    clock = tmp_path / "clock.jsonl"
    clock.write_text("".join(json.dumps({"cur_nimg": nimg, "cpu_seconds": cpu}) + "\n" for nimg, cpu in rows))
    assert trials.costs(clock) == {1000: 10.0, 1500: 24.0, 2000: 28.0, 3000: 36.0}


def test_calibration_finds_start_and_cost_of_an_image():
    """Exact where costs are a line; whole batches; too few seconds and too short a trial are said."""
    costs = {500: 3.0, 1008: 12.0, 1500: 12.0 + 492 * 0.02, 2000: 12.0 + 992 * 0.02}
    cost = calibration.cost_of(costs, 1000)
    assert cost.per_image == pytest.approx(0.02) and cost.start == pytest.approx(12.0 - 8 * 0.02)
    images = cost.images(240.0, 1000, 16)
    assert (images - 1000) % 16 == 0
    assert 240 - 16 * 0.02 < cost.start + (images - 1000) * cost.per_image <= 240
    with pytest.raises(UserError, match="10 CPU-seconds are too few"):
        cost.images(10.0, 1000, 16)
    with pytest.raises(UserError, match="calibrate-kimg"):
        calibration.cost_of({500: 3.0, 2000: 9.0}, 1000)


def pair(seed: int, kid: float, seconds: float = 600.0, patches: float = 0.03, coverage: float = 0.45) -> dict:
    """Rows of a comparison in which scratch has KID 1.0 and 0.04."""
    ours, theirs = (trials.scores(measured(*values)) for values in ((kid, patches, coverage), (1.0, 0.04, 0.1)))
    return {
        "seed": seed,
        "preset": {"cpu_seconds": 600.0, "nimg": 34000, "scores": ours},
        "scratch": {"cpu_seconds": seconds, "nimg": 12000, "scores": theirs},
    }


@pytest.mark.parametrize(
    ("rows", "reached"),
    [
        ([pair(0, 0.6)], [True, True, True, True]),
        ([pair(0, 0.61)], [True, False, True, True]),
        ([pair(0, 0.5), pair(1, 0.68)], [True, True, True, True]),
        ([pair(0, 0.5), pair(1, 0.5, seconds=560.0)], [False, True, True, True]),
        ([pair(0, 0.5, patches=0.05, coverage=0.39)], [True, True, False, False]),
    ],
)
def test_bars_of_the_comparison(rows, reached):
    """Means over seeds decide, and no seed's scratch may have had fewer CPU-seconds."""
    assert [bar["reached"] for bar in photo_bars.bars(rows)] == reached


def test_bar_of_the_curve_counts_points_within_the_seconds():
    """A point that came too late reaches nothing."""
    points = {"hinge": [{"fd": 1400.0, "cpu_seconds": 120.0}, {"fd": 1040.0, "cpu_seconds": 241.0}]}
    found = {"points": points, "best": "hinge", "seconds": 240.0, "px": 32}
    assert [bar["reached"] for bar in photo_bars.curve_bars(found)] == [False]
    points["hinge"][1]["cpu_seconds"] = 239.0
    assert [bar["reached"] for bar in photo_bars.curve_bars(found)] == [True]


def test_the_comparison_gives_scratch_the_seconds_of_the_preset(tree):
    """Calibrated on a training of its own; exit code 0 where all bars are reached, and the files have both."""
    with pytest.raises(SystemExit) as ended:
        photo_bars.main(["--part", "compare", "--candidate", "hinge", "--kimg", "10"])
    result = json.loads(Path("build/photo-bars/result.json").read_text())
    (row,) = result["compare"]["rows"]
    assert row["preset"]["nimg"] == 10000 and 0.95 <= row["scratch"]["cpu_seconds"] / row["preset"]["cpu_seconds"] <= 1
    assert ended.value.code == 0 and all(bar["reached"] for bar in result["bars"])
    assert "scratch (hinge)" in Path("build/photo-bars/tables.md").read_text()
    assert [name for name, module in tree if module == "textgan.train"] == [
        "preset, seed 0",
        "scratch hinge, seed 0, calibration",
        "scratch hinge, seed 0",
    ]


def test_weights_of_every_checkpoint_are_kept(tmp_path):
    """G_ema alone, under the names that snapshots use; one that was kept is not read again."""
    checkpoint = tmp_path / "place/.state/unfinished/train/0123/checkpoint-000000000320"
    checkpoint.mkdir(parents=True)
    save_file({"G_ema/text.a": torch.ones(2), "G/text.a": torch.zeros(2)}, checkpoint / "tensors.safetensors")
    weights = tmp_path / "weights"
    scratch_curve.keep_weights(tmp_path / "place", weights)
    assert [path.name for path in weights.iterdir()] == ["320.safetensors"]
    assert load_file(weights / "320.safetensors")["text.a"].tolist() == [1.0, 1.0]
    (checkpoint / "tensors.safetensors").write_bytes(b"another")
    scratch_curve.keep_weights(tmp_path / "place", weights)


def test_pairs_are_cut_as_the_smaller_images_are(tmp_path):
    """Beside each shard lies a file of its keys, whatever the larger images were cut into; what is no pair is kept."""
    images, pairs = write_data(tmp_path)
    larger = tmp_path / "larger"
    shutil.move(pairs, larger)
    whole = pd.read_parquet(larger / "train-00000.parquet")
    whole[:7].to_parquet(larger / "train-00000.parquet")
    whole[7:].to_parquet(larger / "train-00001.parquet")
    pairs.symlink_to(larger)
    for _ in range(2):  # the second time finds it done
        scratch_curve.cut_alike(pairs, images)
        assert sorted(path.name for path in pairs.iterdir()) == [
            *(f"{split}-00000.parquet" for split in ("select", "test", "train")),
            "vocabulary.json",
        ]
        rows = list(splits.samples("tiny", "train", None, 0, tmp_path / "data"))
        assert [row.sample_key for _, row in rows] == whole["sample_key"].tolist()
        assert [list(row.captions) for _, row in rows] == [list(captions) for captions in whole["captions"]]
    assert len(pd.read_parquet(larger / "train-00000.parquet")) == 7
    shutil.rmtree(pairs)
    pairs.symlink_to(larger)
    (larger / "train-00001.parquet").unlink()
    with pytest.raises(UserError, match="its train images are not those of"):
        scratch_curve.cut_alike(pairs, images)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", scratch_curve.CANDIDATES)
def test_candidates_are_parameters(preset, name):
    """Each can be trained: the preset with these changes is a valid parameter file."""
    parameters = trials.read_parameters("catcar", REPOSITORY / "presets" / f"{preset}.yaml")
    changes = scratch_curve.candidate_settings(name)
    assert trials.changed(parameters, "catcar", train=changes)["datasets"]["catcar"]["train"]["ema_kimg"] > 0


def test_numbers_of_the_tables():
    """Three significant digits; what was not computed is a dash."""
    assert [trials.number(value) for value in (0.82254, 563.848, 0.0393923, 1049.7, None)] == [
        "0.823",
        "564",
        "0.0394",
        "1050",
        "-",
    ]
    assert trials.percent(0.9333) == "93.3 %" and trials.percent(None) == "-"
