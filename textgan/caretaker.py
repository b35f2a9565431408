"""What happens around the steps of a training: progress, rows, grids, selection, checkpoints, an orderly stop."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch

from textgan import acceleration, distributed
from textgan.best import SelectScore
from textgan.errors import UserError
from textgan.progress import Progress
from textgan.resume import save
from textgan.sheets import contact_sheet, to_uint8
from textgan.training import RealFeatures, Training
from textgan.training_data import TrainingData
from textgan.training_loop import run_loop

GRID_CAPTIONS, GRID_SEEDS = 6, 8
SHOWN = ("d_loss", "g_loss", "choice_right")
"""Beside the progress."""


class Caretaker:
    """Called after each step."""

    def __init__(
        self,
        training: Training,
        work: Path,
        runs: Path,
        name: str,
        select: TrainingData,
        started: float,  # when this program began, by time.monotonic
    ) -> None:
        self.training, self.work, self.runs = training, work, runs
        total = round(training.params.total_kimg * 1000)
        self.progress = Progress(total, f"train {name}") if distributed.rank() == 0 else None
        if self.progress is not None and training.state.cur_nimg:
            self.progress.skip(training.state.cur_nimg)
        self.stopping = False
        self.board = _board(runs, training.state.cur_nimg) if distributed.rank() == 0 else None
        self.started = started
        every = max(1, len(select) // GRID_CAPTIONS)
        chosen = [select.captions[idx * every % len(select)] for idx in range(GRID_CAPTIONS)]
        self.captions = select.texts([captions[-(row % 2)] for row, captions in enumerate(chosen)])  # both languages
        scored = training.params.select_kimg > 0 and training.part.is_last and distributed.rank() == 0
        self.score = SelectScore(select, training.params) if scored else None

    def run(self, data: TrainingData, real_features: RealFeatures) -> None:
        """The loop, with SIGTERM heard. Raises SystemExit(143) after a checkpoint where it came."""
        before = signal.signal(signal.SIGTERM, self._stop)
        settings, device = self.training.params, real_features.device
        after_step = acceleration.in_full_precision(self.__call__, device)
        try:
            with acceleration.precision(settings, device):
                run_loop(self.training, data, real_features, after_step)
        finally:
            signal.signal(signal.SIGTERM, before)
        if self.stopping:
            raise SystemExit(143)
        if self.progress is not None:
            self.progress.close()
        if self.board is not None:
            self.board.close()

    def _stop(self, _signal: int, _frame: Any) -> None:
        self.stopping = True

    def __call__(self, training: Training, num: int) -> bool:
        """After each step."""
        state, settings = training.state, training.params
        total = round(settings.total_kimg * 1000)
        if self.progress is not None:
            means = {key: value for key, value in training.means().items() if key in SHOWN}
            self.progress.update(num, " ".join(f"{key} {value:.3f}" for key, value in means.items()))
        if _passed(state.cur_nimg, num, settings.tick_kimg) or state.cur_nimg >= total:
            row = {name: round(value, 6) for name, value in training.means().items()}
            if state.micro_batch:
                row["micro_batch"] = state.micro_batch
            state.curve.append({"cur_nimg": state.cur_nimg, **row})
            state.sums, state.counts = {}, {}
            if distributed.rank() == 0:
                self._tick()
        every, begun = settings.select_kimg, state.cur_nimg - num >= training.part.game_nimg
        due = state.cur_nimg >= total or (begun and every > 0 and _passed(state.cur_nimg, num, every))
        if training.part.is_last and due:
            self._select()
        self.stopping = distributed.anywhere(self.stopping)  # all processes stop after the same step
        if _passed(state.cur_nimg, num, settings.checkpoint_kimg) or self.stopping:
            if distributed.rank() == 0:
                save(training, self.work)
        return self.stopping

    def _select(self) -> None:
        """Keep G_ema where it is the best so far; every process keeps its own, and the first one's is written."""
        state, networks = self.training.state, self.training.networks
        if self.score is not None:
            score = round(self.score(networks.G_ema), 6)
            if not state.curve or state.curve[-1]["cur_nimg"] != state.cur_nimg:
                state.curve.append({"cur_nimg": state.cur_nimg})
            state.curve[-1]["select_kid"] = score
            if state.best_nimg and score >= state.best_score:
                return
            state.best_score = score
        state.best_nimg = state.cur_nimg
        networks.G_best.load_state_dict(networks.G_ema.state_dict())

    @torch.no_grad()
    def _tick(self) -> None:
        training, state = self.training, self.training.state
        seconds = time.monotonic() - self.started
        line = {
            "cur_nimg": state.cur_nimg,
            "seconds": round(seconds, 2),
            "cpu_seconds": round(time.process_time(), 2),
            "threads": torch.get_num_threads(),
            "processes": distributed.world_size(),
        }
        device = next(training.networks.G.parameters()).device
        if device.type == "cuda":
            line["gpu_mb"] = torch.cuda.max_memory_allocated(device) >> 20
        self.runs.mkdir(parents=True, exist_ok=True)
        with open(self.runs / "clock.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({**line, **state.curve[-1]}) + "\n")
        if self.board is not None:
            for name, value in {**state.curve[-1], **line}.items():
                self.board.add_scalar(name, value, state.cur_nimg)
            self.board.flush()
        z = torch.randn(GRID_SEEDS, training.params.z_dim, generator=torch.Generator().manual_seed(0)).to(device)
        rows = [training.networks.G_ema(z, ids.expand(GRID_SEEDS, -1)) for ids in self.captions[:, None].to(device)]
        contact_sheet([list(to_uint8(row)) for row in rows]).save(self.runs / f"samples-{state.cur_nimg:09d}.png")


def _board(runs: Path, cur_nimg: int) -> Any:
    """TensorBoard's writer where TEXTGAN_TENSORBOARD asks for it; rows after `cur_nimg` are written anew."""
    if os.environ.get("TEXTGAN_TENSORBOARD", "0") in ("", "0"):
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter  # type: ignore[attr-defined]
    except ImportError:
        raise UserError("TEXTGAN_TENSORBOARD is set; install the package tensorboard, or unset it") from None
    return SummaryWriter(str(runs / "tensorboard"), purge_step=cur_nimg + 1)


def _passed(cur_nimg: int, num: int, kimg: float) -> bool:
    """Whether the step that ended at `cur_nimg` reached a multiple of `kimg` thousand images."""
    every = kimg * 1000
    return cur_nimg // every != (cur_nimg - num) // every
