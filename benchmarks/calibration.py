"""How many images of a training fit into so many CPU-seconds: measured on a short training of the same parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trials
from trials import Trial

from textgan.errors import UserError


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU-seconds of a training: `start`, its text phase included, and then so many for each image."""

    start: float
    per_image: float

    def images(self, seconds: float, text_nimg: int, batch_size: int) -> int:
        """Images in all, whole batches, that fit. Raises UserError where the start alone takes longer."""
        batches = int((seconds - self.start) / self.per_image) // batch_size
        if batches < 1:
            raise UserError(
                f"{seconds:.0f} CPU-seconds are too few: the start and the text phase alone take {self.start:.0f}"
            )
        return text_nimg + batches * batch_size


def cost_of(costs: dict[int, float], text_nimg: int) -> Cost:
    """From the rows of a training that went some way beyond its text phase. Raises UserError where it did not."""
    game = sorted(cur_nimg for cur_nimg in costs if cur_nimg >= text_nimg)
    if len(game) < 2 or costs[game[-1]] <= costs[game[0]]:
        raise UserError("calibration: too few rows after the text phase; give a longer --calibrate-kimg")
    per_image = (costs[game[-1]] - costs[game[0]]) / (game[-1] - game[0])
    return Cost(start=costs[game[-1]] - per_image * (game[-1] - text_nimg), per_image=per_image)


def settings(trial: Trial) -> dict[str, Any]:
    """Its section `train`."""
    return dict(trial.parameters["datasets"][trial.dataset]["train"])


def fitting(trial: Trial, seconds: float, calibrate_kimg: float, root: Path = Path()) -> Trial:
    """The same trial with as many images as fit into CPU-seconds, by a short training of the same parameters."""
    train = settings(trial)
    kimg = train["text_kimg"] + calibrate_kimg
    short = {
        "total_kimg": kimg,
        "tick_kimg": calibrate_kimg / 8,
        "checkpoint_kimg": kimg,
        "select_kimg": 0.0,
        "grow_kimg": 0.0,
    }
    probe = replace(
        trial,
        name=f"{trial.name}, calibration",
        place=trial.place.with_name(f"{trial.place.name}-calibration"),
        parameters=trials.changed(trial.parameters, trial.dataset, train=short),
    )
    trials.prepare(probe, root=root)
    trials.train(probe)
    text_nimg = round(train["text_kimg"] * 1000)
    cost = cost_of(trials.costs(probe.clock), text_nimg)
    nimg = cost.images(seconds, text_nimg, train["batch_size"])
    print(f"{trial.name}: {cost.start:.1f} CPU-s and {1000 * cost.per_image:.2f} ms an image: {nimg} fit {seconds:.0f}")
    length = {"total_kimg": nimg / 1000}
    return replace(trial, parameters=trials.changed(trial.parameters, trial.dataset, train=length))
