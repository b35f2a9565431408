"""How fast training is: images a second and CPU-seconds an image, for steps on random data of a preset's sizes.

python benchmarks/train_speed.py [--preset sample] [--px 64] [--batch 16] [--steps 20] [--threads 1] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from textgan import params
from textgan.facts.schema import VALUES
from textgan.files import write_json
from textgan.growth import parts_of
from textgan.networks.build import build_networks
from textgan.train import choose_device
from textgan.training import RealFeatures, Training, new_training
from textgan.training_data import TrainingData
from textgan.training_loop import game_step, text_step

NUM_WORDS, CAPTION_LENGTH = 200, 20


def main() -> None:
    """Print and write one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="sample")
    parser.add_argument("--px", type=int, help="another image size, square")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    dataset = next(iter(params.load(Path("presets") / f"{args.preset}.yaml").datasets.values()))
    width, height = (args.px, args.px) if args.px else (dataset.images.width, dataset.images.height)
    changes = {"batch_size": args.batch} if args.batch else {}
    if args.px:
        changes["extractor_px"] = args.px
    settings = dataclasses.replace(dataset.train, **changes)
    device = choose_device()
    data = random_data(width, height, 4 * settings.batch_size)
    networks = build_networks(settings, width, height, NUM_WORDS, device)
    training = new_training(parts_of(settings, width, height)[-1], networks)
    real_features = RealFeatures(data, training, device)
    noise = torch.Generator().manual_seed(0)

    def step(kind: Callable) -> Callable[[], object]:
        def once() -> object:
            batch = data.batch(0, training.state.cur_nimg, settings.batch_size, settings.hard_mismatches)
            training.state.cur_nimg += settings.batch_size
            return kind(training, batch, real_features, noise)

        return once

    result = {
        "preset": args.preset,
        "size": [width, height],
        "batch_size": settings.batch_size,
        "threads": args.threads,
        "device": str(device),
        "features_kept": real_features.kept is not None,
        "text_step": measure(step(text_step), args.steps, settings.batch_size, device),
        "game_step": measure(step(game_step), args.steps, settings.batch_size, device),
        "bare_networks": measure(bare(training, real_features), args.steps, settings.batch_size, device),
    }
    result["micro_batch"] = training.state.micro_batch  # 0: no step was cut
    result["share_of_bare"] = result["game_step"]["images_per_second"] / result["bare_networks"]["images_per_second"]
    print(json.dumps(result, indent=2))
    if args.out:
        write_json(args.out, result)


def random_data(width: int, height: int, count: int) -> TrainingData:
    """Noise with captions, no two of which agree in their first fact."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)
    captions = [
        [torch.randint(4, NUM_WORDS, (CAPTION_LENGTH,), generator=generator).tolist() for _ in range(2)]
        for _ in range(count)
    ]
    facts = torch.randint(0, 2, (count, len(VALUES)), generator=generator).to(torch.int16)
    return TrainingData(images, captions, [[True, True]] * count, facts)


def bare(training: Training, real_features: RealFeatures) -> Callable[[], object]:
    """The same networks, forward and backward, and nothing else: no optimiser, no loss but a sum, no data."""
    networks, settings = training.networks, training.params
    size = settings.batch_size
    z = torch.randn(size, settings.z_dim, device=real_features.device)
    ids = torch.randint(4, NUM_WORDS, (size * (1 + settings.hard_mismatches), CAPTION_LENGTH), device=z.device)
    real = real_features(torch.arange(size), torch.full((size, 4), 0.5))

    def once() -> None:
        c = networks.text(ids)
        features = networks.D.features(networks.G(z, c[:size].detach()))
        both = networks.D([torch.cat([one, other.detach()]) for one, other in zip(real, features, strict=True)])
        (both.patches.mean() + both.matched(c[:size].repeat(2, 1)).mean()).backward()
        networks.D.requires_grad_(False)
        fake = networks.D(features)
        (fake.patches.mean() + fake.matched(c[:size].detach()).mean()).backward()
        networks.D.requires_grad_(True)

    return once


def measure(step: Callable[[], object], steps: int, batch_size: int, device: torch.device) -> dict[str, float]:
    """Medians over steps, after three that warm up."""
    walls, cpus = [], []
    for number in range(steps + 3):
        if device.type == "cuda":
            torch.cuda.synchronize()
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if number >= 3:
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
    return {
        "images_per_second": round(batch_size / statistics.median(walls), 2),
        "cpu_ms_per_image": round(1000 * statistics.median(cpus) / batch_size, 3),
    }


if __name__ == "__main__":
    main()
