"""UNet-RCAN: a residual U-Net, and a residual channel attention network that refines its image.

References
----------
Ebrahimi, Stephan, Kim, Carravilla, Eggeling, Jakobs, Han (2023), "Deep learning enables fast,
gentle STED microscopy", Communications Biology 6:674. doi:10.1038/s42003-023-05054-z.
Zhang, Li, Li, Wang, Zhong, Fu (2018), "Image super-resolution using very deep residual channel
attention networks" (RCAN). arXiv:1807.02758.

Notes
-----
The authors' default settings: filters 64, 128, 256, channel attention through 4 filters, 3 residual
groups of 8 blocks, kernel 3, dropout 0.2, Adam with 1e-4, batch 1, patch 256; the learning rate
falls to a fifth where 5 validations in a row were no better. The loss is the root of the squared
error averaged over an image, plus 0.05 times that of its Laplacian.

Where the paper is silent, the authors' published default settings were followed (loss, attention on
the skip connections, refinement of the U-Net's image joined with the noisy one, two outputs, 1 × 1
shortcuts, LeakyReLU 0.3); the text of this module is our own.

What was chosen here:

- Both images, the U-Net's and the refined one, are compared with the truth, with equal weight.
- A validation comes after every twentieth of the training, whatever the number of images; the
  authors validate after each pass over them.
- Weights start as PyTorch draws them.
- Images are scaled to [0, 1] with constants of the whole training set.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

FILTERS, SQUEEZED, GROUPS, BLOCKS, DROPOUT = (64, 128, 256), 4, 3, 8, 0.2
#: Weight of the Laplacian's error.
EDGES = 0.05


def convolution(before: int, after: int, kernel: int = 3) -> nn.Conv2d:
    """Return a convolution that keeps the size."""
    return nn.Conv2d(before, after, kernel, padding=kernel // 2)


class Residual(nn.Module):
    """Two convolutions beside a convolved shortcut."""

    def __init__(self, before: int, after: int, kernel: int = 3) -> None:
        super().__init__()
        self.path = nn.Sequential(
            convolution(before, after, kernel), nn.LeakyReLU(0.3), convolution(after, after, kernel)
        )
        self.shortcut = convolution(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, before, Y, X) to (B, after, Y, X)."""
        return nn.functional.leaky_relu(self.path(x) + self.shortcut(x), 0.3)


class Attention(nn.Module):
    """Channel attention block: a residual, its channels weighted by their means (RCAN, 3.3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            convolution(width, width), nn.LeakyReLU(0.3), convolution(width, width)
        )
        self.weight = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            convolution(width, SQUEEZED, 1),
            nn.LeakyReLU(0.3),
            convolution(SQUEEZED, width, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, Y, X) to the same shape."""
        path = self.path(x)
        return cast(Tensor, x + path * self.weight(path))


class Shortcut(nn.Module):
    """Add what goes in to what comes out."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.path = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Y, X) to the same shape."""
        return cast(Tensor, x + self.path(x))


class UNet(nn.Module):
    """Three halvings; channel attention on the skips; an image comes out."""

    def __init__(self, in_channels: int, out_channels: int, filters: tuple[int, ...]) -> None:
        super().__init__()
        before = (in_channels, *filters)
        self.down = nn.ModuleList(
            nn.Sequential(Residual(a, b), nn.Dropout(DROPOUT))
            for a, b in zip(before, filters, strict=False)
        )
        inner = 2 * filters[-1]
        self.bridge = nn.Sequential(Residual(filters[-1], inner), Residual(inner, inner))
        self.skips = nn.ModuleList(Attention(width) for width in filters)
        above = (*filters[1:], inner)
        self.up = nn.ModuleList(
            nn.Sequential(Residual(a + b, b), nn.Dropout(DROPOUT))
            for a, b in zip(above, filters, strict=True)
        )
        self.last = Residual(filters[0], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, Y, X) to (B, out, Y, X)."""
        kept = []
        for down in self.down:
            x = down(x)
            kept.append(x)
            x = nn.functional.max_pool2d(x, 2)
        x = self.bridge(x)
        for i in reversed(range(len(self.up))):
            x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.up[i](torch.cat([x, self.skips[i](kept[i])], 1))
        return cast(Tensor, self.last(x))


class UNetRCAN(nn.Module):
    """The U-Net, and RCAN on its image and the noisy one.

    Parameters
    ----------
    in_channels, out_channels : int
    filters : tuple of int
        Of the U-Net, from outside to inside; RCAN has the first one's.
    groups, blocks : int
        Residual groups of RCAN, and attention blocks in each.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        filters: tuple[int, ...] = FILTERS,
        groups: int = GROUPS,
        blocks: int = BLOCKS,
    ) -> None:
        super().__init__()
        width = filters[0]
        self.unet = UNet(in_channels, out_channels, filters)
        inside: list[nn.Module] = []
        for _ in range(groups):
            attention = [Attention(width) for _ in range(blocks)]
            inside += [Shortcut(*attention, convolution(width, width)), nn.Dropout(DROPOUT)]
        self.rcan = nn.Sequential(
            convolution(in_channels + out_channels, width),
            Shortcut(*inside, convolution(width, width)),
            convolution(width, out_channels, 1),
        )

    def forward(self, noisy: Tensor) -> tuple[Tensor, Tensor]:
        """Return the U-Net's image and the refined one; Y and X are multiples of 8."""
        first = self.unet(noisy)
        return first, self.rcan(torch.cat([first, noisy], 1))


def laplacian(image: Tensor) -> Tensor:
    """Return the sum of the four neighbours less four times the pixel, without the border."""
    taps = image.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    taps = taps.expand(image.shape[1], 1, 3, 3)
    return conv2d(image, taps, groups=image.shape[1])


def root_mean_square(error: Tensor) -> Tensor:
    """Return sqrt(mean of squares + 1e-6) of each image, averaged over the batch."""
    return (error.square().mean((1, 2, 3)) + 1e-6).sqrt().mean()


def restoration_loss(made: Tensor, clean: Tensor) -> Tensor:
    """Compare images and their edges; a scalar."""
    error = made - clean
    return root_mean_square(error) + EDGES * root_mean_square(laplacian(error))


class Restoration:
    """The network with its optimiser.

    Parameters
    ----------
    in_channels, out_channels : int
    patch : int
        Side of the training patches; not needed here.
    device : torch.device
    network : UNetRCAN, optional
        Another than the default one, for tests.
    """

    batch_size, patch, keeps_best, multiple = 1, 256, True, 8
    settings = {"learning_rate": 1e-4, "edge_weight": EDGES}  # noqa: RUF012

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        patch: int,
        device: torch.device,
        network: UNetRCAN | None = None,
    ) -> None:
        self.network: nn.Module = (network or UNetRCAN(in_channels, out_channels)).to(device)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=1e-4)
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimiser, factor=0.2, patience=5
        )

    def step(self, noisy: Tensor, clean: Tensor, weight: Tensor | None) -> float:
        """Improve the network.

        Parameters
        ----------
        noisy, clean : (B, C, patch, patch)
            In [-1, 1].
        weight : (B, 1, patch, patch) or None
            0 where the clean image holds nothing.

        Returns
        -------
        float
            The loss.
        """
        self.network.train()
        noisy, clean = (noisy + 1) / 2, (clean + 1) / 2
        images: tuple[Tensor, Tensor] = self.network(noisy)
        if weight is not None:
            images = tuple(torch.where(weight > 0, made, clean) for made in images)  # type: ignore[assignment]
        loss = restoration_loss(images[0], clean) + restoration_loss(images[1], clean)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())

    def validated(self, error: float) -> None:
        """Hear the validation error, on which the learning rate depends."""
        self.plateau.step(error)

    @torch.no_grad()
    def predict(self, noisy: Tensor) -> Tensor:
        """Restore (1, C, Y, X) in [-1, 1]."""
        self.network.eval()
        return cast(Tensor, self.network((noisy + 1) / 2)[1]) * 2 - 1
