"""pix2pix: an image-to-image network trained against a critic of patches.

References
----------
Isola, Zhu, Zhou, Efros (2017), "Image-to-image translation with conditional adversarial
networks", section 3 and appendix 6.1. arXiv:1611.07004.

Notes
-----
What the paper leaves open, or this task decides:

- The paper's batch is one image, over which its batch normalisation is instance normalisation:
  here that is what the layers are, so that a padded batch of another size means the same.
- No bias in front of a normalisation, which would remove it, nor in the generator's innermost and
  outermost encoder layers; none of the innermost encoder layer is normalised: one pixel has no
  variance.
- Eight halvings need 256 pixels; for smaller patches the innermost layers are left out.
- Dropout stays on when predicting, as in the paper, where it is the only source of chance; it is
  drawn from a seed. Images are whole, padded to a multiple of 2**depth.
- No resizing to 286 pixels and cropping: every baseline sees flips and quarter turns only.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

WIDTH, WIDEST, DEEPEST = 64, 8, 8
#: Weight of the L1 term (eq. 4).
LAMBDA = 100.0


def normalisation(channels: int) -> nn.Module:
    """Return the normalisation over one image, with a learnt scale and offset."""
    return nn.InstanceNorm2d(channels, affine=True)


class Generator(nn.Module):
    """U-Net of strided 4 x 4 convolutions, with skips between mirrored layers.

    Encoder C64-C128-C256-C512-C512-C512-C512-C512, decoder
    CD512-CD512-CD512-C512-C256-C128-C64, then a transposed convolution and tanh.

    Parameters
    ----------
    in_channels, out_channels : int
    depth : int
        Halvings; 8 in the paper.
    """

    def __init__(self, in_channels: int, out_channels: int, depth: int = DEEPEST) -> None:
        super().__init__()
        widths = [WIDTH * min(2**i, WIDEST) for i in range(depth)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for i, width in enumerate(widths):
            layers: list[nn.Module] = [nn.LeakyReLU(0.2)] if i else []
            before = widths[i - 1] if i else in_channels
            layers.append(nn.Conv2d(before, width, 4, 2, 1, bias=False))
            if 0 < i < depth - 1:
                layers.append(normalisation(width))
            self.down.append(nn.Sequential(*layers))
        for i in reversed(range(1, depth)):
            width = widths[i] * (1 if i == depth - 1 else 2)
            layers = [nn.ReLU(), nn.ConvTranspose2d(width, widths[i - 1], 4, 2, 1, bias=False)]
            layers.append(normalisation(widths[i - 1]))
            if depth - 4 <= i < depth - 1:
                layers.append(nn.Dropout(0.5))
            self.up.append(nn.Sequential(*layers))
        last = nn.ConvTranspose2d(2 * widths[0], out_channels, 4, 2, 1)
        self.up.append(nn.Sequential(nn.ReLU(), last, nn.Tanh()))
        self.apply(initialise)

    def forward(self, image: Tensor) -> Tensor:
        """Translate (B, C, Y, X) in [-1, 1]; Y and X are multiples of 2**depth."""
        skips = []
        for down in self.down:
            image = down(image)
            skips.append(image)
        skips.pop()
        for up in self.up[:-1]:
            image = torch.cat([up(image), skips.pop()], 1)
        return cast(Tensor, self.up[-1](image))


class PatchCritic(nn.Module):
    """Judge every 70 x 70 patch of a pair: C64-C128-C256-C512, then one logit per patch.

    Parameters
    ----------
    channels : int
        Of the noisy and the clean image together.
    """

    #: (kernel, stride) of the layers.
    LAYERS = ((4, 2), (4, 2), (4, 2), (4, 1), (4, 1))

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [channels, WIDTH, 2 * WIDTH, 4 * WIDTH, 8 * WIDTH, 1]
        layers: list[nn.Module] = []
        for i, (kernel, stride) in enumerate(self.LAYERS):
            inside = 0 < i < len(self.LAYERS) - 1
            layers.append(nn.Conv2d(widths[i], widths[i + 1], kernel, stride, 1, bias=not inside))
            layers += [normalisation(widths[i + 1])] if inside else []
            layers += [nn.LeakyReLU(0.2)] if i < len(self.LAYERS) - 1 else []
        self.layers = nn.Sequential(*layers)
        self.apply(initialise)

    def forward(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """Return logits (B, 1, Y', X'), positive for a real clean image."""
        return cast(Tensor, self.layers(torch.cat([noisy, clean], 1)))


def initialise(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02), the scales of normalisations around 1 (appendix 6.2)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.InstanceNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class Pix2Pix:
    """The generator with its critic and both optimisers: Adam, 2e-4, beta1 0.5.

    Parameters
    ----------
    in_channels, out_channels : int
    patch : int
        Side of the training patches in pixels, a power of two.
    device : torch.device
    """

    batch_size, patch, keeps_best = 1, 256, False
    settings = {"learning_rate": 2e-4, "beta1": 0.5, "l1_weight": LAMBDA}  # noqa: RUF012

    def __init__(self, in_channels: int, out_channels: int, patch: int, device: torch.device):
        depth = min(DEEPEST, patch.bit_length() - 1)
        self.network: nn.Module = Generator(in_channels, out_channels, depth).to(device)
        self.multiple = 2**depth
        self.critic = PatchCritic(in_channels + out_channels).to(device)
        self.optimisers = [
            torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999))
            for network in (self.network, self.critic)
        ]

    def step(self, noisy: Tensor, clean: Tensor, weight: Tensor | None) -> float:
        """Improve the critic, then the generator (section 3.3).

        Parameters
        ----------
        noisy, clean : (B, C, patch, patch)
            In [-1, 1].
        weight : (B, 1, patch, patch) or None
            0 where the clean image holds nothing.

        Returns
        -------
        float
            The generator's loss, eq. 4.
        """
        generating, judging = self.optimisers
        made = self.network(noisy)
        if weight is not None:  # nothing is learnt where both agree
            made = torch.where(weight > 0, made, clean)
        real, false = self.critic(noisy, clean), self.critic(noisy, made.detach())
        # halved, so that the critic learns more slowly than the generator
        judgement = (
            cross_entropy(real, torch.ones_like(real))
            + cross_entropy(false, torch.zeros_like(false))
        ) / 2
        judging.zero_grad()
        judgement.backward()
        judging.step()
        false = self.critic(noisy, made)
        loss = cross_entropy(false, torch.ones_like(false))
        loss = loss + LAMBDA * (made - clean).abs().mean()
        generating.zero_grad()
        loss.backward()
        generating.step()
        return float(loss.detach())

    def validated(self, error: float) -> None:
        """Hear the validation error; the learning rate does not depend on it."""

    @torch.no_grad()
    def predict(self, noisy: Tensor) -> Tensor:
        """Translate (1, C, Y, X) in [-1, 1], with dropout."""
        self.network.train()
        return cast(Tensor, self.network(noisy))
