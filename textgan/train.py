"""The stage `train`: `python -m textgan.train D`, or by hand `python -m textgan.train IMAGES PAIRS OUT [--dataset D]`.

To resume, run the same command again. Where several GPUs are visible it starts its own torchrun.
On a CPU it works with two threads; TEXTGAN_THREADS=N changes that, and the last bits of the result.
Images of a split stay in memory up to TEXTGAN_DATA_MB MiB (4096), else they are read as they are needed.
TEXTGAN_TENSORBOARD=1 writes the rows of the curve for TensorBoard, too.
Unfinished work lives in `.state/unfinished/train/`; what depends on the clock goes to `runs/D/`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import textgan
from textgan import acceleration, checkpoint, distributed, params
from textgan.best import SelectScore
from textgan.errors import UserError, program
from textgan.files import fingerprint, publishing, sha256_file, unfinished_dir, write_bytes, write_json
from textgan.manifest import read_images
from textgan.networks.build import build_networks
from textgan.progress import Progress
from textgan.sheets import contact_sheet, to_uint8
from textgan.training_data import TrainingData, load_split, pad
from textgan.training_loop import RealFeatures, State, Training, new_training, run_loop

MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "8589934592",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
}
"""glibc keeps freed pages: activations of a convolutional network come and go at the same sizes each step."""
NO_RESULT = ("textgan.errors", "textgan.progress", "textgan.cli", "textgan.local")
"""Modules that change no weight: another wording of a message must not throw a checkpoint away."""
GRID_CAPTIONS, GRID_SEEDS = 6, 8
THREADS = 2
"""On a CPU, over all processes: threads split sums, so that a machine with more cores would end in other bits."""


def main(argv: list[str] | None = None) -> None:
    """Train one dataset's model and publish its snapshot."""
    parser = argparse.ArgumentParser(prog="python -m textgan.train", description=__doc__)
    parser.add_argument("paths", nargs="+", help="a dataset name; or IMAGES PAIRS OUT")
    parser.add_argument("--dataset", help="whose parameters, where paths are given")
    args = parser.parse_args(argv)
    if len(args.paths) == 1:
        name = args.paths[0]
        images, pairs, out = (Path(place) / name for place in ("data/images", "data/pairs", "models"))
    elif len(args.paths) == 3 and args.dataset:
        name = args.dataset
        images, pairs, out = map(Path, args.paths)
    else:
        parser.error("give a dataset name, or IMAGES PAIRS OUT --dataset NAME")
    settings = params.dataset(name).train
    if choose_device().type == "cpu":
        torch.set_num_threads(_threads())
    train(name, settings, images, pairs, out, Path("runs") / name)


def train(name: str, settings: params.TrainParams, images: Path, pairs: Path, out: Path, runs: Path) -> None:
    """Train from shards and pairs; `out` appears when the training is complete."""
    device = choose_device()
    acceleration.set_determinism(settings, device)
    distributed.start(device)
    work = None
    try:
        manifest = read_images(images)
        vocabulary = _read_json(pairs / "vocabulary.json")
        work = unfinished_dir("train", _identity(settings, images, pairs))
        networks = build_networks(settings, manifest.width, manifest.height, len(vocabulary["words"]), device)
        data = load_split(images, pairs, "train", len(vocabulary["words"]), settings.damaged, device)
        if settings.batch_size > len(data):
            raise UserError(
                f"params.yaml: datasets.{name}.train.batch_size is {settings.batch_size};"
                f" it must be at most the {len(data)} images of the train split"
            )
        data.part = distributed.local_part(settings.batch_size)
        if device.type == "cuda":  # on a CPU it would take the cores from the networks
            data.composer = ThreadPoolExecutor(1, "compose")
        if data.skipped and distributed.rank() == 0:
            print(
                f"train: {len(data.skipped)} damaged images are left out; the first: {data.skipped[0]}", file=sys.stderr
            )
        training = new_training(settings, networks)
        real_features = RealFeatures(data, networks, settings, device)
        resume(training, work)
        acceleration.accelerate(networks, settings, device)
        grid = load_split(images, pairs, "select", len(vocabulary["words"]), settings.damaged)
        Caretaker(training, work, runs, name, grid).run(data, real_features)
        if distributed.rank() == 0:
            snapshot = {
                "format": 1,
                "dataset": name,
                "textgan": textgan.__version__,
                "width": manifest.width,
                "height": manifest.height,
                "train": dataclasses.asdict(settings),
                "vocabulary_sha256": vocabulary["sha256"],
                "num_words": len(vocabulary["words"]),
                "max_tokens": data.longest_caption,
                "cur_nimg": training.state.best_nimg,
                "nan_steps": training.state.nan_steps,
                "skipped_images": len(data.skipped),
            }
            with publishing(out) as built:
                write_snapshot(training, snapshot, built)
                shutil.copyfile(pairs / "vocabulary.json", built / "vocabulary.json")
            shutil.rmtree(work)
    except torch.cuda.OutOfMemoryError:
        raise UserError(
            f"params.yaml: datasets.{name}.train.batch_size is {settings.batch_size}; the GPU has too little memory for"
            f" it: lower it, or use more GPUs{_last_checkpoint(work)}"
        ) from None
    except UserError as error:
        raise UserError(f"{error}{_last_checkpoint(work)}") from None
    except Exception:
        print(f"train: {name} failed{_last_checkpoint(work)}", file=sys.stderr, flush=True)
        raise
    finally:
        distributed.stop()


def _last_checkpoint(work: Path | None) -> str:
    """The end of a message: where the training would go on."""
    place = checkpoint.latest(work) if work is not None else None
    return f" (the same command goes on from {place})" if place is not None else ""


class Caretaker:
    """What happens around the steps: progress, rows of the curve, grids, checkpoints, an orderly stop."""

    def __init__(self, training: Training, work: Path, runs: Path, name: str, select: TrainingData) -> None:
        self.training, self.work, self.runs = training, work, runs
        total = round(training.params.total_kimg * 1000)
        self.progress = Progress(total, f"train {name}") if distributed.rank() == 0 else None
        if self.progress is not None and training.state.cur_nimg:
            self.progress.skip(training.state.cur_nimg)
        self.stopping = False
        self.board = _board(runs, training.state.cur_nimg) if distributed.rank() == 0 else None
        self.started = time.monotonic()
        every = max(1, len(select) // GRID_CAPTIONS)
        chosen = [select.captions[idx * every % len(select)] for idx in range(GRID_CAPTIONS)]
        self.captions = pad([captions[-(row % 2)] for row, captions in enumerate(chosen)])  # both languages
        scored = training.params.select_kimg > 0 and distributed.rank() == 0
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

    def _stop(self, _signal: int, _frame: Any) -> None:
        self.stopping = True

    def __call__(self, training: Training, num: int) -> bool:
        """After each step."""
        state, settings = training.state, training.params
        total = round(settings.total_kimg * 1000)
        if self.progress is not None:
            means = {
                key: state.sums[key] / state.steps for key in ("d_loss", "g_loss", "choice_right") if key in state.sums
            }
            self.progress.update(num, " ".join(f"{key} {value:.3f}" for key, value in means.items()))
        if _passed(state.cur_nimg, num, settings.tick_kimg) or state.cur_nimg >= total:
            row = {name: round(value / state.steps, 6) for name, value in state.sums.items()}
            state.curve.append({"cur_nimg": state.cur_nimg, **row})
            state.sums, state.steps = {}, 0
            if distributed.rank() == 0:
                self._tick()
        every, begun = settings.select_kimg, state.cur_nimg > round(settings.text_kimg * 1000)
        if state.cur_nimg >= total or (begun and every > 0 and _passed(state.cur_nimg, num, every)):
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
    return SummaryWriter(str(runs / "tensorboard"), purge_step=cur_nimg)


def _passed(cur_nimg: int, num: int, kimg: float) -> bool:
    """Whether the step that ended at `cur_nimg` reached a multiple of `kimg` thousand images."""
    every = kimg * 1000
    return cur_nimg // every != (cur_nimg - num) // every


def save(training: Training, work: Path) -> None:
    """Write a checkpoint."""
    optimisers = {"D": training.D_opt, "G": training.G_opt}
    tensors = checkpoint.pack(training.networks.modules(), optimisers)
    checkpoint.save(work, training.state.cur_nimg, tensors, dataclasses.asdict(training.state))


def resume(training: Training, work: Path) -> None:
    """Go back to the last checkpoint, if there is one."""
    place = checkpoint.latest(work)
    if place is None:
        return
    tensors, state = checkpoint.load(place)
    try:
        checkpoint.unpack(tensors, training.networks.modules(), {"D": training.D_opt, "G": training.G_opt})
        training.state = State(**state)
    except (KeyError, RuntimeError, TypeError) as error:
        raise UserError(f"{place}: belongs to other networks ({error}); remove it to begin again") from None


def write_snapshot(training: Training, snapshot: dict[str, Any], out: Path) -> None:
    """The best G_ema, what it takes to build it, and the curve; the same training, the same bytes."""
    tensors = {name: value.cpu().contiguous() for name, value in training.networks.G_best.state_dict().items()}
    save_file(tensors, out / "G_ema.safetensors")
    os.chmod(out / "G_ema.safetensors", 0o644)
    write_json(out / "snapshot.json", {**snapshot, "weights_sha256": sha256_file(out / "G_ema.safetensors")})
    names = ["cur_nimg", *sorted({name for row in training.state.curve for name in row} - {"cur_nimg"})]
    lines = [",".join(names)]
    lines += [",".join(f"{row[name]:g}" if name in row else "" for name in names) for row in training.state.curve]
    write_bytes(out / "curve.csv", ("\n".join(lines) + "\n").encode())


def choose_device() -> torch.device:
    """TEXTGAN_DEVICE, else the GPU of this process where there is one, else the CPU."""
    wanted = os.environ.get("TEXTGAN_DEVICE", "cuda" if torch.cuda.is_available() else "cpu")
    if wanted == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device(wanted)


def _threads() -> int:
    """Of this process: its part of THREADS, or TEXTGAN_THREADS where a person prefers speed to the same bits."""
    wanted = os.environ.get("TEXTGAN_THREADS", "")
    if wanted and not (wanted.isdecimal() and 1 <= int(wanted) <= 1024):
        raise UserError(f"TEXTGAN_THREADS is {wanted!r}; it must be a number of threads between 1 and 1024")
    return int(wanted) if wanted else max(1, THREADS // int(os.environ.get("WORLD_SIZE", "1")))


def _identity(settings: params.TrainParams, images: Path, pairs: Path) -> dict[str, Any]:
    """What a checkpoint belongs to: parameters, data and code."""
    modules = sorted(
        (name, module.__file__)
        for name, module in sys.modules.items()
        if name.startswith("textgan.") and name not in NO_RESULT and getattr(module, "__file__", None)
    )
    return {
        "train": dataclasses.asdict(settings),
        "data": {str(path.parent.name): fingerprint(_read_json(path)) for path in (images / "manifest.json",)},
        "pairs": {path.name: sha256_file(path) for path in sorted(pairs.iterdir()) if path.is_file()},
        "code": {name: sha256_file(Path(str(file))) for name, file in modules},
    }


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the stages before train first") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from None


def _begin() -> None:
    """Begin again as torchrun where several processes are wanted, and with glibc told to keep its memory.

    TEXTGAN_PROCESSES says how many; without it, one for each visible GPU. glibc reads its variables only at
    the start of a process, so they are set and the program starts anew.
    """
    environment = dict(os.environ)
    if sys.platform == "linux" and not any(name in environment for name in MALLOC):
        environment |= MALLOC
    command = [sys.executable]
    if "WORLD_SIZE" not in environment:  # else torchrun is above us already
        processes = int(environment.get("TEXTGAN_PROCESSES", max(1, torch.cuda.device_count())))
        if processes > 1:
            command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
            environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    command += ["-m", "textgan.train", *sys.argv[1:]]
    if environment != dict(os.environ) or len(command) > 3 + len(sys.argv[1:]):
        os.execve(sys.executable, command, environment)


if __name__ == "__main__":
    _begin()
    program(main)
