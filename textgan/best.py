"""Which weights of a training are kept: those of G_ema that score best on the split `select`.

The score is the kernel distance of `textgan.metrics.kernel`, by a network that the discriminator does not
look through. `select` scores nothing else, so that choosing by it flatters no number that is reported.
"""

from __future__ import annotations

import torch

from textgan.metrics.features import LiteExtractor, extract
from textgan.metrics.kernel import kernels, weighted_mmd
from textgan.networks.build import TextToImage
from textgan.params import TrainParams
from textgan.seeds import derive_seed
from textgan.sheets import to_uint8
from textgan.training_data import TrainingData

IMAGES = 400
"""At most so many of `select` are compared: seconds on a CPU, and enough to tell weights apart."""
BATCH = 50
SCORED_BY = "lite2"
"""A frozen network that D does not look through: as `train.extractor` it is refused."""


class SelectScore:
    """Distance between images of `select` and pictures of their captions; the same captions and z each time."""

    def __init__(self, select: TrainingData, params: TrainParams) -> None:
        count = min(len(select), IMAGES)
        self.extractor = LiteExtractor(SCORED_BY)
        real = select.images[torch.arange(count)].permute(0, 2, 3, 1).cpu().numpy()
        self.real = extract(real, self.extractor, "select images")
        captions = [select.captions[idx] for idx in range(count)]
        self.texts = select.texts([said[idx % len(said)] for idx, said in enumerate(captions)])  # [N,L]
        noise = torch.Generator().manual_seed(derive_seed(params.seed, "select"))
        self.z = torch.randn(count, params.z_dim, generator=noise)

    @torch.no_grad()
    def __call__(self, net: TextToImage) -> float:
        """KID of the pictures of `net`; lower is better."""
        device = next(net.parameters()).device
        pictures = [
            net(z.to(device), texts.to(device))
            for z, texts in zip(self.z.split(BATCH), self.texts.split(BATCH), strict=True)
        ]
        fake = extract(to_uint8(torch.cat(pictures)), self.extractor, "pictures of select")
        ones = torch.ones(len(fake), dtype=torch.float64).numpy()
        return weighted_mmd(kernels(self.real, fake), ones, ones)
