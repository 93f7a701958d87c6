"""A U-Net like CARE's, with as many parameters as another network.

Weigert et al. (2018), "Content-aware image restoration", Nature Methods 15, supplementary note 2:
two convolutions with ReLU per level, 2 x 2 maximum, repetition and concatenation on the way up,
twice as many channels per level, the input added to the result.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

DEPTH = 2  # levels below the first


class CareUNet(nn.Module):
    """The network.

    Parameters
    ----------
    in_channels, out_channels : int
    width : int
        Channels of the first level.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(DEPTH + 1)]
        self.down = nn.ModuleList()
        c = in_channels
        for w in widths[:-1]:
            self.down.append(_twice(c, w, w))
            c = w
        self.bottom = _twice(c, widths[-1], c)
        self.up = nn.ModuleList(_twice(2 * w, w, max(w // 2, width)) for w in reversed(widths[:-1]))
        self.out = nn.Conv2d(width, out_channels, 1)
        self.pool = nn.MaxPool2d(2)
        self.enlarge = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, C_in, Y, X) to (B, C_out, Y, X); y and x multiples of 4."""
        x, skips = image, []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = self.pool(x)
        x = self.bottom(x)
        for block in self.up:
            x = block(torch.cat([self.enlarge(x), skips.pop()], 1))
        return self.out(x) + image[:, :1]


def _twice(c_in: int, c: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(c_in, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, c_out, 3, padding=1), nn.ReLU()
    )


def parameters(module: nn.Module) -> int:
    """Count the parameters."""
    return sum(p.numel() for p in module.parameters())


def care_of_size(in_channels: int, out_channels: int, count: int) -> CareUNet:
    """Return the network whose number of parameters is nearest to `count`."""
    width = 1
    while parameters(CareUNet(in_channels, out_channels, width + 1)) < count:
        width += 1
    near = [CareUNet(in_channels, out_channels, w) for w in (width, width + 1)]
    return min(near, key=lambda net: abs(parameters(net) - count)).eval()
