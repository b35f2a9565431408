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
import gc
import json
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import textgan
from textgan import acceleration, checkpoint, distributed, params
from textgan.caretaker import Caretaker
from textgan.errors import UserError, program
from textgan.files import fingerprint, publishing, sha256_file, unfinished_dir, write_bytes, write_json
from textgan.growth import Part, parts_of
from textgan.manifest import read_images
from textgan.micro_batches import is_out_of_memory
from textgan.networks.build import SNAPSHOT_FORMAT, build_networks
from textgan.networks.text_encoder import MinilmEncoder
from textgan.resume import last_saved
from textgan.training import RealFeatures, Training, new_training
from textgan.training_data import TrainingData, load_split

MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "8589934592",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
}
"""glibc keeps freed pages: activations of a convolutional network come and go at the same sizes each step."""
NO_RESULT = ("textgan.errors", "textgan.progress", "textgan.cli", "textgan.local")
"""Modules that change no weight: another wording of a message must not throw a checkpoint away."""
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
        parts = parts_of(settings, manifest.width, manifest.height)  # refused before anything is read
        vocabulary = _read_json(pairs / "vocabulary.json")
        work = unfinished_dir("train", _identity(settings, images, pairs))
        words = len(vocabulary["words"])
        data = load_split(images, pairs, "train", words, settings.damaged, device, settings.text_encoder)
        if settings.batch_size > len(data):
            raise UserError(
                f"params.yaml: datasets.{name}.train.batch_size is {settings.batch_size};"
                f" it must be at most the {len(data)} images of the train split"
            )
        data.part = distributed.local_part(settings.batch_size, settings.z_per_caption)
        if device.type == "cuda":  # on a CPU it would take the cores from the networks
            data.composer = ThreadPoolExecutor(1, "compose")
        if data.skipped and distributed.rank() == 0:
            print(
                f"train: {len(data.skipped)} damaged images are left out; the first: {data.skipped[0]}", file=sys.stderr
            )
        grid = load_split(images, pairs, "select", words, settings.damaged, text_encoder=settings.text_encoder)
        if settings.captions == "none":  # a network that never heard a word is neither scored nor shown with one
            grid.captions = [[[]] for _ in range(len(grid))]
        training = _trained(name, parts, words, data, grid, work, runs, device)
        if distributed.rank() == 0:
            snapshot = {
                "format": SNAPSHOT_FORMAT,
                "dataset": name,
                "textgan": textgan.__version__,
                "width": manifest.width,
                "height": manifest.height,
                "train": dataclasses.asdict(settings),
                "vocabulary_sha256": vocabulary["sha256"],
                "num_words": words,
                "max_tokens": data.longest_caption,
                "cur_nimg": training.state.best_nimg,
                "nan_steps": training.state.nan_steps,
                "skipped_images": len(data.skipped),
            }
            if training.state.micro_batch:
                snapshot["micro_batch"] = training.state.micro_batch
            if settings.text_encoder != "words":
                snapshot["text_encoder"] = _weights_of(pairs / "manifest.json")
            with publishing(out) as built:
                write_snapshot(training, snapshot, built)
                shutil.copyfile(pairs / "vocabulary.json", built / "vocabulary.json")
            shutil.rmtree(work)
    except UserError as error:
        raise UserError(f"{error}{_last_checkpoint(work)}") from None
    except Exception as error:
        if is_out_of_memory(error):
            raise UserError(
                f"params.yaml: datasets.{name}.train: the {'GPU' if device.type == 'cuda' else 'machine'} has too"
                " little memory for what its steps need beside their images; lower cache_mb, g_channels or d_channels"
                f"{_last_checkpoint(work)}"
            ) from None
        print(f"train: {name} failed{_last_checkpoint(work)}", file=sys.stderr, flush=True)
        raise
    finally:
        distributed.stop()


def _trained(
    name: str,
    parts: list[Part],
    num_words: int,
    data: TrainingData,
    select: TrainingData,
    work: Path,
    runs: Path,
    device: torch.device,
) -> Training:
    """What is left of the training, from its last checkpoint on; where it grows, at half the size first."""
    started = time.monotonic()

    def built(part: Part) -> Training:
        networks = build_networks(part.params, part.width, part.height, num_words, device)
        if isinstance(networks.text, MinilmEncoder) and data.vectors is not None:
            networks.text.calibrate(data.vectors[1:])
        return new_training(part, networks)

    def run(training: Training) -> None:
        real_features = RealFeatures(data, training, device)
        acceleration.accelerate(training.networks, training.params, device)
        Caretaker(training, work, runs, name, select, started).run(data, real_features)

    saved = last_saved(work)
    at = saved.state.part if saved else 0
    training = built(parts[at])
    if saved:
        saved.restore(training)
        del saved  # its tensors were copied
    run(training)
    for part in parts[at + 1 :]:
        before, training = training, built(part)
        training.grow_from(before)
        del before  # the full size needs the memory, and compiled networks lie in cycles
        gc.collect()
        run(training)
    return training


def _last_checkpoint(work: Path | None) -> str:
    """The end of a message: where the training would go on."""
    place = checkpoint.latest(work) if work is not None else None
    return f" (the same command goes on from {place})" if place is not None else ""


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


def _weights_of(manifest: Path) -> Any:
    """Which weights the sentence vectors of pairs are of. Raises UserError."""
    said = _read_json(manifest)
    if "embeddings" not in said:
        raise UserError(
            f"{manifest}: embeddings is missing; text_encoder minilm needs it: set pairs.embeddings to minilm in"
            " params.yaml and run the stage pairs again"
        )
    return said["embeddings"]


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
