"""Magnitude-preserving layers, from the equations of Karras et al. (2024), arXiv:2312.02696.

Every activation keeps unit variance in expectation, so nothing needs a bias, a group
normalisation or a warm-up. Only operators that libtorch 1.13 and ONNX opset 17 both know:
this file also goes, unchanged, into the packages' architecture file.
"""

import math

import torch
from torch import Tensor, nn


def unit_rms(x: Tensor, dim: int, eps: float = 1e-4) -> Tensor:
    """Scale `x` to unit root mean square along `dim` (eq. 47; `dim=1` is pixel norm)."""
    return x / (eps + (x * x).mean(dim, keepdim=True).sqrt())


def mp_silu(x: Tensor) -> Tensor:
    """SiLU divided by the standard deviation it gives a unit normal (eq. 81)."""
    return torch.nn.functional.silu(x) * SILU_GAIN


#: What `mp_silu` multiplies with; a convolution that follows a plain SiLU takes it as its gain.
SILU_GAIN = 1.0 / 0.596


def mp_sum_gains(t: float = 0.3) -> tuple[float, float]:
    """Return the factors that blend two branches, `t` being the share of the second (eq. 88)."""
    scale = 1.0 / math.sqrt((1.0 - t) ** 2 + t**2)
    return (1.0 - t) * scale, t * scale


def mp_cat_gains(channels_a: int, channels_b: int) -> tuple[float, float]:
    """Return the factors with which two sides of a concatenation weigh alike (eq. 103, t = 1/2)."""
    scale = 0.5 * math.sqrt((channels_a + channels_b) / 0.5)
    return scale / math.sqrt(channels_a), scale / math.sqrt(channels_b)


def down2(x: Tensor) -> Tensor:
    """Halve y and x by 2 × 2 means: (B, C, Y, X) to (B, C, Y/2, X/2)."""
    return torch.nn.functional.avg_pool2d(x, 2)


def up2(x: Tensor) -> Tensor:
    """Double y and x by repetition, without `interpolate` (old engines cannot load that)."""
    b, c, y, w = x.shape[0], x.shape[1], x.shape[2], x.shape[3]
    x = x.reshape(b, c, y, 1, w, 1).expand(b, c, y, 2, w, 2)
    return x.reshape(b, c, y * 2, w * 2)  # (B, C, 2Y, 2X)


def space_to_channels(x: Tensor, factor: int) -> Tensor:
    """Fold factor × factor pixels into channels: (B, C, Y, X) to (B, C·f², Y/f, X/f)."""
    if factor == 1:
        return x
    b, c, y, w = x.shape[0], x.shape[1], x.shape[2], x.shape[3]
    x = x.reshape(b, c, y // factor, factor, w // factor, factor).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(b, c * factor * factor, y // factor, w // factor)  # (B, C·f², Y/f, X/f)


def channels_to_space(x: Tensor, factor: int) -> Tensor:
    """Undo `space_to_channels`: (B, C·f², Y, X) to (B, C, f·Y, f·X)."""
    if factor == 1:
        return x
    b, c, y, w = x.shape[0], x.shape[1] // (factor * factor), x.shape[2], x.shape[3]
    x = x.reshape(b, c, factor, factor, y, w).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(b, c, y * factor, w * factor)  # (B, C, f·Y, f·X)


class MPConv(nn.Module):
    """Bias-free convolution (or, with ``kernel=0``, linear layer) with unit-norm weights.

    The weight of each output channel is scaled to unit norm on the fly, so that only its
    direction is learnt (eqs. 47 and 66). `renormalise_` does the same to the stored weight
    after every optimiser step ("forced weight normalisation"), `folded_weight` returns the
    plain constant that inference needs.

    Parameters
    ----------
    c_in, c_out : int
        Channels.
    kernel : int
        Odd width of the square kernel; 0 for a linear layer.
    gain : float
        What the result is multiplied with. Constant factors of the layers around it go here:
        a factor of the weights costs nothing, a factor of an image does.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, gain: float = 1.0) -> None:
        super().__init__()
        self.kernel = kernel
        self.gain = gain
        window = (kernel, kernel) if kernel else ()
        self.weight = nn.Parameter(torch.randn(c_out, c_in, *window))

    def folded_weight(self) -> Tensor:
        """Return the weight that a plain convolution needs to do the same."""
        rows = self.weight.flatten(1)
        scale = self.gain / math.sqrt(rows.shape[1])
        return (unit_rms(rows, 1) * scale).reshape(self.weight.shape)

    @torch.no_grad()
    def renormalise_(self) -> None:
        """Scale the stored weight of each output channel to unit root mean square."""
        rows = self.weight.flatten(1)
        self.weight.copy_(unit_rms(rows, 1).reshape(self.weight.shape))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.folded_weight()
        if self.kernel == 0:
            return torch.nn.functional.linear(x, weight)
        return torch.nn.functional.conv2d(x, weight, padding=self.kernel // 2)


def conv(c_in: int, c_out: int, kernel: int, folded: bool, gain: float = 1.0) -> nn.Module:
    """Return the trainable convolution, or the plain one that its weight and gain fold into."""
    if folded:
        return nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)
    return MPConv(c_in, c_out, kernel, gain)
