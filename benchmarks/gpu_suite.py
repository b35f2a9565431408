"""Measures and trains on one GPU, in chunks that resume; run by gpu_suite.sh, which says how.

Steps, each done once and remembered: speed and memory of every preset by precision, compile and determinism;
`projected` for 16 minutes and `scratch` for 4; pictures of both, and of `projected` at the moment when it had had
the GPU-seconds of `scratch`; one JSON of it all. Only time inside training counts, not its preparation.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import os
import platform
import shutil
import signal
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import train_speed
from PIL import Image
from safetensors.torch import load_file, save

from textgan import acceleration, params, train
from textgan.dataset import Pairs
from textgan.errors import UserError, fail
from textgan.files import write_json
from textgan.growth import parts_of
from textgan.networks.build import build_networks
from textgan.sampling import Snapshot, generate, load_snapshot
from textgan.sheets import contact_sheet
from textgan.training import RealFeatures, Training, new_training
from textgan.training_data import TrainingData
from textgan.training_loop import game_step

AGAIN = 75
"""Exit code: call again."""
PIECE, ALL = 15 << 20, 63 << 20
"""Bytes of one file, and of all that is brought back."""
SCRATCH = {"architecture": "scratch", "g_lr": 2e-4, "d_lr": 2e-4, "r1_gamma": 1.0, "d_channels": 64}
"""What `scratch` has otherwise than photos-gpu-128: DF-GAN's rates are 1e-4 and 4e-4; its penalty is like R1."""
DRY = {
    "batch_size": 8,
    "z_dim": 8,
    "text_dim": 16,
    "text_kimg": 0.008,
    "g_channels": 4,
    "g_max_channels": 8,
    "d_channels": 8,
    "extractor_px": 32,
    "tick_kimg": 0.016,
    "checkpoint_kimg": 0.016,
}
"""Sizes of a rehearsal on a CPU."""


WAYS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "bf16": {"precision": "bf16"},
    "bf16_compile": {"precision": "bf16", "compile": True},
    "fp32_deterministic": {"deterministic": True},
}
FIRST: dict[str, tuple[str, ...]] = {"photos-gpu-128": ("fp32", "bf16")}
"""Measured before the trainings, which take the faster."""
EVERY = {preset: tuple(WAYS) for preset in ("photos-gpu-128", "lsun-cat-256", "lsun-car-512x384")}


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How long and how large."""

    payload: Path
    results: Path
    work: Path
    dry: bool
    chunk_seconds: float
    seconds: dict[str, float]  # of each training
    steps: int  # of each measurement of speed
    pictures: int

    def settings(self, name: str, **changes: Any) -> tuple[params.TrainParams, int, int]:
        """Parameters and size of a preset, as the payload has them."""
        preset = _read(self.payload / "presets.json")[name]
        # Best weights need the evaluation's network, which the payload has not: the last weights are kept.
        small = DRY if self.dry else {}
        values = {**preset["train"], "select_kimg": 0.0, **small, **changes}
        size = (32, 32) if self.dry else (preset["width"], preset["height"])
        settings = params.from_mapping(params.TrainParams, values, name)
        if settings.text_encoder != "words":
            raise UserError(
                f"{self.payload / 'presets.json'}: {name}.train.text_encoder is {settings.text_encoder}; it must be"
                " words: the payload has token ids and no sentence vectors"
            )
        return settings, *size


def main(argv: list[str] | None = None) -> int:
    """One chunk. Returns AGAIN where more is to do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("payload", nargs="?", type=Path, default=Path("build/gpu_payload"))
    parser.add_argument("results", nargs="?", type=Path, default=Path("build/gpu_results"))
    parser.add_argument("--work", type=Path, default=Path("build/gpu_work"))
    parser.add_argument("--chunk-seconds", type=float, default=510.0)
    parser.add_argument("--cpu-dry-run", action="store_true")
    args = parser.parse_args(argv)
    os.environ["TEXTGAN_WEIGHTS"] = str((args.payload / "weights").resolve())
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read once; the deterministic measurement needs it
    if args.cpu_dry_run:
        os.environ["TEXTGAN_DEVICE"] = "cpu"
        torch.set_num_threads(1)
        seconds = {"projected": 3.0, "scratch": 2.0}
        plan = Plan(args.payload, args.results, args.work, True, 1e9, seconds, 1, 16)
    else:
        seconds = {"projected": 960.0, "scratch": 240.0}
        plan = Plan(args.payload, args.results, args.work, False, args.chunk_seconds, seconds, 30, 1000)
    deadline = time.monotonic() + plan.chunk_seconds
    for path in (plan.results, plan.work):
        path.mkdir(parents=True, exist_ok=True)
    done = speed(plan, deadline, FIRST) and train_all(plan, deadline) and bring_back(plan, deadline)
    if done:  # a lease that ends here has what matters
        report(plan)
        done = speed(plan, deadline, EVERY)
        report(plan)
    return 0 if done else AGAIN


# Speed and memory.


def speed(plan: Plan, deadline: float, wanted: dict[str, tuple[str, ...]]) -> bool:
    """Presets by ways of computing; True when all that are wanted are measured."""
    file = plan.work / "speed.json"
    rows = _read(file) if file.exists() else {}
    for preset, ways in wanted.items():
        for way in ways:
            name = f"{preset} {way}"
            if name in rows or (plan.dry and (preset != "photos-gpu-128" or way == "bf16_compile")):
                continue
            if deadline - time.monotonic() < 90:
                return False
            rows[name] = _measured(plan, preset, WAYS[way])
            print(name, json.dumps(rows[name]), flush=True)
            write_json(file, rows)
    return True


def _measured(plan: Plan, preset: str, changes: dict[str, Any]) -> dict[str, Any]:
    settings, width, height = plan.settings(preset, **changes)
    device = train.choose_device()
    acceleration.set_determinism(settings, device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    data = train_speed.random_data(width, height, 4 * settings.batch_size)
    data.images = data.images.to(device)  # type: ignore[union-attr]
    networks = build_networks(settings, width, height, train_speed.NUM_WORDS, device)
    training = new_training(parts_of(settings, width, height)[-1], networks)
    real_features = RealFeatures(data, training, device)
    acceleration.accelerate(networks, settings, device)
    game = _step(training, data, real_features)
    try:
        with acceleration.precision(settings, device):
            size = settings.batch_size
            step = train_speed.measure(game, plan.steps, size, device)
            bare = train_speed.measure(train_speed.bare(training, real_features), plan.steps, size, device)
    except (RuntimeError, UserError) as error:  # too little memory, or no deterministic kernel: a result, too
        return {"failed": " ".join(str(error).split())[:300]}
    finally:
        torch.use_deterministic_algorithms(False)
    return {
        "size": [width, height],
        "micro_batch": training.state.micro_batch,  # 0: no step was cut
        "batch_size": settings.batch_size,
        "images_per_second": step["images_per_second"],
        "bare_images_per_second": bare["images_per_second"],
        "share_of_bare": round(step["images_per_second"] / bare["images_per_second"], 3),
        "peak_mb": torch.cuda.max_memory_allocated(device) >> 20 if device.type == "cuda" else None,
    }


def _step(training: Training, data: Any, real_features: RealFeatures) -> Callable[[], object]:
    noise, settings = torch.Generator().manual_seed(0), training.params

    def once() -> object:
        batch = data.batch(0, training.state.cur_nimg, settings.batch_size, settings.hard_mismatches)
        training.state.cur_nimg += settings.batch_size
        return game_step(training, batch, real_features, noise)

    return once


# Training.


class TimedCaretaker(train.Caretaker):
    """Counts GPU-seconds over chunks and keeps the weights of the moment that is compared."""

    clock: Path
    compared_seconds: float
    kept: Path
    spent = 0.0
    """Seconds of the chunk inside the loop."""

    def run(self, data: TrainingData, real_features: RealFeatures) -> None:
        """The loop, timed; its preparation is not."""
        try:
            super().run(data, real_features)
        finally:
            TimedCaretaker.spent = time.monotonic() - self.started

    def _tick(self) -> None:
        super()._tick()
        before = sum(json.loads(line)["seconds"] for line in _lines(self.clock))
        if before + time.monotonic() - self.started >= self.compared_seconds and not self.kept.exists():
            weights = {
                name: value.cpu().contiguous() for name, value in self.training.networks.G_ema.state_dict().items()
            }
            self.kept.parent.mkdir(parents=True, exist_ok=True)
            payload = save({"cur_nimg": torch.tensor(self.training.state.cur_nimg), **weights})
            self.kept.write_bytes(payload)


def train_all(plan: Plan, deadline: float) -> bool:
    """Both trainings, as far as the chunk lasts; True when both are complete."""
    for name in plan.seconds:
        while not (plan.work / "models" / name).exists():
            left = deadline - time.monotonic()
            if left < 45:
                return False
            _train_chunk(plan, name, left - 30)
    return True


def _train_chunk(plan: Plan, name: str, seconds: float) -> None:
    """Train until complete, or for `seconds` and up to a checkpoint."""
    clock = plan.work / f"{name}.chunks.jsonl"
    TimedCaretaker.clock, TimedCaretaker.kept = clock, plan.work / f"{name}.compared.safetensors"
    TimedCaretaker.compared_seconds = plan.seconds["scratch"]
    train.Caretaker = TimedCaretaker  # type: ignore[misc]
    began = time.monotonic()
    signal.signal(signal.SIGALRM, _end_chunk)
    TimedCaretaker.spent = 0.0
    signal.setitimer(signal.ITIMER_REAL, seconds if seconds < 1e6 else 0)
    here = Path.cwd()
    payload, out = plan.payload.resolve(), (plan.work / "models" / name).resolve()
    settings = _timed_settings(plan, name)
    os.chdir(plan.work)  # unfinished work and rows belong to the suite, not to the repository
    try:
        train.train(name, settings, payload / "images", payload / "pairs", out, Path("runs") / name)
    except SystemExit as stopped:
        if stopped.code != 143:
            raise
    finally:
        os.chdir(here)
        signal.setitimer(signal.ITIMER_REAL, 0)
    spent = {"seconds": round(TimedCaretaker.spent, 1), "wall": round(time.monotonic() - began, 1)}
    with open(clock, "a", encoding="utf-8") as file:
        file.write(json.dumps(spent) + "\n")


def _end_chunk(_signal: int, _frame: Any) -> None:
    """Ask the training to stop; before it listens to SIGTERM, wait."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.setitimer(signal.ITIMER_REAL, 1.0)
    else:
        os.kill(os.getpid(), signal.SIGTERM)


def _timed_settings(plan: Plan, name: str) -> params.TrainParams:
    """So many images as fit into the seconds at the speed of two short probes, decided once."""
    file = plan.work / f"{name}.settings.json"
    if not file.exists():
        changes: dict[str, Any] = SCRATCH if name == "scratch" else {}
        if not plan.dry:
            changes = {**changes, "precision": _faster_precision(plan)}
        probe = _measured(plan, "photos-gpu-128", changes)
        kimg = plan.seconds[name] * probe["images_per_second"] * (0.5 if plan.dry else 0.95) / 1000
        settings, _width, _height = plan.settings("photos-gpu-128", **changes)
        batches = max(4, round(kimg * 1000 / settings.batch_size))
        chosen = {**changes, "total_kimg": batches * settings.batch_size / 1000}
        write_json(file, chosen)
    return plan.settings("photos-gpu-128", **_read(file))[0]


def _faster_precision(plan: Plan) -> str:
    rows = _read(plan.work / "speed.json")
    rates = {way: rows[f"photos-gpu-128 {way}"].get("images_per_second", 0.0) for way in ("fp32", "bf16")}
    return max(rates, key=lambda way: rates[way])


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


# What is brought back.


def bring_back(plan: Plan, deadline: float) -> bool:
    """Pictures, grids and weights in pieces, once."""
    marker = plan.work / "brought_back.json"
    if marker.exists():
        return True
    if deadline - time.monotonic() < 60:
        return False
    places = {name: plan.work / "models" / name for name in plan.seconds}
    compared = _compared_snapshot(plan)
    if compared is not None:
        places["projected-at-equal-seconds"] = compared
    prompts = Pairs(plan.payload / "pairs", "test")
    tokens = [ids[0] for ids in prompts.column("token_ids")[: plan.pictures]]
    for name, place in places.items():
        snapshot = load_snapshot(place, train.choose_device())
        _write_tar(plan.results / f"pictures-{name}.tar", prompts.keys, generate(snapshot, tokens, range(len(tokens))))
        _write_grid(snapshot, tokens, plan.results / f"grid-{name}.png")
        shutil.copyfile(place / "curve.csv", plan.results / f"curve-{name}.csv")
    write_json(marker, {"left_out": _write_weights(plan, places["projected"])})
    return True


def report(plan: Plan) -> None:
    """results.json: all numbers, with commit, parameters and hardware."""
    trainings = {}
    for name in plan.seconds:
        chunks = [json.loads(line) for line in _lines(plan.work / f"{name}.chunks.jsonl")]
        trainings[name] = {
            "changes": _read(plan.work / f"{name}.settings.json"),
            "gpu_seconds": round(sum(chunk["seconds"] for chunk in chunks), 1),
            "chunks": chunks,
            "snapshot": _read(plan.work / "models" / name / "snapshot.json"),
        }
    result = {
        "dry_run": plan.dry,
        "hardware": _hardware(),
        "speed": _read(plan.work / "speed.json"),
        "trainings": trainings,
        "compared_at_seconds": plan.seconds["scratch"],
        "payload": _read(plan.payload / "payload.json"),
        **_read(plan.work / "brought_back.json"),
    }
    write_json(plan.results / "results.json", result)
    print(f"{plan.results}: {sum(path.stat().st_size for path in plan.results.iterdir()) / 2**20:.1f} MiB", flush=True)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _compared_snapshot(plan: Plan) -> Path | None:
    """`projected` at the GPU-seconds of `scratch`, as a snapshot; its learning rate had not yet fallen."""
    kept = plan.work / "projected.compared.safetensors"
    if not kept.exists():
        return None
    out = plan.work / "models" / "compared"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(plan.work / "models" / "projected", out)
    tensors = load_file(kept)
    cur_nimg = int(tensors.pop("cur_nimg"))
    (out / "G_ema.safetensors").write_bytes(save(tensors))
    info = _read(out / "snapshot.json")
    write_json(out / "snapshot.json", {**info, "cur_nimg": cur_nimg})
    return out


def _write_tar(path: Path, keys: list[str], pictures: np.ndarray) -> None:
    """JPEG 4:4:4 of the best quality that fits a piece: what photos went through, too."""
    for quality in (95, 90, 85, 75):
        with tarfile.open(path, "w") as tar:
            for key, picture in zip(keys, pictures, strict=False):
                file = io.BytesIO()
                Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=0)
                info = tarfile.TarInfo(f"{key}.jpg")
                info.size = len(file.getvalue())
                tar.addfile(info, io.BytesIO(file.getvalue()))
        if path.stat().st_size <= PIECE // 2:
            return


def _write_grid(snapshot: Snapshot, tokens: list[list[int]], path: Path) -> None:
    """Eight prompts, eight seeds each; then 64 pictures, one a prompt."""
    chosen = tokens[:: max(1, len(tokens) // 8)][:8]
    rows = [list(generate(snapshot, [ids] * 8, range(8))) for ids in chosen]
    pictures = list(generate(snapshot, tokens[:64], range(len(tokens[:64]))))
    rows += [pictures[first : first + 8] for first in range(0, len(pictures), 8)]
    contact_sheet(rows).save(path)


def _write_weights(plan: Plan, place: Path) -> list[str]:
    """The last weights in half precision, in pieces, where there is room for them."""
    halves = {name: value.to(torch.float16) for name, value in load_file(place / "G_ema.safetensors").items()}
    payload = save(halves)
    if sum(path.stat().st_size for path in plan.results.iterdir()) + len(payload) > ALL:
        return ["weights of projected: too large"]
    for number, first in enumerate(range(0, len(payload), PIECE)):
        (plan.results / f"weights.{number:02d}.part").write_bytes(payload[first : first + PIECE])
    for name in ("snapshot.json", "vocabulary.json", "curve.csv"):
        shutil.copyfile(place / name, plan.results / name)
    return []


def _hardware() -> dict[str, Any]:
    gpu = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None
    return {
        "gpu": gpu.name if gpu else None,
        "gpu_mb": gpu.total_memory >> 20 if gpu else None,
        "cpus": os.cpu_count(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        fail(error)
