"""Two commits side by side: like with like, from git and the cache alone; what is missing is said."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows import compare
from tests.test_report_page import write_evaluation
from textgan.errors import UserError

NAME = "catcar"
PRINT = {"protocol": 2, "real_images": 1000, "extractor": {"resize": "bicubic"}, "generated_sha256": "a"}
METRICS = {"kid1k_lite2_test": 0.2, "agreement_colour_1k_heldout": 0.9, "fid50k_full": None}


def run(*command: str) -> str:
    env = {**os.environ, "DVC_NO_ANALYTICS": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout


def commit(message: str) -> str:
    run("git", "add", "--all")
    run("git", "-c", "user.name=Test", "-c", "user.email=test@example.invalid", "commit", "-q", "-m", message)
    return run("git", "rev-parse", "HEAD").strip()


def keep(payload: bytes, suffix: str = "") -> str:
    """Put bytes into the DVC cache; their md5."""
    md5 = hashlib.md5(payload).hexdigest() + suffix
    place = Path(".dvc/cache/files/md5") / md5[:2] / md5[2:]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(payload)
    return md5


def record(metrics: dict, data: dict) -> str:
    """A commit with these metrics and an evaluation in the cache."""
    names = sorted(metrics)
    sha = hashlib.sha256(json.dumps({**data, "generated_sha256": ""}, sort_keys=True).encode()).hexdigest()[:16]
    prints = [{"name": "lite2", "sha": sha, "metrics": names, "data": data}]
    Path("metrics").mkdir(exist_ok=True)
    value = {"metrics": metrics, "main": names, "fingerprints": prints}
    Path("metrics", f"{NAME}.json").write_text(json.dumps(value), encoding="utf-8")
    files = {path.name: keep(path.read_bytes()) for path in sorted(Path("evaluation").iterdir())}
    listing = json.dumps([{"md5": md5, "relpath": name} for name, md5 in sorted(files.items())]).encode()
    out = {"path": f"data/evaluation/{NAME}", "md5": keep(listing, ".dir"), "size": 1, "nfiles": len(files)}
    stages = {f"evaluate@{NAME}": {"cmd": "x", "outs": [out]}}
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}), encoding="utf-8")
    return commit("measured")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("git", "init", "-q")
    Path(".gitignore").write_text(".dvc/\nevaluation/\nbuild/\n")
    Path("params.yaml").write_text(f"datasets: {{{NAME}: {{}}}}\n")
    write_evaluation(Path("evaluation"))
    return tmp_path


def test_a_table_and_a_page_that_asks_nothing_of_the_network(repository, capsys):
    a = record(METRICS, PRINT)
    b = record({**METRICS, "kid1k_lite2_test": 0.15}, {**PRINT, "generated_sha256": "b"})
    compare.compare(a, b, Path("build/compare.html"), False)
    told = capsys.readouterr().out
    (line,) = [line for line in told.splitlines() if "kid1k" in line]
    assert line.split() == ["kid1k_lite2_test", "0.2", "0.15", "-0.05"]
    assert "not computed in" in next(line for line in told.splitlines() if "fid50k_full" in line)
    page = Path("build/compare.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert page.count("data:image/png") == 2 * (2 + 1 + 1), "grid, worst and uncurated of both"
    assert "<svg" in page and "&lt;b&gt;azul" in page


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({**PRINT, "real_images": 500}, "real_images is 1000 and 500"),
        ({**PRINT, "extractor": {"resize": "box"}}, "extractor.resize is bicubic and box"),
    ],
)
def test_numbers_of_unlike_data_are_an_error_that_names_both(repository, other, named, capsys):
    """StyleGAN2-ADA's users met 4.30 against 5.30 from two resize filters that nothing named."""
    a, b = record(METRICS, PRINT), record({**METRICS, "kid1k_lite2_test": 0.1}, other)
    with pytest.raises(UserError) as caught:
        compare.compare(a, b, Path("build/compare.html"), False)
    message = str(caught.value)
    shas = [json.loads(run("git", "show", f"{rev}:metrics/{NAME}.json"))["fingerprints"][0]["sha"] for rev in (a, b)]
    assert "\n" not in message and named in message and all(sha in message for sha in shas)
    assert not Path("build/compare.html").exists()
    compare.compare(a, b, Path("build/compare.html"), True)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "kid1k" in line]
    assert "-0.1" not in line and named in line


def test_a_commit_without_fingerprints_is_not_compared(repository):
    a = record(METRICS, PRINT)
    value = json.loads(Path("metrics", f"{NAME}.json").read_text())
    Path("metrics", f"{NAME}.json").write_text(json.dumps({"metrics": value["metrics"]}))
    b = commit("as of old")
    with pytest.raises(UserError, match=f"{b[:9]} has none"):
        compare.compare(a, b, Path("build/compare.html"), False)


def test_what_is_not_restored_is_said_and_the_rest_shown(repository, capsys, monkeypatch):
    def unreachable():
        raise UserError("storage: off")

    monkeypatch.setattr(compare.storage, "ensure_started", unreachable)
    a = record(METRICS, PRINT)
    grid = hashlib.md5(Path("evaluation/grid-00.png").read_bytes()).hexdigest()
    Path(".dvc/cache/files/md5", grid[:2], grid[2:]).unlink()
    compare.compare(a, a, Path("build/compare.html"), False)
    told = capsys.readouterr().out
    assert f"grid: not restored (object {grid} is not in the DVC cache" in told
    assert "apart: not computed" in told and "kid1k_lite2_test" in told


def test_an_object_of_other_bytes_is_not_shown(repository, capsys):
    a = record(METRICS, PRINT)
    worst = hashlib.md5(Path("evaluation/worst.png").read_bytes()).hexdigest()
    Path(".dvc/cache/files/md5", worst[:2], worst[2:]).write_bytes(b"other")
    compare.compare(a, a, Path("build/compare.html"), False)
    assert f"worst: not restored (object {worst} is damaged" in capsys.readouterr().out


def test_an_unknown_revision_is_one_line(repository):
    record(METRICS, PRINT)
    with pytest.raises(UserError, match="'nowhere': not in this clone"):
        compare.compare("nowhere", "HEAD", Path("build/compare.html"), False)


def points_of(value: Any) -> list[dict[str, Any]]:
    """Every data point in what `dvc plots diff --json` prints, wherever its release of DVC puts them."""
    if isinstance(value, dict) and {"cur_nimg", "d_loss", "rev"} <= value.keys():
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [point for one in inner for point in points_of(one)]


@pytest.mark.slow
def test_dvc_gives_the_same_numbers(repository):
    """metrics diff, plots diff and exp show of DVC against what `compare` reads."""
    dvc = (sys.executable, "-m", "dvc")
    run(*dvc, "init", "-q")
    Path(".gitignore").write_text("evaluation/\nbuild/\n")
    Path("dvc.yaml").write_text(
        "metrics: [metrics]\nplots:\n  - report/curves:\n      x: cur_nimg\n      y: d_loss\n", encoding="utf-8"
    )
    Path("report/curves").mkdir(parents=True)
    curve, revisions = Path("report/curves", f"{NAME}.csv"), []
    for kid, loss in ((0.2, 1.5), (0.15, 1.25)):
        text = f"cur_nimg,d_loss\n1000,2.0\n2000,{loss}\n"
        curve.write_text(text)
        Path("evaluation/curve.csv").write_text(text)
        revisions.append(record({**METRICS, "kid1k_lite2_test": kid}, copy.deepcopy(PRINT)))
    objects = compare.Objects()
    a, b = (compare.side_of(revision, objects) for revision in revisions)
    difference = json.loads(run(*dvc, "metrics", "diff", "--json", *revisions))["metrics/catcar.json"]
    assert difference["metrics.kid1k_lite2_test"]["old"] == a.datasets[NAME].metrics["kid1k_lite2_test"] == 0.2
    assert difference["metrics.kid1k_lite2_test"]["new"] == b.datasets[NAME].metrics["kid1k_lite2_test"] == 0.15
    assert not any("fingerprints" in key for key in difference), "what is no number stays out of DVC's tables"
    shown = json.loads(run(*dvc, "exp", "show", "--json", "--rev", revisions[1], "--num", "2"))
    found = {entry["rev"]: entry["data"]["metrics"] for entry in shown if entry.get("data")}
    for revision, side in zip(revisions, (a, b), strict=True):
        told = found[revision]["metrics/catcar.json"]["data"]["metrics"]
        computed = {key: value for key, value in side.datasets[NAME].metrics.items() if value is not None}
        assert told == computed, "DVC leaves out what was not computed; compare says so"
    drawn = json.loads(run(*dvc, "plots", "diff", "--json", *revisions))
    points = {(point["rev"], float(point["cur_nimg"]) / 1000, float(point["d_loss"])) for point in points_of(drawn)}
    wanted = {
        (rev, x, y)
        for rev, side in zip(revisions, (a, b), strict=True)
        for x, y in (side.datasets[NAME].curve or {})["d_loss"]
    }
    assert points == wanted
