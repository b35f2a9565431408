"""Photos on a CPU: the preset photos-cpu against `scratch` at equal CPU-seconds, and the curve of `scratch` at 32 px.

    python benchmarks/photo_bars.py [D] [--part curve|compare] [--candidate NAME ...] [--seeds 0 1 2] [--work DIR]
        [--curve-seconds 240] [--points 8] [--kimg N] [--threads N]

Reads the data of the present directory (after `make repro` of the preset photos-cpu): exports, inventory, images,
pairs, captions, the matcher, params.yaml. Two parts, both unless --part names one:

curve    `scratch` in each of its CANDIDATES at 32 px: a short calibration, then one training whose last image falls
         on --curve-seconds of CPU time, with G_ema scored at its end. The candidate that ends lowest is scored at
         --points moments and is the `scratch` of the other part: its tuning. Bar: some point within these seconds
         has fd_lite2 <= 1,050.
compare  for each seed the preset at its own length, then `scratch` for as many images as fit the same CPU-seconds.
         Bars: KID on Lite2 lower by 40 %, KID on patches8 no higher, coverage on Lite2 >= 0.4; means over seeds.

CPU-seconds are those of the whole training process, start and scoring on `select` included, up to the last row of its
curve. All is evaluated by the stage's own program. Kept in DIR: the same command goes on. The exit code is 0 where all
bars are reached; DIR/result.json has all numbers, DIR/tables.md is for docs/results.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean

import trials
from calibration import fitting
from scratch_curve import CANDIDATES, candidate_settings, curves, within
from trials import Trial, Values

from textgan.errors import program
from textgan.files import write_bytes, write_json

CURVE_FD = 1050.0
KID_LOWER, COVERAGE = 0.40, 0.4
SAME = 0.95
"""`scratch` must have had at least this part of the preset's CPU-seconds. It gets a little more: the calibration leaves
out its scoring on `select`, a few seconds. The table has both."""


def main(argv: list[str] | None = None) -> None:
    """Both parts; exit code 0 where every bar that was measured is reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?", default="catcar")
    parser.add_argument("--part", choices=("curve", "compare"), help="both by default")
    parser.add_argument("--candidate", nargs="+", choices=CANDIDATES, help="of scratch; all by default")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--curve-seconds", type=float, default=240.0)
    parser.add_argument("--points", type=int, default=8, help="of the curve, about so many")
    parser.add_argument("--kimg", type=float, help="length of the preset's training; that of params.yaml by default")
    parser.add_argument("--calibrate-kimg", type=float, default=1.0, help="beyond the text phase")
    parser.add_argument("--images", type=int, help="evaluate.num_images; that of params.yaml by default")
    parser.add_argument("--agreement", type=int, help="evaluate.agreement_images; that of params.yaml by default")
    parser.add_argument("--threads", type=int, help="of each training; as the stage by default")
    parser.add_argument("--work", type=Path, default=Path("build/photo-bars"))
    args = parser.parse_args(argv)
    parameters = trials.read_parameters(args.dataset)
    given = {"num_images": args.images, "agreement_images": args.agreement}
    parameters = trials.changed(
        parameters,
        args.dataset,
        train=trials.of_length(parameters["datasets"][args.dataset]["train"], args.kimg),
        evaluate={key: value for key, value in given.items() if value is not None},
    )
    base = Trial(name="photos", place=args.work, dataset=args.dataset, parameters=parameters, threads=args.threads)
    candidates = args.candidate or list(CANDIDATES)
    kept = args.work / "result.json"
    result: Values = {"curve": None, "compare": None}
    if kept.is_file():
        result |= {key: json.loads(kept.read_text(encoding="utf-8"))[key] for key in result}
    result |= {"preset": parameters["preset"], "threads": args.threads}
    if args.part != "compare":
        result["curve"] = curves(base, candidates, args.curve_seconds, args.calibrate_kimg, args.points)
        save(args.work, result)
    if args.part != "curve":
        tuned = result["curve"]["best"] if result["curve"] and not args.candidate else candidates[0]
        result["compare"] = compare(base, tuned, args.seeds, args.calibrate_kimg)
        save(args.work, result)
    raise SystemExit(0 if all(bar["reached"] for bar in all_bars(result)) else 1)


# The comparison.


def compare(base: Trial, candidate: str, seeds: list[int], calibrate_kimg: float) -> Values:
    """Each seed: the preset, then `scratch` with as many CPU-seconds."""
    rows = []
    for seed in seeds:
        preset = trials.variant(base, f"preset, seed {seed}", f"preset-{seed}", train={"seed": seed})
        ours = trained(preset)
        changes = {"seed": seed, **candidate_settings(candidate)}
        scratch = trials.variant(
            base, f"scratch {candidate}, seed {seed}", f"scratch-{candidate}-{seed}", train=changes
        )
        theirs = trained(fitting(scratch, ours["cpu_seconds"], calibrate_kimg))
        rows.append({"seed": seed, "preset": ours, "scratch": theirs})
    return {"candidate": candidate, "settings": candidate_settings(candidate), "rows": rows}


def trained(trial: Trial) -> Values:
    """Trained and evaluated: its scores and what they cost."""
    trials.prepare(trial)
    trials.train(trial)
    result = trials.evaluate(trial)
    return {
        "nimg": max(trials.costs(trial.clock)),
        "kept_nimg": result["snapshot"]["cur_nimg"],
        "cpu_seconds": trials.cpu_seconds(trial),
        "scores": trials.scores(result),
    }


# Verdicts.


def bars(rows: list[Values]) -> list[Values]:
    """What the comparison has to show, each with its value; means over seeds."""

    def of(which: str, score: str) -> float:
        return mean(row[which]["scores"][score] for row in rows)

    share = min(row["scratch"]["cpu_seconds"] / row["preset"]["cpu_seconds"] for row in rows)
    lower = 1 - of("preset", "kid lite2") / of("scratch", "kid lite2")
    patches, theirs = of("preset", "kid patches8"), of("scratch", "kid patches8")
    coverage = of("preset", "coverage lite2")
    return [
        bar("CPU-seconds of scratch, of the preset's (least of the seeds)", share, f">= {SAME}", share >= SAME),
        bar("KID on Lite2, lower than scratch's by", lower, f">= {KID_LOWER}", lower >= KID_LOWER),
        bar("KID on patches8", patches, f"<= {theirs:.4g} (scratch)", patches <= theirs),
        bar("coverage on Lite2", coverage, f">= {COVERAGE}", coverage >= COVERAGE),
    ]


def curve_bars(found: Values) -> list[Values]:
    """Whether `scratch` got as near as it must, in the seconds it had."""
    reached = within(found["points"][found["best"]], found["seconds"])
    if not reached:
        return [bar("fd_lite2 of scratch at 32 px", None, f"<= {CURVE_FD:.0f}", False)]
    value = min(point["fd"] for point in reached)
    what = f"fd_lite2 of scratch ({found['best']}) at {found['px']} px in {found['seconds']:.0f} CPU-s"
    return [bar(what, value, f"<= {CURVE_FD:.0f}", value <= CURVE_FD)]


def bar(what: str, value: float | None, aim: str, reached: bool) -> Values:
    """One line of the verdict."""
    return {"bar": what, "value": value, "aim": aim, "reached": reached}


def all_bars(result: Values) -> list[Values]:
    """Of the parts that were measured."""
    found = curve_bars(result["curve"]) if result["curve"] else []
    return found + (bars(result["compare"]["rows"]) if result["compare"] else [])


def save(work: Path, result: Values) -> None:
    """Both files, and the verdict on the screen."""
    verdict = all_bars(result)
    write_json(work / "result.json", {**result, "bars": verdict})
    write_bytes(work / "tables.md", as_markdown(result, verdict).encode())
    for line in verdict:
        print(f"{'reached' if line['reached'] else 'MISSED':<8} {line['bar']}: {line['value']} (aim {line['aim']})")


def as_markdown(result: Values, verdict: list[Values]) -> str:
    """The verdict, the comparison, the curve."""
    lines = [
        [row["bar"], trials.number(row["value"]), row["aim"], "yes" if row["reached"] else "no"] for row in verdict
    ]
    parts = [trials.markdown(["bar", "measured", "aim", "reached"], lines)]
    if result["compare"]:
        columns = {"KID Lite2": "kid lite2", "FD Lite2": "fd lite2", "KID patches8": "kid patches8"}
        columns |= {"FD patches8": "fd patches8", "recall": "recall lite2", "coverage": "coverage lite2"}
        lines = []
        for row in result["compare"]["rows"]:
            for which in ("preset", "scratch"):
                found = row[which]
                values = [trials.number(found["scores"].get(name)) for name in columns.values()]
                name = which if which == "preset" else f"scratch ({result['compare']['candidate']})"
                lines.append([name, str(row["seed"]), str(found["nimg"]), f"{found['cpu_seconds']:.0f}", *values])
        parts.append(trials.markdown(["training", "seed", "images", "CPU-s", *columns], lines))
    if result["curve"]:
        lines = [
            [name, str(point["cur_nimg"]), f"{point['cpu_seconds']:.0f}"]
            + [trials.number(point[key]) for key in ("fd", "kid", "fd_patches8", "coverage")]
            for name, points in result["curve"]["points"].items()
            for point in points
        ]
        head = ["scratch", "images", "CPU-s", "FD Lite2", "KID Lite2", "FD patches8", "coverage"]
        parts.append(trials.markdown(head, lines))
    return "\n".join(parts)


if __name__ == "__main__":
    program(main)
