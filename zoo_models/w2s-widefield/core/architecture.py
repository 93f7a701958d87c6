"""The network and sampler of a bmz-ddpm model, in one file that needs torch alone.

Written by bmz-ddpm from its own modules layers, unet, rng, uncertainty, sampler, one_pass, interval.
The class to build is named in rdf.yaml: DiffusionSampler or OnePass (three outputs),
CalibratedSampler or CalibratedOnePass (five), StackedSampler or StackedOnePass (one).
SPDX-License-Identifier: MIT
"""

from torch import Tensor
from torch import Tensor, nn
from typing import Any
import math
import torch


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


# TorchScript reads no module constants: 2³², 2⁴⁸, 2⁶³ − 2³¹, 13, 32 and 32768 recur as literals.
RADIUS = 13  # of the hashed window: 1 + 3 + 9
PERIOD = 32  # of the noise in constant regions
TABLE_SIZE = 65536
FLIP = 9223372034707292160  # 2⁶³ − 2³¹
PLACE_SEED = 0x706C616365  # the hash of the surroundings is the same for every seed


def splitmix64(state: int) -> int:
    """Return the next splitmix64 word (Steele, Lea, Flood 2014), as a signed 64-bit integer."""
    mask = 0xFFFFFFFFFFFFFFFF
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    z ^= z >> 31
    return z - (1 << 64) if z >> 63 else z


def odd_words(seed: int, count: int) -> list[int]:
    """Return `count` odd signed 64-bit words that depend on `seed`."""
    return [splitmix64(splitmix64(seed) + i) | 1 for i in range(count)]


def swap_halves(shifted: Tensor) -> Tensor:
    """Rotate an int64 x by 32 bits, without a shift, given ``x + FLIP``.

    Adding 2⁶³ − 2³¹ frees the upper word of its sign, and makes a cast to int32 wrap the lower word
    to itself less 2³¹; what is left is divided exactly: no remainder, which costs ten times as much
    as a sum.
    """
    low = shifted.to(torch.int32).to(torch.int64)
    high = torch.div(shifted - low, 4294967296, rounding_mode="trunc")  # less 2³¹, too
    return low * 4294967296 + (high - 9223372034707292160)


def squares(counter: Tensor, key: Tensor) -> Tensor:
    """Return one random 64-bit word per counter, as signed int64; the upper 32 bits are the output.

    References
    ----------
    Widynski (2020), "Squares: a fast counter-based RNG", section 5. arXiv:2004.06278.
    """
    y = counter * key
    z = y + key
    y_shifted = y + 9223372034707292160
    x = swap_halves(y * y + y_shifted)
    x = swap_halves(x * x + (y_shifted + key))
    x = swap_halves(x * x + y_shifted)
    return x * x + z


def normal_table() -> Tensor:
    """Return (65536,) float32: the mean of N(0, 1) in each bin of what `ContentNoise` looks up.

    A word divided by 2⁴⁸ and cut towards 0 is −32767 to 32767, equally often but 0, which comes
    twice as often (−32768 only for one word of 2⁶⁴): the middle bin is twice as wide. The mean over
    a bin is (pdf(lower) − pdf(upper)) / probability; the values end at 4.4 sigma and are scaled to
    unit variance. Computed in float64 and rounded once: the table travels with the model as data,
    so its last bit cannot differ between engines.
    """
    rank = torch.arange(TABLE_SIZE + 1, dtype=torch.float64)
    edges = torch.special.ndtri(rank[rank != TABLE_SIZE // 2] / TABLE_SIZE)
    pdf = torch.exp(-0.5 * edges**2) / math.sqrt(2 * math.pi)
    share = torch.ones(TABLE_SIZE - 1, dtype=torch.float64) / TABLE_SIZE
    share[TABLE_SIZE // 2 - 1] *= 2
    table = (pdf[:-1] - pdf[1:]) / share
    table = table / torch.sqrt((share * table**2).sum())
    return torch.cat([table[:1], table]).float()  # entry 0 is for −32768


def mirrored(size: int, before: int, after: int, device: torch.device) -> Tensor:
    """Return (before + size + after,) int64: indices that mirror an axis about its end pixels."""
    index = torch.arange(-before, size + after, device=device).abs()
    period = max(2 * size - 2, 1)
    index = torch.remainder(index, period)
    return torch.minimum(index, period - index).clamp(0, size - 1)


def mirror_pad(x: Tensor, top: int, bottom: int, left: int, right: int) -> Tensor:
    """Pad the last two axes by mirroring; unlike `reflection_pad2d`, by any amount."""
    x = x.index_select(x.dim() - 2, mirrored(x.shape[-2], top, bottom, x.device))
    return x.index_select(x.dim() - 1, mirrored(x.shape[-1], left, right, x.device))


class ContentNoise(nn.Module):
    """The in-graph generator.

    All constants are buffers, filled by `configure` or by ``load_state_dict``.

    Parameters
    ----------
    channels : int
        Channels of the image that keys the noise.
    """

    table: Tensor
    key: Tensor
    taps: Tensor
    strides: Tensor
    channel_words: Tensor
    resolution: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(TABLE_SIZE))
        self.register_buffer("key", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("taps", torch.zeros(2, 3, 3, dtype=torch.int64))
        self.register_buffer("strides", torch.zeros(4, dtype=torch.int64))
        self.register_buffer("channel_words", torch.zeros(1, channels, 1, 1, dtype=torch.int64))
        self.register_buffer("resolution", torch.zeros(1))

    def configure(self, seed: int, scale: float) -> None:
        """Fill the buffers.

        Parameters
        ----------
        seed : int
            Any 64-bit integer; another seed gives other samples.
        scale : float
            Intensity range of the images. Pixel values are cut to integers after
            multiplication by a power of two (exact in every engine) that resolves at least
            1/65536 of this range, so integer images are keyed on their exact values.
        """
        words = odd_words(seed, 1 + 4)
        fixed = odd_words(PLACE_SEED, 18 + self.channel_words.numel())
        self.key[0] = words[0]
        self.strides.copy_(torch.tensor(words[1:]))
        self.taps.copy_(torch.tensor(fixed[:18]).reshape(2, 3, 3))
        self.channel_words.copy_(torch.tensor(fixed[18:]).reshape(1, -1, 1, 1))
        self.resolution.fill_(2.0 ** max(0, math.ceil(math.log2(65536 / scale))))
        self.table.copy_(normal_table())

    def places(self, image: Tensor) -> Tensor:
        """Hash the surroundings of every pixel.

        Parameters
        ----------
        image : (B, C, Y, X) float32
            In camera counts, as it came.

        Returns
        -------
        (B, 1, Y, X) int64
        """
        rows, columns = image.shape[2], image.shape[3]
        levels = torch.floor(image * self.resolution).to(torch.int64) * self.channel_words
        level = levels[:, :1]  # (B, 1, Y, X)
        for c in range(1, levels.shape[1]):  # ONNX Runtime's ReduceSum rounds int64 to float64
            level = level + levels[:, c : c + 1]
        h = mirror_pad(level, 13, 13, 13, 13)
        total = torch.ones_like(self.key)
        for axis in (2, 3):
            for i, d in enumerate((1, 3, 9)):
                before, at, after = self.taps[axis - 2, i].unbind(0)
                n = h.shape[axis] - 2 * d
                left, right = h.narrow(axis, 0, n), h.narrow(axis, 2 * d, n)
                h = left * before + h.narrow(axis, d, n) * at + right * after
                total = total * (before + at + after)
        row = torch.remainder(torch.arange(rows, device=image.device), 32)
        column = torch.remainder(torch.arange(columns, device=image.device), 32)
        index = (row[:, None] * 32 + column[None, :]) * self.strides[3]  # (Y, X)
        # the hash is linear: it equals level·total where all surrounding values are equal
        return h + torch.where(h == level * total, index, torch.zeros_like(index))

    def forward(self, places: Tensor, draws: Tensor, step: int, channels: int) -> Tensor:
        """Draw unit normals.

        Parameters
        ----------
        places : (B, 1, Y, X) int64
            From `places`.
        draws : (N,) int64
            Numbers of the samples.
        step : int
            Number of the step; 0 for the starting noise.
        channels : int
            Channels to draw.

        Returns
        -------
        (N, B, C, Y, X) float32
        """
        channel = torch.arange(channels, device=places.device)[:, None, None]
        drawn = draws[:, None, None, None, None] * self.strides[0] + step * self.strides[1]
        word = squares(places + (channel * self.strides[2] + drawn), self.key)
        rank = torch.div(word, 281474976710656, rounding_mode="trunc") + 32768
        return self.table.index_select(0, rank.flatten()).reshape(word.shape)


def merge_moments(
    mean: Tensor, square: Tensor, count: int, samples: Tensor
) -> tuple[Tensor, Tensor, int]:
    """Merge a new batch of samples into running moments; memory does not grow with their number.

    Parameters
    ----------
    mean, square : (B, C, Y, X) float32
        Mean and sum of squared deviations of the first `count` samples.
    count : int
    samples : (N, B, C, Y, X) float32

    Returns
    -------
    mean, square, count
        Of all samples. `square` is a sum of squares and never negative.

    References
    ----------
    Chan, Golub, LeVeque (1983), "Algorithms for computing the sample variance", eq. 2.1.
    """
    n = samples.shape[0]
    new_mean = samples.mean(0)
    deviation = samples - new_mean
    delta = new_mean - mean
    total = count + n
    mean = mean + delta * (float(n) / float(total))
    square = square + (deviation * deviation).sum(0)
    square = square + delta * delta * (float(count) * float(n) / float(total))
    return mean, square, total


def entropy_of_levels(levels: Tensor) -> Tensor:
    """Entropy over the distinct 8-bit values that N samples take at each pixel.

    Parameters
    ----------
    levels : (N, B, C, Y, X) uint8
        Samples rounded to integers 0..255.

    Returns
    -------
    (B, C, Y, X) float32
        In nats, between 0 and ln N.

    References
    ----------
    The paper, eq. 16. Written as the mean over samples of ln(N / count), where count is how
    many samples share the value: no histogram (forbidden in deterministic mode on a GPU), and
    no term is ever negative. Pair by pair, so that memory grows by one byte per sample and
    pixel, not by twelve.
    """
    entropy = torch.zeros_like(levels[0], dtype=torch.float32)
    for i in range(levels.shape[0]):
        level = levels[i].to(torch.float32)  # ONNX Runtime compares no uint8
        count = torch.zeros_like(level)
        for j in range(levels.shape[0]):
            count = count + (levels[j].to(torch.float32) == level).to(torch.float32)
        entropy = entropy + torch.log(float(levels.shape[0]) / count)
    return entropy / float(levels.shape[0])


def mirrored_by(x: Tensor, flags: Tensor) -> Tensor:
    """Mirror each sample along y, x, both or not at all; doing it twice changes nothing.

    Parameters
    ----------
    x : (N, B, C, Y, X)
    flags : (N, 2) bool
        Along y, along x.
    """
    flags = flags[:, :, None, None, None, None]
    x = torch.where(flags[:, 0], x.flip(3), x)
    return torch.where(flags[:, 1], x.flip(4), x)


def mirrored_to(image: Tensor, multiple: int) -> Tensor:
    """Mirror (B, C, Y, X) at the lower and right ends up to a multiple of `multiple` pixels."""
    below = (multiple - image.shape[2] % multiple) % multiple
    right = (multiple - image.shape[3] % multiple) % multiple
    return mirror_pad(image, 0, below, 0, right)


def clean_range(intensity: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lowest and highest clean value, in model units (scalars)."""
    ends = (intensity[4:] - intensity[2]) / intensity[3]
    return ends[0], ends[1]


class DiffusionSampler(nn.Module):
    """Draw, average and summarise N samples of the clean image.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the microscope image and of the clean image.
    network : dict
        Keyword arguments of `UNet`.
    num_steps : int
        Network passes per sample.
    num_samples : int
        Samples to average.
    samples_per_pass : int
        Samples that go through the network together; divides `num_samples`. More is a little
        faster and takes more memory; the result is the same.

    Notes
    -----
    A new module holds zeros. Its constants come from `configure` (in the toolkit) or from
    ``load_state_dict`` (in a package).
    """

    coefficients: Tensor
    modulation: Tensor
    draws: Tensor
    intensity: Tensor
    mirror: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        network: dict[str, Any],
        num_steps: int,
        num_samples: int,
        samples_per_pass: int,
    ) -> None:
        super().__init__()
        self.unet = UNet(in_channels, out_channels, folded=True, **network)
        self.multiple = int(self.unet.multiple)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.noise = ContentNoise(in_channels)
        widths = sum(self.unet.block_widths)
        passes = num_samples // samples_per_pass
        self.register_buffer("coefficients", torch.zeros(num_steps, 6))
        self.register_buffer("modulation", torch.zeros(num_steps, widths))
        self.register_buffer("draws", torch.arange(num_samples).reshape(passes, samples_per_pass))
        # input offset and scale, output offset and scale, lowest and highest output, in counts
        self.register_buffer("intensity", torch.zeros(6))
        self.register_buffer("mirror", torch.zeros(1, dtype=torch.bool))
        self.eval()
        self.requires_grad_(False)

    def sample(self, cond: Tensor, places: Tensor, draws: Tensor) -> Tensor:
        """Draw samples of the clean image.

        Parameters
        ----------
        cond : (B, C, Y, X) float32
            In model units.
        places : (B, 1, Y, X) int64
            From `ContentNoise.places`.
        draws : (N,) int64
            Numbers of the samples.

        Returns
        -------
        (N, B, C, Y, X) float32
            In model units.
        """
        flags = torch.stack([draws % 2 == 1, draws // 2 % 2 == 1], 1) & self.mirror  # (N, 2)
        x_t = mirrored_by(self.noise(places, draws, 0, self.out_channels), flags)
        n, b, c, y, x = x_t.shape[0], x_t.shape[1], x_t.shape[2], x_t.shape[3], x_t.shape[4]
        x_t = x_t.reshape(n * b, c, y, x)  # (N·B, C, Y, X)
        repeated = cond.unsqueeze(0).expand(n, b, cond.shape[1], y, x)
        low, high = clean_range(self.intensity)
        before = torch.zeros_like(x_t)  # x0_hat of the step before
        repeated = mirrored_by(repeated, flags)
        repeated = repeated.reshape(n * b, cond.shape[1], y, x)
        for step in range(self.coefficients.shape[0]):
            row = self.coefficients[step]
            net = self.unet(x_t, repeated, self.modulation[step].unsqueeze(0))
            x0_hat = torch.minimum(torch.maximum(row[0] * x_t + row[1] * net, low), high)
            x_t = row[2] * x0_hat + row[3] * x_t + row[5] * before
            before = x0_hat
            if bool(row[4] > 0):
                fresh = self.noise(places, draws, step + 1, self.out_channels)
                x_t = x_t + row[4] * mirrored_by(fresh, flags).reshape(n * b, c, y, x)
        return mirrored_by(x_t.reshape(n, b, c, y, x), flags)  # (N, B, C, Y, X)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Denoise.

        Parameters
        ----------
        image : (B, C_in, Y, X) float32
            In camera counts; any y and x.

        Returns
        -------
        denoised : (B, C_out, Y, X) float32
            Mean of the samples, in counts of the reference images.
        std : (B, C_out, Y, X) float32
            Their population standard deviation, in the same counts (the paper's eq. 15
            before its division by 255).
        entropy : (B, C_out, Y, X) float32
            In nats, over 256 equal bins of the output range (eq. 16).
        """
        rows, columns = image.shape[2], image.shape[3]
        padded = mirrored_to(image, self.multiple)
        cond = (padded - self.intensity[0]) / self.intensity[1]
        low, high = clean_range(self.intensity)
        places = self.noise.places(padded)
        mean = (places * 0).to(cond.dtype).expand(-1, self.out_channels, -1, -1)
        square = mean
        count = 0
        levels = mean.unsqueeze(0)[:0].to(torch.uint8)  # a byte each: memory hardly grows with N
        for i in range(self.draws.shape[0]):
            samples = self.sample(cond, places, self.draws[i])
            mean, square, count = merge_moments(mean, square, count, samples)
            level = torch.round((samples - low) * (255.0 / (high - low))).clamp(0.0, 255.0)
            levels = torch.cat([levels, level.to(torch.uint8)])
        denoised = mean * self.intensity[3] + self.intensity[2]
        std = torch.sqrt(square / float(count)) * self.intensity[3]
        entropy = entropy_of_levels(levels)
        return (
            denoised[:, :, :rows, :columns],
            std[:, :, :rows, :columns],
            entropy[:, :, :rows, :columns],
        )


def stack_outputs(
    outputs: tuple[Tensor, Tensor, Tensor], low: Tensor, high: Tensor, most: float
) -> Tensor:
    """Put mean, std and entropy into one tensor whose values lie between 0 and 1.

    Parameters
    ----------
    outputs : three of (B, C, Y, X) float32
        In counts, counts and nats.
    low, high : scalars
        Output range, in counts.
    most : float
        Largest possible entropy, in nats.

    Returns
    -------
    (B, 3·C, Y, X) float32
    """
    denoised, std, entropy = outputs
    mean = (denoised - low) / (high - low)
    stacked = torch.cat([mean, std / (high - low), entropy / max(most, 1e-6)], 1)  # (B, 3C, Y, X)
    return stacked.clamp(0.0, 1.0)  # the last bit may lie outside


class StackedSampler(nn.Module):
    """The same sampler with one output, for programs that take no more: ilastik, QuPath.

    Parameters
    ----------
    in_channels, out_channels, network, num_steps, num_samples, samples_per_pass
        Of `DiffusionSampler`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        network: dict[str, Any],
        num_steps: int,
        num_samples: int,
        samples_per_pass: int,
    ) -> None:
        super().__init__()
        self.sampler = DiffusionSampler(
            in_channels, out_channels, network, num_steps, num_samples, samples_per_pass
        )

    def forward(self, image: Tensor) -> Tensor:
        """Denoise.

        Parameters
        ----------
        image : (B, C_in, Y, X) float32
            In camera counts; any y and x.

        Returns
        -------
        (B, 3·C_out, Y, X) float32
            All means, then all standard deviations, both as shares of the output range (eq. 15),
            then all entropies as shares of ln N, the largest possible: everything from 0 to 1.
        """
        intensity = self.sampler.intensity
        most = math.log(float(self.sampler.draws.numel()))
        return stack_outputs(self.sampler(image), intensity[4], intensity[5], most)


class OnePass(nn.Module):
    """Estimate what many samples would say together.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the microscope image and of the clean image.
    network : dict
        Keyword arguments of `UNet`, with ``statistics=2``.
    num_samples : int
        Samples whose mean, std and entropy are estimated.

    Notes
    -----
    A new module holds zeros. Its constants come from `assemble_one_pass` or, in a package, from
    ``load_state_dict``.
    """

    net_weight: Tensor
    modulation: Tensor
    intensity: Tensor
    entropies: Tensor
    samples: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, network: dict[str, Any], num_samples: int
    ) -> None:
        super().__init__()
        self.unet = UNet(in_channels, out_channels, folded=True, **network)
        self.multiple = int(self.unet.multiple)
        self.in_channels = in_channels
        self.out_channels = out_channels
        widths = sum(self.unet.block_widths)
        self.register_buffer("net_weight", torch.zeros(1))  # of x0_hat = weight·F at x_t = 0
        self.register_buffer("modulation", torch.zeros(1, widths))
        # as in DiffusionSampler: input and output offset and scale, lowest and highest output
        self.register_buffer("intensity", torch.zeros(6))
        # entropy in nats by log2(std in 1/255 of the range) from -4 to 8 in steps of 1/8
        self.register_buffer("entropies", torch.zeros(97))
        self.register_buffer("samples", torch.arange(num_samples))
        self.eval()
        self.requires_grad_(False)

    def entropy(self, std: Tensor) -> Tensor:
        """Return the expected entropy of samples with this std, given in 1/255 of the range."""
        place = ((torch.log(std.clamp(min=1e-6)) / math.log(2.0) + 4.0) * 8.0).clamp(0.0, 96.0)
        below = torch.floor(place).clamp(max=95.0)
        index = below.to(torch.int64)
        share = place - below
        return self.entropies[index] * (1.0 - share) + self.entropies[index + 1] * share

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Denoise.

        Parameters
        ----------
        image : (B, C_in, Y, X) float32
            In camera counts; any y and x.

        Returns
        -------
        denoised, std, entropy : (B, C_out, Y, X) float32
            Estimates of what `DiffusionSampler` returns, in its units.
        """
        rows, columns = image.shape[2], image.shape[3]
        padded = mirrored_to(image, self.multiple)
        cond = (padded - self.intensity[0]) / self.intensity[1]
        x_t = (cond[:, :1] * 0.0).expand(-1, self.out_channels, -1, -1)
        net = self.unet(x_t, cond, self.modulation)[:, :, :rows, :columns]
        low, high = clean_range(self.intensity)
        x0_hat = net[:, : self.out_channels] * self.net_weight
        mean = torch.minimum(torch.maximum(x0_hat, low), high)
        std = torch.exp(net[:, self.out_channels :].clamp(-12.0, 4.0))
        denoised = mean * self.intensity[3] + self.intensity[2]
        entropy = self.entropy(std * (255.0 / (high - low)))
        return denoised, std * self.intensity[3], entropy


class StackedOnePass(nn.Module):
    """The same student with one output, for programs that take no more: ilastik, QuPath.

    Parameters
    ----------
    in_channels, out_channels, network, num_samples
        Of `OnePass`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, network: dict[str, Any], num_samples: int
    ) -> None:
        super().__init__()
        self.sampler = OnePass(in_channels, out_channels, network, num_samples)

    def forward(self, image: Tensor) -> Tensor:
        """Denoise (B, C_in, Y, X) counts to (B, 3·C_out, Y, X) as `StackedSampler` does."""
        intensity = self.sampler.intensity
        most = math.log(float(self.sampler.samples.numel()))
        return stack_outputs(self.sampler(image), intensity[4], intensity[5], most)


class Interval(nn.Module):
    """Lower and upper ends, from the mean and the standard deviation of the samples.

    Notes
    -----
    ``lower = mean − below·w`` and ``upper = mean + above·w``, clipped to the output range, with
    ``w² = spread·std² + a + b·m + c·m²`` and m the mean as a share of the range: where all
    samples agree the error is not zero, and noise grows with the light. The constants come from
    `bmz-ddpm calibrate`.
    """

    constants: Tensor

    def __init__(self) -> None:
        super().__init__()
        # spread, a, b, c (counts²), below, above, lowest and highest output (counts)
        self.register_buffer("constants", torch.zeros(8))

    def width(self, denoised: Tensor, std: Tensor) -> Tensor:
        """Return w, in counts."""
        k = self.constants
        m = ((denoised - k[6]) / (k[7] - k[6])).clamp(0.0, 1.0)
        return torch.sqrt(k[0] * std * std + k[1] + k[2] * m + k[3] * m * m)

    def forward(self, denoised: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """Return lower and upper.

        Parameters
        ----------
        denoised, std : (B, C, Y, X) float32
            In counts.

        Returns
        -------
        lower, upper : (B, C, Y, X) float32
            In counts, within the output range.
        """
        k = self.constants
        w = self.width(denoised, std)
        lower = torch.minimum(torch.maximum(denoised - k[4] * w, k[6]), k[7])
        upper = torch.minimum(torch.maximum(denoised + k[5] * w, k[6]), k[7])
        return lower, upper


class Calibrated(nn.Module):
    """Any module that returns (denoised, std, entropy), with lower and upper appended.

    Parameters
    ----------
    sampler : nn.Module
    """

    def __init__(self, sampler: nn.Module) -> None:
        super().__init__()
        self.sampler = sampler
        self.interval = Interval()
        self.eval()
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Denoise.

        Parameters
        ----------
        image : (B, C_in, Y, X) float32
            In camera counts; any y and x.

        Returns
        -------
        denoised, std, entropy : (B, C_out, Y, X) float32
            Of `sampler`, unchanged.
        lower, upper : (B, C_out, Y, X) float32
            Ends of the calibrated interval, in counts.
        """
        denoised, std, entropy = self.sampler(image)
        lower, upper = self.interval(denoised, std)
        return denoised, std, entropy, lower, upper


class CalibratedSampler(Calibrated):
    """A `DiffusionSampler` with calibrated intervals: five outputs.

    Parameters
    ----------
    in_channels, out_channels, network, num_steps, num_samples, samples_per_pass
        Of `DiffusionSampler`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        network: dict[str, Any],
        num_steps: int,
        num_samples: int,
        samples_per_pass: int,
    ) -> None:
        super().__init__(
            DiffusionSampler(
                in_channels, out_channels, network, num_steps, num_samples, samples_per_pass
            )
        )


class CalibratedOnePass(Calibrated):
    """A `OnePass` with calibrated intervals: five outputs.

    Parameters
    ----------
    in_channels, out_channels, network, num_samples
        Of `OnePass`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, network: dict[str, Any], num_samples: int
    ) -> None:
        super().__init__(OnePass(in_channels, out_channels, network, num_samples))
