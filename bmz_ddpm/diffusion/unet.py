"""The U-Net: (noisy image, condition, modulation) to the network's prediction.

Built after the description of the magnitude-preserving architecture in Karras et al. (2024),
arXiv:2312.02696, appendix B and figure 21, with the paper's changes: 32 channels per
attention head, condition and x_t as two input channels. The noise level does not come in as
a number but as `modulation`, one factor per channel of every block, which depends on nothing
but the step: the exported graph reads it from a table.
"""

import torch
from torch import Tensor, nn

from .layers import (
    SILU_GAIN,
    channels_to_space,
    conv,
    down2,
    mp_cat_gains,
    mp_sum_gains,
    space_to_channels,
    unit_rms,
    up2,
)

CHANNELS_PER_HEAD = 32


class Attention(nn.Module):
    """Self-attention over all pixels, cosine-normalised, in plain bmm and softmax.

    `scaled_dot_product_attention` is avoided on purpose: libtorch 1.13 cannot load it.
    """

    def __init__(self, channels: int, folded: bool) -> None:
        super().__init__()
        self.heads = max(1, channels // CHANNELS_PER_HEAD)
        self.width = channels // self.heads
        self.qkv = conv(channels, channels * 3, 1, folded)
        self.keep, add = mp_sum_gains()
        self.proj = conv(channels, channels, 1, folded, add)

    def forward(self, x: Tensor) -> Tensor:
        b, y, w = x.shape[0], x.shape[2], x.shape[3]
        qkv = self.qkv(x).reshape(b * self.heads, self.width, 3, y * w)  # (B·H, C/H, 3, Y·X)
        qkv = unit_rms(qkv, 1)
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        q = q.transpose(1, 2) * self.width**-0.5
        weights = torch.softmax(torch.bmm(q, k), dim=2)
        out = torch.bmm(v, weights.transpose(1, 2))  # (B·H, C/H, Y·X)
        out = self.proj(out.reshape(b, self.heads * self.width, y, w))
        return torch.add(out, x, alpha=self.keep)


class Block(nn.Module):
    """One residual block: resample, skip convolution, two convolutions, attention.

    Parameters
    ----------
    c_in, c_out : int
        Channels; `c_in` already counts a concatenated skip connection.
    encoder : bool
        Encoder blocks change channels and pixel-normalise before the residual branch.
    resample : int
        -1 halves y and x, 0 keeps them, 1 doubles them.
    start : int
        First of this block's `c_out` columns in the modulation.
    in_gain, out_gain : float
        Factors that the input carries (encoder only) and that the output shall carry. Both,
        and those of activations and blends, are part of the convolutions' weights.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        encoder: bool,
        resample: int,
        attention: bool,
        dropout: float,
        start: int,
        folded: bool,
        in_gain: float = 1.0,
        out_gain: float = 1.0,
    ) -> None:
        super().__init__()
        keep, add = (gain * out_gain for gain in mp_sum_gains())
        blends = c_in != c_out and not encoder  # the skip convolution can carry its factor
        self.keep = 1.0 if blends else keep
        self.limit = 256.0 * out_gain
        self.eps = 1e-4 * in_gain
        self.c_out = c_out
        self.encoder = encoder
        self.resample = resample
        self.start = start
        self.dropout = nn.Dropout(dropout)
        gain = keep if blends else 1.0
        self.skip = conv(c_in, c_out, 1, folded, gain) if c_in != c_out else nn.Identity()
        self.conv0 = conv(c_out if encoder else c_in, c_out, 3, folded, SILU_GAIN)
        self.conv1 = conv(c_out, c_out, 3, folded, SILU_GAIN * add)
        self.attention = Attention(c_out, folded) if attention else nn.Identity()

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        if self.resample < 0:
            x = down2(x)
        elif self.resample > 0:
            x = up2(x)
        if self.encoder:
            x = unit_rms(self.skip(x), 1, self.eps)
        y = self.conv0(torch.nn.functional.silu(x))
        gain = modulation[:, self.start : self.start + self.c_out]
        y = torch.nn.functional.silu(y * gain[:, :, None, None])  # (B, C, Y, X)
        y = self.conv1(self.dropout(y))
        if not self.encoder:
            x = self.skip(x)
        x = self.attention(torch.add(y, x, alpha=self.keep))
        return x.clamp(-self.limit, self.limit)


def encoder_plan(widths: list[int], num_blocks: int) -> list[tuple[int, int, int]]:
    """Return (c_in, c_out, resample) of each block of the encoder."""
    plan = []
    for level, width in enumerate(widths):
        below = widths[max(level - 1, 0)]
        if level > 0:
            plan.append((below, below, -1))
        plan.append((below, width, 0))
        plan += [(width, width, 0)] * (num_blocks - 1)
    return plan


def decoder_plan(widths: list[int], num_blocks: int) -> list[tuple[int, int, int, int]]:
    """Return (channels from below, from a skip connection, c_out, resample) of each block."""
    skips = [widths[0], *(c_out for _, c_out, _ in encoder_plan(widths, num_blocks))]
    c = widths[-1]
    plan = [(c, 0, c, 0), (c, 0, c, 0)]  # the bottom
    for level in reversed(range(len(widths))):
        if level < len(widths) - 1:
            plan.append((c, 0, c, 1))
        for _ in range(num_blocks + 1):
            plan.append((c, skips.pop(), widths[level], 0))
            c = widths[level]
    return plan


class UNet(nn.Module):
    """Conditional U-Net.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the condition, and of x_t and the prediction.
    channels : int
        Width of the first level.
    multipliers : list of int
        Width of each level, as a multiple of `channels`; each level halves y and x.
    num_blocks : int
        Blocks per level in the encoder; the decoder has one more.
    attention : bool
        Self-attention in the first block at the bottom (the paper's network: 32 x 32 pixels of
        a 256 x 256 patch). It sees the whole tile, so tiles then differ slightly from the whole.
    stem : int
        Pixels per side folded into channels before the first convolution: 1 for none. The
        finest level dominates the cost, so 2 makes a network nearly four times cheaper.
    dropout : float
    statistics : int
        Images that come out per channel: 1, or 2 of a one-pass student (mean and spread).
    folded : bool
        Plain convolutions for inference instead of trainable magnitude-preserving ones.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: int,
        multipliers: list[int],
        num_blocks: int,
        attention: bool,
        stem: int = 1,
        dropout: float = 0.0,
        statistics: int = 1,
        folded: bool = False,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.multiple = stem * 2 ** (len(multipliers) - 1)
        widths = [channels * m for m in multipliers]
        area = stem * stem
        down = encoder_plan(widths, num_blocks)
        up = decoder_plan(widths, num_blocks)
        joins = [mp_cat_gains(below, skip) if skip else (1.0, 0.0) for below, skip, _, _ in up]
        # What is concatenated is made with its factor, except at the bottom, where the encoder's
        # last result also goes straight into the decoder.
        skips = [gain for _, gain in reversed(joins) if gain]
        self.joins = [1.0 if gain else 0.0 for _, gain in joins]
        self.joins[self.joins.index(1.0)] = skips[-1]
        skips[-1] = 1.0

        first = (in_channels + out_channels) * area + 1
        self.conv_in = conv(first, widths[0], 3, folded, skips[0])
        start = 0
        encoder: list[Block] = []
        for (c_in, c_out, resample), *gains in zip(down, skips[:-1], skips[1:]):
            encoder.append(
                Block(c_in, c_out, True, resample, False, dropout, start, folded, *gains)
            )
            start += c_out
        decoder: list[Block] = []
        for (below, skip, c_out, resample), (out_gain, _) in zip(up, [*joins[1:], (1.0, 0.0)]):
            attends = attention and not decoder
            decoder.append(
                Block(
                    below + skip,
                    c_out,
                    False,
                    resample,
                    attends,
                    dropout,
                    start,
                    folded,
                    out_gain=out_gain,
                )
            )
            start += c_out
        self.encoder, self.decoder = nn.ModuleList(encoder), nn.ModuleList(decoder)
        self.block_widths = [b.c_out for b in encoder + decoder]
        self.conv_out = conv(widths[0], statistics * out_channels * area, 3, folded)

    def forward(self, x_t: Tensor, cond: Tensor, modulation: Tensor) -> Tensor:
        """Predict from one noise level.

        Parameters
        ----------
        x_t : (B, C_out, Y, X) float32
            Noisy image in model units; y and x multiples of `multiple`.
        cond : (B, C_in, Y, X) float32
            The microscope image, in model units.
        modulation : (B or 1, M) float32
            Per-channel factors of this noise level.

        Returns
        -------
        (B, statistics·C_out, Y, X) float32
        """
        x = space_to_channels(torch.cat([cond, x_t], 1), self.stem)
        x = torch.cat([x, x[:, :1] * 0.0 + 1.0], 1)  # the constant that stands in for biases
        x = self.conv_in(x)
        skips = [x]
        for down in self.encoder:
            x = down(x, modulation)
            skips.append(x)
        for gain, up in zip(self.joins, self.decoder):
            if gain > 0.0:
                skip = skips.pop()
                x = torch.cat([x, skip if gain == 1.0 else skip * gain], 1)
            x = up(x, modulation)
        return channels_to_space(self.conv_out(x), self.stem)
