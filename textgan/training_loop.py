"""The training loop: one visible loop, counted in images, every step a function of (seed, images seen).

B batch over all processes, N this process's part of it, L caption length, D text features, M texts
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from textgan import distributed
from textgan.augment import augment, draw_augmentation
from textgan.ema import ema_beta, update_ema
from textgan.errors import UserError
from textgan.losses import OBJECTIVES, choice_loss, gradient_penalty, pair_loss, pixel_loss
from textgan.networks.judgement import Judgement
from textgan.optimisers import learning_rate, set_learning_rate
from textgan.seeds import derive_seed
from textgan.training import RealFeatures, Training
from textgan.training_data import Batch, TrainingData

NAN_LIMIT = 8
"""So many steps may have gradients that are not finite (they are left out and counted); one more ends the training."""
Stats = dict[str, Tensor]


def run_loop(
    training: Training,
    data: TrainingData,
    real_features: RealFeatures,
    maintain: Callable[[Training, int], bool],  # after each step, with its images; True stops
) -> None:
    """Train until `total_kimg`, or until `maintain` says stop."""
    params, state, networks = training.params, training.state, training.networks
    total_nimg, text_nimg = round(params.total_kimg * 1000), round(params.text_kimg * 1000)
    while state.cur_nimg < total_nimg:
        noise = torch.Generator().manual_seed(derive_seed(params.seed, "step", state.cur_nimg))
        batch = data.batch(params.seed, state.cur_nimg, params.batch_size, params.hard_mismatches, params.captions)
        for optimiser, base in ((training.D_opt, params.d_lr), (training.G_opt, params.g_lr)):
            set_learning_rate(optimiser, learning_rate(base, state.cur_nimg, total_nimg, params.lr_decay))
        if state.cur_nimg < text_nimg:
            stats = text_step(training, batch, real_features, noise)
        else:
            stats = game_step(training, batch, real_features, noise)
            seen = state.cur_nimg + params.batch_size - text_nimg
            beta = ema_beta(params.batch_size, seen, params.ema_kimg, params.ema_rampup)
            update_ema(networks.G_ema.generator, networks.G, beta)
            update_ema(networks.G_ema.text, networks.text, beta)
        state.cur_nimg += params.batch_size
        state.steps += 1
        for name, value in stats.items():
            state.sums[name] = state.sums.get(name, 0.0) + float(value)
        if maintain(training, params.batch_size):
            return


def text_step(training: Training, batch: Batch, real_features: RealFeatures, noise: torch.Generator) -> Stats:
    """Which words go with which real image: the text encoder and the heads learn it before the game begins."""
    networks, params, part = training.networks, training.params, distributed.local_part(training.params.batch_size)
    device = real_features.device
    numbers = draw_augmentation(params.batch_size, noise)
    c = networks.text(batch.token_ids.to(device))  # [M,D]
    real = networks.D(real_features(batch.index[part], numbers[part]))
    loss, right = _choice(real, c, batch, part)
    training.D_opt.zero_grad(set_to_none=True)
    loss.mean().backward()
    _step(training, training.D_opt, [*networks.D.parameters(), *networks.text.parameters()])
    return _reported({"choice_loss": loss, "choice_right": right})


def game_step(training: Training, batch: Batch, real_features: RealFeatures, noise: torch.Generator) -> Stats:
    """D, then G against the new D; both on the same generated images, which are made once."""
    networks, params = training.networks, training.params
    objective, part = OBJECTIVES[params.objective], distributed.local_part(params.batch_size)
    device, size = real_features.device, params.batch_size
    z = torch.randn(size, params.z_dim, generator=noise)[part].to(device)  # [N,Z]
    numbers = [draw_augmentation(size, noise)[part] for _ in range(2)]
    other = _pick_wrong(batch.wrong, torch.rand(batch.wrong.shape, generator=noise))  # [B], -1 where nothing does
    has_wrong = (other >= 0)[part].to(device, torch.float32)  # [N]

    # Generate once; the features carry the graph to G, a detached copy trains D.
    c = networks.text(batch.token_ids.to(device))  # [M,D], the images' own texts first
    fake_images = networks.G(z, c[part].detach())
    fake_features = networks.D.features(augment(fake_images, params.augment, numbers[1]))
    seen_fake = [level.detach() for level in fake_features]
    seen_real = real_features(batch.index[part], numbers[0])
    for gamma, levels in ((params.r1_gamma, seen_real), (params.r2_gamma, seen_fake)):
        if gamma > 0:
            for level in levels:
                level.requires_grad_(True)

    # Discriminator.
    N = len(z)
    both = networks.D([torch.cat(pair) for pair in zip(seen_real, seen_fake, strict=True)])
    real, fake = both[:N], both[N:]
    real_matched, fake_matched = real.matched(c[part]), fake.matched(c[part])  # [N,V]
    d_words = objective.d(real_matched, fake_matched).mean(dim=1)
    if params.mismatch:
        mismatched = objective.d(real_matched, real.matched(c[other[part]])).mean(dim=1)
        d_words = d_words + has_wrong * 0.5 * (mismatched - d_words)  # half of the negatives are mismatches
    d_loss = objective.d(real.patches, fake.patches).mean(dim=1) + d_words
    choice, choice_right = _choice(real, c, batch, part)
    d_total = d_loss + params.d_choice * choice
    if params.r1_gamma > 0:
        logits = real.patches.mean(dim=1) + real_matched.mean(dim=1)
        d_total = d_total + params.r1_gamma / 2 * gradient_penalty(seen_real, logits)
    if params.r2_gamma > 0:
        logits = fake.patches.mean(dim=1) + fake_matched.mean(dim=1)
        d_total = d_total + params.r2_gamma / 2 * gradient_penalty(seen_fake, logits)
    training.D_opt.zero_grad(set_to_none=True)
    d_total.mean().backward()
    _step(training, training.D_opt, [*networks.D.parameters(), *networks.text.parameters()])

    # Generator, against the D of now.
    networks.D.requires_grad_(False).eval()  # eval: spectral norms take one power iteration a step
    c = c.detach()
    fake_now = networks.D(fake_features)
    fake_logits = fake_now.matched(c[part])
    if objective.g_needs_real:
        with torch.no_grad():
            real_now = networks.D(seen_real)
        g_loss = objective.g(real_now.patches, fake_now.patches).mean(dim=1)
        g_loss = g_loss + objective.g(real_now.matched(c[part]), fake_logits).mean(dim=1)
    else:
        g_loss = objective.g(fake_now.patches, fake_now.patches).mean(dim=1)
        g_loss = g_loss + objective.g(fake_logits, fake_logits).mean(dim=1)
    fake_choice, fake_choice_right = _choice(fake_now, c, batch, part)
    g_total = g_loss + params.g_choice * fake_choice
    held = _held(params.g_pair_every, part, device)
    distances = {}  # to the real image of the same caption
    if params.g_pair > 0:
        distances["pair_loss"] = held * pair_loss(fake_features, seen_real)
        g_total = g_total + params.g_pair * distances["pair_loss"]
    if params.g_pixels > 0:
        distances["pixel_loss"] = held * pixel_loss(fake_images, real_features.images_at(batch.index[part]))
        g_total = g_total + params.g_pixels * distances["pixel_loss"]
    training.G_opt.zero_grad(set_to_none=True)
    g_total.mean().backward()
    networks.D.requires_grad_(True).train()
    _step(training, training.G_opt, networks.G.parameters())
    return _reported(
        {
            "d_loss": d_loss,
            "g_loss": g_loss,
            "choice_loss": choice,
            "choice_right": choice_right,
            "fake_choice_right": fake_choice_right,
            "real_logits": real.patches,
            "fake_logits": fake.patches,
            "real_matched_logits": real_matched,
            "fake_matched_logits": fake_matched,
            **distances,
        }
    )


def _held(every: int, part: slice, device: torch.device) -> Tensor:  # -> [N]
    """By how much each picture is held against its real image: one in `every` of the whole batch, for the others."""
    return every * (torch.arange(part.start, part.stop, device=device) % every == 0).float()


def _choice(judged: Judgement, c: Tensor, batch: Batch, part: slice) -> tuple[Tensor, Tensor]:  # -> [N], [N]
    """The loss of picking each image's own caption out of the batch, and whether it was picked."""
    similarities = judged.similarities(c)  # [N,M]
    right = torch.arange(part.start, part.stop, device=c.device)
    wrong = batch.wrong[part].to(c.device)
    own = similarities.gather(1, right[:, None])
    best = similarities.detach().masked_fill(~wrong, -1e4).amax(dim=1)
    return choice_loss(similarities, right, wrong), (own[:, 0].detach() > best).float()


def _pick_wrong(wrong: Tensor, draws: Tensor) -> Tensor:  # [B,M] bool, [B,M] -> [B]
    """For each image one text that contradicts it, a hard one where it has one; -1 where there is none."""
    size, texts = wrong.shape
    own_hard = torch.zeros(size, texts, dtype=torch.bool)
    for idx in range(size):
        per_image = (texts - size) // size
        own_hard[idx, size + idx * per_image : size + (idx + 1) * per_image] = True
    picked = (wrong * (draws + own_hard)).argmax(dim=1)
    return torch.where(wrong.any(dim=1), picked, -1)


def _step(training: Training, optimiser: torch.optim.Optimizer, weights: Iterable[nn.Parameter]) -> None:
    """Average gradients over processes and step; a gradient that is not finite is counted and not applied."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    distributed.average(gradients)
    total = torch.stack(torch._foreach_norm(gradients)).sum()
    if bool(torch.isfinite(total)):
        optimiser.step()
        return
    training.state.nan_steps += 1
    if training.state.nan_steps > NAN_LIMIT:
        raise UserError(
            f"training: {training.state.nan_steps} steps had gradients that are not finite, the last at image"
            f" {training.state.cur_nimg}; lower g_lr and d_lr in params.yaml"
        )


def _reported(values: Stats) -> Stats:
    """Means over the whole batch."""
    means = torch.stack([value.detach().float().mean() for value in values.values()])
    distributed.average([means])
    return dict(zip(values, means.unbind(), strict=True))
