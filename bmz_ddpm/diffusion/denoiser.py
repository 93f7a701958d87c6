"""The trainable denoiser: noise-level embedding, U-Net, and its three sizes."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .layers import MPConv, mp_silu
from .unet import UNet

Label = Literal["alpha_bar", "log_snr"]

#: `tiny` is for tests and has every kind of layer; `paper` has exactly the paper's widths.
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "channels": 8,
        "multipliers": [1, 2, 2],
        "num_blocks": 1,
        "attention": True,
        "stem": 1,
        "dropout": 0.0,
    },
    "small": {
        "channels": 32,
        "multipliers": [1, 2, 4],
        "num_blocks": 1,
        "attention": False,
        "stem": 2,
        "dropout": 0.0,
    },
    "paper": {
        "channels": 64,
        "multipliers": [1, 2, 4, 8],
        "num_blocks": 2,
        "attention": True,
        "stem": 1,
        "dropout": 0.2,
    },
}


class NoiseLevelEmbedding(nn.Module):
    """Noise level to one factor per channel of every U-Net block.

    Parameters
    ----------
    channels : int
        Fourier features (the U-Net's first width).
    width : int
        Embedding channels (the U-Net's last width).
    block_widths : list of int
        Channels of each U-Net block, in order.
    label : "alpha_bar" or "log_snr"
        What is embedded. The paper embeds alpha_bar itself, which hardly moves near 1;
        "log_snr" embeds −log(SNR)/8, the c_noise of Karras et al. (2022), table 1.

    References
    ----------
    The paper, eq. 17 and figure S4. f ~ N(0, 1) and phi ~ U(0, 1) are saved buffers.
    """

    freqs: Tensor
    phases: Tensor

    def __init__(self, channels: int, width: int, block_widths: list[int], label: Label) -> None:
        super().__init__()
        self.label = label
        self.register_buffer("freqs", torch.randn(channels))
        self.register_buffer("phases", torch.rand(channels))
        self.embed = MPConv(channels, width, 0)
        self.to_modulation = nn.ModuleList(MPConv(width, c, 0) for c in block_widths)
        self.gains = nn.Parameter(torch.zeros(len(block_widths)))  # one per block, zero at first

    def forward(self, alpha_bar: Tensor) -> Tensor:
        """Map (B,) alpha_bar in (0, 1) to (B, M) factors around 1."""
        if self.label == "log_snr":
            alpha_bar = alpha_bar.double()
            a = (torch.log1p(-alpha_bar) - torch.log(alpha_bar)).float() / 8
        else:
            a = alpha_bar.float()
        angle = 2 * math.pi * (a[:, None] * self.freqs + self.phases)
        features = mp_silu(self.embed(math.sqrt(2) * torch.cos(angle)))  # (B, width)
        parts = zip(self.to_modulation, self.gains, strict=True)
        return torch.cat([to(features) * gain + 1 for to, gain in parts], dim=1)  # (B, M)


class Denoiser(nn.Module):
    """The trainable network F(x_t, condition, alpha_bar).

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the microscope image and of the clean image.
    network : dict
        Keyword arguments of `UNet`, e.g. one of `SIZES`.
    label : "alpha_bar" or "log_snr"
    """

    def __init__(
        self, in_channels: int, out_channels: int, network: dict[str, Any], label: Label
    ) -> None:
        super().__init__()
        self.unet = UNet(in_channels, out_channels, **network)
        width = network["channels"] * max(network["multipliers"])
        self.embedding = NoiseLevelEmbedding(
            network["channels"], width, self.unet.block_widths, label
        )
        self.out_gain = nn.Parameter(torch.zeros(()))

    def forward(self, x_t: Tensor, cond: Tensor, alpha_bar: Tensor) -> Tensor:
        """Predict from x_t (B, C, Y, X), cond (B, C, Y, X), alpha_bar (B,): (B, C, Y, X)."""
        return self.unet(x_t, cond, self.embedding(alpha_bar)) * self.out_gain

    @torch.no_grad()
    def renormalise_(self) -> None:
        """Apply forced weight normalisation; call after every optimiser step."""
        for module in self.modules():
            if isinstance(module, MPConv):
                module.renormalise_()

    @torch.no_grad()
    def folded_state(self) -> dict[str, Tensor]:
        """Return the state of the same U-Net built with ``folded=True``.

        Weight normalisation and the output gain become part of constant weights.
        """
        state = {
            f"{name}.weight": module.folded_weight().clone()
            for name, module in self.unet.named_modules()
            if isinstance(module, MPConv)
        }
        state["conv_out.weight"] *= self.out_gain
        return state
