"""The training loop: one visible loop, counted in images, every step a function of (seed, images seen).

B batch over all processes, N this process's part of it, L caption length, D text features, M texts
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from textgan import distributed
from textgan.augment import augment, draw_augmentation
from textgan.ema import ema_beta, update_ema
from textgan.errors import UserError
from textgan.losses import (
    OBJECTIVES,
    choice_loss,
    distances,
    energy_score,
    feature_distance,
    gradient_penalty,
    pixel_distance,
)
from textgan.micro_batches import as_memory_allows
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
    """Train until the last image of this training, or until `maintain` says stop."""
    params, state, networks = training.params, training.state, training.networks
    total_nimg, text_nimg = round(params.total_kimg * 1000), round(params.text_kimg * 1000)
    while state.cur_nimg < training.part.last_nimg:
        noise = torch.Generator().manual_seed(derive_seed(params.seed, "step", state.cur_nimg))
        data.at_once = state.micro_batch
        batch = data.batch(params.seed, state.cur_nimg, params.batch_size, params.hard_mismatches, params.captions)
        for optimiser, base in ((training.D_opt, params.d_lr), (training.G_opt, params.g_lr)):
            set_learning_rate(optimiser, learning_rate(base, state.cur_nimg, total_nimg, params.lr_decay))
        if state.cur_nimg < training.part.game_nimg:
            stats = text_step(training, batch, real_features, noise)
        else:
            stats = game_step(training, batch, real_features, noise)
            seen = state.cur_nimg + params.batch_size - text_nimg
            beta = ema_beta(params.batch_size, seen, params.ema_kimg, params.ema_rampup)
            update_ema(networks.G_ema.generator, networks.G, beta)
            update_ema(networks.G_ema.text, networks.text, beta)
        state.cur_nimg += params.batch_size
        for name, value in stats.items():
            state.sums[name] = state.sums.get(name, 0.0) + float(value)
            state.counts[name] = state.counts.get(name, 0) + 1
        if maintain(training, params.batch_size):
            return


def text_step(training: Training, batch: Batch, real_features: RealFeatures, noise: torch.Generator) -> Stats:
    """Which words go with which real image: the text encoder and the heads learn it before the game begins."""
    numbers = draw_augmentation(training.params.batch_size, noise)

    def judge(c: Tensor, cut: slice) -> tuple[Tensor, Stats]:
        real = training.networks.D(real_features(batch.index[cut], numbers[cut]))
        loss, right = _choice(real, c, batch, torch.arange(cut.start, cut.stop))
        return loss, {"choice_loss": loss, "choice_right": right}

    _, stats = _train_d(training, batch, real_features.device, judge)
    return _reported(stats)


def game_step(training: Training, batch: Batch, real_features: RealFeatures, noise: torch.Generator) -> Stats:
    """D, then G against the new D; both on the same generated images."""
    game = Game(training, batch, real_features, noise)
    game.c, seen = _train_d(training, batch, real_features.device, game.judge)
    weights = training.D_weights
    _set_trained(weights, False)
    training.networks.D.eval()
    stats = as_memory_allows(training, training.G_opt, game.generator_gradients)
    training.networks.D.train()
    _set_trained(weights, True)
    _step(training, training.G_opt)
    return _reported({**seen, **stats})


def _train_d(
    training: Training,
    batch: Batch,
    device: torch.device,
    judge: Callable[[Tensor, slice], tuple[Tensor, Stats]],  # texts, cut -> loss of each image of the cut, values
) -> tuple[Tensor, Stats]:  # the texts as they were, [M,D]; values of all cuts
    """One step of D and of the text encoder.

    Each process encodes a part of the texts, which all are compared with; what every image of every process says of
    them comes back through the encoder once.
    """
    networks = training.networks
    part = distributed.local_part(len(batch.token_ids))
    own = batch.token_ids[part].to(device)
    # [M,D] over all processes, the images' own texts first; those of one process are never cut, they are small
    texts = as_memory_allows(training, training.D_opt, lambda _: networks.text(own))
    c = distributed.joined(texts.detach().float()).requires_grad_(True)

    def gradients(cuts: list[slice]) -> Stats:
        c.grad = None
        seen = []
        for cut in cuts:
            networks.D.train(cut is cuts[0])  # spectral norms take one power iteration a step
            loss, values = judge(c, cut)
            (loss.mean() / len(cuts)).backward()
            seen.append(values)
        return _joined(seen)

    gathered = as_memory_allows(training, training.D_opt, gradients)
    assert c.grad is not None, "every judgement compares with texts"
    texts.backward(distributed.summed(c.grad)[part].to(texts.dtype))
    _step(training, training.D_opt)
    return c.detach(), gathered


class Game:
    """One step of the game: its random numbers, drawn for the whole batch, and the losses of any cut of it."""

    c: Tensor
    """[M,D] the texts as D saw them, no graph; the images' own texts first."""

    def __init__(self, training: Training, batch: Batch, real_features: RealFeatures, noise: torch.Generator) -> None:
        params = training.params
        self.training, self.batch, self.real_features = training, batch, real_features
        self.objective = OBJECTIVES[params.objective]
        self.z = torch.randn(params.batch_size, params.z_dim, generator=noise)  # [B,Z]
        places = torch.arange(params.batch_size)
        # [B], whose caption each picture is made of: that of an image near it, in the same cut
        self.told = places - places % params.z_per_caption
        self.numbers = [draw_augmentation(params.batch_size, noise) for _ in range(2)]
        # [B], -1 where nothing does
        self.other = _pick_wrong(batch.wrong, torch.rand(batch.wrong.shape, generator=noise))
        self.kept: tuple[Tensor, list[Tensor], list[Tensor]] | None = None
        """Of a batch that is not cut, for G: what D saw, with the graph to G."""

    def generated(self, c: Tensor, cut: slice) -> tuple[Tensor, list[Tensor]]:  # -> [N,3,H,W], levels
        """Pictures, and what D sees of them."""
        networks = self.training.networks
        pictures = networks.G(self.z[cut].to(self.real_features.device), c[self.told[cut]].detach())
        return pictures, networks.D.features(augment(pictures, self.training.params.augment, self.numbers[1][cut]))

    def real(self, cut: slice) -> list[Tensor]:
        """What D sees of the real images."""
        return self.real_features(self.batch.index[cut], self.numbers[0][cut])

    def judge(self, c: Tensor, cut: slice) -> tuple[Tensor, Stats]:  # [M,D] -> [N]
        """The loss of D. Pictures of a whole batch are made once, for G too; those of a cut are made again for G."""
        networks, params, objective = self.training.networks, self.training.params, self.objective
        self.kept = None
        whole = cut == distributed.local_part(params.batch_size)
        with torch.set_grad_enabled(whole):
            pictures, features = self.generated(c, cut)
        seen_fake = [level.detach() for level in features]
        seen_real = self.real(cut)
        if whole:
            self.kept = pictures, features, seen_real
        for gamma, levels in ((params.r1_gamma, seen_real), (params.r2_gamma, seen_fake)):
            if gamma > 0:
                for level in levels:
                    level.requires_grad_(True)

        N = cut.stop - cut.start
        both = networks.D([torch.cat(pair) for pair in zip(seen_real, seen_fake, strict=True)])
        real, fake = both[:N], both[N:]
        real_matched, fake_matched = real.matched(c[cut]), fake.matched(c[self.told[cut]])  # [N,V]
        d_words = objective.d(real_matched, fake_matched).mean(dim=1)
        if params.mismatch:
            has_wrong = (self.other >= 0)[cut].to(c.device, torch.float32)  # [N]
            mismatched = objective.d(real_matched, real.matched(c[self.other[cut]])).mean(dim=1)
            d_words = d_words + has_wrong * 0.5 * (mismatched - d_words)  # half of the negatives are mismatches
        d_loss = objective.d(real.patches, fake.patches).mean(dim=1) + d_words
        choice, choice_right = _choice(real, c, self.batch, torch.arange(cut.start, cut.stop))
        d_total = d_loss + params.d_choice * choice
        if params.r1_gamma > 0:
            logits = real.patches.mean(dim=1) + real_matched.mean(dim=1)
            d_total = d_total + params.r1_gamma / 2 * gradient_penalty(seen_real, logits)
        if params.r2_gamma > 0:
            logits = fake.patches.mean(dim=1) + fake_matched.mean(dim=1)
            d_total = d_total + params.r2_gamma / 2 * gradient_penalty(seen_fake, logits)
        return d_total, {
            "d_loss": d_loss,
            "choice_loss": choice,
            "choice_right": choice_right,
            "real_logits": real.patches,
            "fake_logits": fake.patches,
            "real_matched_logits": real_matched,
            "fake_matched_logits": fake_matched,
        }

    def generator_gradients(self, cuts: list[slice]) -> Stats:
        """Of G, against the D of now."""
        seen = []
        for cut in cuts:
            loss, values = self.convince(cut)
            (loss.mean() / len(cuts)).backward()
            seen.append(values)
        return _joined(seen)

    def convince(self, cut: slice) -> tuple[Tensor, Stats]:  # -> [N]
        """The loss of G."""
        networks, params, objective, c = self.training.networks, self.training.params, self.objective, self.c
        compared = objective.g_needs_real or params.g_pair > 0
        kept, self.kept = self.kept, None  # a graph serves once
        if kept:
            pictures, fake_features, seen_real = kept
        else:
            pictures, fake_features = self.generated(c, cut)
            seen_real = self.real(cut) if compared else []
        fake_now = networks.D(fake_features)
        told = self.told[cut]
        fake_logits = fake_now.matched(c[told])
        if objective.g_needs_real:
            with torch.no_grad():
                real_now = networks.D(seen_real)
            g_loss = objective.g(real_now.patches, fake_now.patches).mean(dim=1)
            g_loss = g_loss + objective.g(real_now.matched(c[cut]), fake_logits).mean(dim=1)
        else:
            g_loss = objective.g(fake_now.patches, fake_now.patches).mean(dim=1)
            g_loss = g_loss + objective.g(fake_logits, fake_logits).mean(dim=1)
        fake_choice, fake_choice_right = _choice(fake_now, c, self.batch, told)
        g_total = g_loss + params.g_choice * fake_choice
        held = _held(params.g_pair_every, told // params.z_per_caption, c.device)
        spread: Stats = {}  # how far pictures lie from the real image of their caption, and from each other
        if params.g_pair > 0:
            seen_told = [level.detach()[told - cut.start] for level in seen_real]
            far, apart = distances(feature_distance, fake_features, seen_told, params.z_per_caption)
            g_total = g_total + params.g_pair * held * energy_score(far, apart)
            spread |= {"pair_loss": held * far} | ({} if apart is None else {"pair_apart": held * apart})
        if params.g_pixels > 0:
            images = self.real_features.images_at(self.batch.index[told])
            far, apart = distances(pixel_distance, [pictures], [images], params.z_per_caption)
            g_total = g_total + params.g_pixels * held * energy_score(far, apart)
            spread |= {"pixel_loss": held * far} | ({} if apart is None else {"pixel_apart": held * apart})
        return g_total, {"g_loss": g_loss, "fake_choice_right": fake_choice_right, **spread}


def _held(every: int, captions: Tensor, device: torch.device) -> Tensor:  # [N] counted in the whole batch -> [N]
    """By how much the pictures of each caption are held against its image: one in `every`, for the others."""
    return every * (captions.to(device) % every == 0).float()


def _choice(judged: Judgement, c: Tensor, batch: Batch, own_text: Tensor) -> tuple[Tensor, Tensor]:  # -> [N], [N]
    """The loss of picking each image's own caption (`own_text`, [N]) out of the batch, and whether it was picked."""
    similarities = judged.similarities(c)  # [N,M]
    right, wrong = own_text.to(c.device), batch.wrong[own_text].to(c.device)
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


def _set_trained(weights: Iterable[Tensor], trained: bool) -> None:
    """Whether gradients are computed for them."""
    for weight in weights:
        weight.requires_grad_(trained)


def _step(training: Training, optimiser: torch.optim.Optimizer) -> None:
    """Average gradients over processes and step; a gradient that is not finite is counted and not applied."""
    weights = optimiser.param_groups[0]["params"]
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


def _joined(seen: list[Stats]) -> Stats:
    """Values of all cuts, one behind the other."""
    return seen[0] if len(seen) == 1 else {name: torch.cat([values[name] for values in seen]) for name in seen[0]}


def _reported(values: Stats) -> Stats:
    """Means over the whole batch."""
    means = torch.stack([value.detach().float().mean() for value in values.values()])
    distributed.average([means])
    return dict(zip(values, means.unbind(), strict=True))
