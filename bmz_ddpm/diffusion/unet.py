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
    channels_to_space,
    conv,
    down2,
    mp_cat,
    mp_silu,
    mp_sum,
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
        self.proj = conv(channels, channels, 1, folded)

    def forward(self, x: Tensor) -> Tensor:
        b, y, w = x.shape[0], x.shape[2], x.shape[3]
        qkv = self.qkv(x).reshape(b * self.heads, self.width, 3, y * w)  # (B·H, C/H, 3, Y·X)
        qkv = unit_rms(qkv, 1)
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        weights = torch.softmax(torch.bmm(q.transpose(1, 2), k) / self.width**0.5, dim=2)
        out = torch.bmm(v, weights.transpose(1, 2))  # (B·H, C/H, Y·X)
        return mp_sum(x, self.proj(out.reshape(b, self.heads * self.width, y, w)))


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
    ) -> None:
        super().__init__()
        self.c_out = c_out
        self.encoder = encoder
        self.resample = resample
        self.start = start
        self.dropout = nn.Dropout(dropout)
        self.skip = conv(c_in, c_out, 1, folded) if c_in != c_out else nn.Identity()
        self.conv0 = conv(c_out if encoder else c_in, c_out, 3, folded)
        self.conv1 = conv(c_out, c_out, 3, folded)
        self.attention = Attention(c_out, folded) if attention else nn.Identity()

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        if self.resample < 0:
            x = down2(x)
        elif self.resample > 0:
            x = up2(x)
        if self.encoder:
            x = unit_rms(self.skip(x), 1)
        y = self.conv0(mp_silu(x))
        gain = modulation[:, self.start : self.start + self.c_out]
        y = mp_silu(y * gain[:, :, None, None])  # (B, C, Y, X)
        y = self.conv1(self.dropout(y))
        if not self.encoder:
            x = self.skip(x)
        return self.attention(mp_sum(x, y)).clamp(-256.0, 256.0)


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
        self.conv_in = conv((in_channels + out_channels) * area + 1, widths[0], 3, folded)
        start = 0

        def block(c_in: int, c_out: int, encoder: bool, resample: int, attend: bool) -> Block:
            nonlocal start
            made = Block(c_in, c_out, encoder, resample, attend, dropout, start, folded)
            start += c_out
            return made

        c = widths[0]
        skips = [c]
        encoder: list[Block] = []
        for level, width in enumerate(widths):
            if level > 0:
                encoder.append(block(c, c, True, -1, False))
                skips.append(c)
            for _ in range(num_blocks):
                encoder.append(block(c, width, True, 0, False))
                c = width
                skips.append(c)
        self.encoder = nn.ModuleList(encoder)

        # the two blocks at the bottom have no skip connection: (channels, 0)
        decoder = [block(c, c, False, 0, attention), block(c, c, False, 0, False)]
        joins = [(c, 0), (c, 0)]  # channels from below and from the skip connection
        for level, width in reversed(list(enumerate(widths))):
            if level < len(widths) - 1:
                decoder.append(block(c, c, False, 1, False))
                joins.append((c, 0))
            for _ in range(num_blocks + 1):
                joins.append((c, skips.pop()))
                decoder.append(block(sum(joins[-1]), width, False, 0, False))
                c = width
        self.decoder = nn.ModuleList(decoder)
        self.joins = joins
        self.block_widths = [b.c_out for b in encoder + decoder]
        self.conv_out = conv(c, statistics * out_channels * area, 3, folded)

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
        for (below, skipped), up in zip(self.joins, self.decoder):
            if skipped > 0:
                x = mp_cat(x, skips.pop(), below, skipped)
            x = up(x, modulation)
        return channels_to_space(self.conv_out(x), self.stem)
