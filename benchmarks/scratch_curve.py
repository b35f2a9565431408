"""The curve of `scratch` at 32 px: its candidates, each a training whose moments are scored, on CPU-seconds."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import trials
from calibration import fitting, settings
from pyarrow import parquet
from safetensors import safe_open
from safetensors.torch import save_file
from trials import Trial, Values

from textgan.dataset import ImageShards, Pairs
from textgan.errors import UserError
from textgan.files import publishing, sha256_file, write_json
from textgan.manifest import read_images
from textgan.records import SPLITS

SCRATCH: Values = {"architecture": "scratch", "augment": "translate", "d_channels": 16, "g_pair": 0.0, "grow_kimg": 0.0}
"""In every candidate: D as wide at the full size as pays on a CPU, G and EMA as the preset, pictures moved a little.

The pair loss goes: the features of `scratch` are the pixels, which a pair of different poses does not share. It does
not grow: all that its D knows is learnt, and a new one would begin with nothing."""
CANDIDATES: dict[str, Values] = {
    "hinge": {"objective": "hinge", "r1_gamma": 1.0, "g_lr": 5e-4, "d_lr": 1e-3},
    "hinge-slow": {"objective": "hinge", "r1_gamma": 1.0, "g_lr": 2e-4, "d_lr": 4e-4},
    "relativistic": {"objective": "relativistic", "r1_gamma": 0.5, "r2_gamma": 0.5, "g_lr": 5e-4, "d_lr": 1e-3},
    "hinge-free": {"objective": "hinge", "r1_gamma": 0.1, "g_lr": 1e-3, "d_lr": 1e-3},
}
"""Tried by the curve. After DF-GAN (hinge, a penalty at real images; its rates are 1e-4 and 4e-4) and R3GAN
(relativistic, both penalties); minutes of training ask for higher rates."""
AIM = 0.96
"""Part of the seconds of the curve that its length is calculated for: the last point is to lie within them."""
OF_EMA = "G_ema/"
"""How checkpoints name the tensors of G_ema."""
PX = 32


def curves(base: Trial, candidates: list[str], seconds: float, calibrate_kimg: float, num_points: int) -> Values:
    """Each candidate at 32 px; the one whose last point is lowest is the best, and its other points follow."""
    small = trials.variant(
        base,
        f"photos at {PX} px",
        f"px{PX}",
        images={"width": PX, "height": PX},
        # Only distances are wanted here: no fact is measured again, which would cost more than all else.
        captions={"measured": {}},
        evaluate={"agreement_images": 2, "grid_prompts": 1, "grid_seeds": 1},
    )
    trials.prepare(small, ("data/exports", "data/inventory", "data/pairs", "data/captions"))
    if not (small.place / "data/images" / small.dataset / "manifest.json").is_file():
        trials.run_program(small, "pipeline.images")
    cut_alike(small.place / "data/pairs" / small.dataset, small.place / "data/images" / small.dataset)
    trained = {name: train(small, name, seconds, calibrate_kimg, num_points) for name in candidates}
    found = {name: points(trial, last=True) for name, trial in trained.items()}
    best = min(found, key=lambda name: found[name][-1]["fd"] if found[name] else float("inf"))
    found[best] = points(trained[best])
    changes = {name: candidate_settings(name) for name in found}
    return {"seconds": seconds, "px": PX, "points": found, "settings": changes, "best": best}


def cut_alike(pairs: Path, images: Path) -> None:
    """Put pairs that are cut as `images` are in the place of a link to those of larger images.

    Evaluation reads a file of pairs beside each shard, and of smaller images a shard holds more. Raises UserError.
    """
    if not pairs.is_symlink():
        return  # done before
    source = pairs.resolve()
    pairs.unlink()  # what is published where a link stands replaces that which it names
    with publishing(pairs) as built:
        cut = {file for split in SPLITS for file in source.glob(f"{split}-*.parquet")}
        for file in source.iterdir():
            if file not in cut:
                shutil.copyfile(file, built / file.name)
        for split, shards in read_images(images).splits.items():
            rows, keys, first = Pairs(source, split), ImageShards(images, split).keys, 0
            places = {key: place for place, key in enumerate(rows.keys)}
            if places.keys() != set(keys):
                raise UserError(f"{images}: its {split} images are not those of {source}")
            for shard in shards:
                chosen = [places[key] for key in keys[first : first + shard.images]]
                parquet.write_table(rows.table.take(chosen), built / f"{Path(shard.name).stem}.parquet")
                first += shard.images


def candidate_settings(name: str) -> Values:
    """What it has otherwise than the preset."""
    return {**SCRATCH, **CANDIDATES[name]}


def within(points: list[Values], seconds: float) -> list[Values]:
    """Points that cost no more."""
    return [point for point in points if point["cpu_seconds"] <= seconds]


def train(small: Trial, name: str, seconds: float, calibrate_kimg: float, num_points: int) -> Trial:
    """One candidate, for as long as fits, with the weights of each row kept."""
    changes = {**candidate_settings(name), "select_kimg": 0.0}  # G_ema of each moment, not the best so far
    trial = fitting(
        replace(
            trials.variant(small, f"scratch {name} at {PX} px", "", train=changes),
            place=small.place.with_name(f"curve-{name}"),
        ),
        AIM * seconds,
        calibrate_kimg,
        root=small.place,
    )
    batch, total = settings(trial)["batch_size"], round(settings(trial)["total_kimg"] * 1000)
    every = max(1, total // batch // num_points) * batch
    total = every * max(1, total // every)
    rows = {"total_kimg": total / 1000, "tick_kimg": every / 1000, "checkpoint_kimg": every / 1000}
    trial = replace(trial, parameters=trials.changed(trial.parameters, trial.dataset, train=rows))
    trials.prepare(trial, root=small.place)
    trials.train(trial, watch=lambda: keep_weights(trial.place, trial.place / "weights"))
    return trial


def points(trial: Trial, last: bool = False) -> list[Values]:
    """Its rows, or the last one alone, scored: images seen, CPU-seconds, distances."""
    cpu, found = trials.costs(trial.clock), []
    for cur_nimg in sorted(cpu)[-1 if last else 0 :]:
        ended = cur_nimg == max(cpu)
        model = trial.model if ended else snapshot_at(trial, trial.place / "weights", cur_nimg)
        if model is None or cur_nimg <= settings(trial)["text_kimg"] * 1000:
            continue  # a checkpoint that was replaced before it was seen; or the game had not begun
        out = trial.place / "points" / str(cur_nimg)
        if not (out / "metrics.json").is_file():
            trials.run_program(trial, "textgan.evaluate", "--model", str(model.resolve()), "--out", str(out.resolve()))
        scores = trials.scores(json.loads((out / "metrics.json").read_text(encoding="utf-8")))
        found.append(
            {
                "cur_nimg": cur_nimg,
                "cpu_seconds": cpu[cur_nimg],
                "fd": scores["fd lite2"],
                "kid": scores["kid lite2"],
                "fd_patches8": scores["fd patches8"],
                "coverage": scores["coverage lite2"],
            }
        )
    return found


def keep_weights(place: Path, weights: Path) -> None:
    """G_ema of every checkpoint that is there, before the next one replaces it."""
    for file in place.glob(".state/unfinished/train/*/checkpoint-*/tensors.safetensors"):
        kept = weights / f"{int(file.parent.name.removeprefix('checkpoint-'))}.safetensors"
        if kept.exists():
            continue
        try:
            with safe_open(file, "pt") as tensors:
                ours = {key: tensors.get_tensor(key) for key in tensors.keys() if key.startswith(OF_EMA)}
        except FileNotFoundError:
            continue  # replaced by the next one just now; said by its absence from the curve
        weights.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_suffix(".unfinished")
        save_file({key.removeprefix(OF_EMA): value for key, value in ours.items()}, unfinished)
        unfinished.replace(kept)


def snapshot_at(trial: Trial, weights: Path, cur_nimg: int) -> Path | None:
    """A snapshot of the weights that were kept at an image; null where none were."""
    file, place = weights / f"{cur_nimg}.safetensors", trial.place / "models" / f"at-{cur_nimg}"
    if not file.is_file():
        return None
    if not place.is_dir():
        info = json.loads((trial.model / "snapshot.json").read_text(encoding="utf-8"))
        with publishing(place) as built:
            shutil.copyfile(file, built / "G_ema.safetensors")
            shutil.copyfile(trial.model / "vocabulary.json", built / "vocabulary.json")
            write_json(built / "snapshot.json", {**info, "cur_nimg": cur_nimg, "weights_sha256": sha256_file(file)})
    return place
