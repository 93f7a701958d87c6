"""The network and sampler of a bmz-ddpm model, in one file that needs torch alone.

Written by bmz-ddpm from its own modules layers, unet, rng, uncertainty, sampler.
The class to build is DiffusionSampler (three outputs) or StackedSampler (one), as rdf.yaml says.
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
    return torch.nn.functional.silu(x) / 0.596


def mp_sum(a: Tensor, b: Tensor, t: float = 0.3) -> Tensor:
    """Blend two branches, `t` being the share of `b` (eq. 88)."""
    scale = 1.0 / math.sqrt((1.0 - t) ** 2 + t**2)
    return a * ((1.0 - t) * scale) + b * (t * scale)


def mp_cat(a: Tensor, b: Tensor, channels_a: int, channels_b: int) -> Tensor:
    """Concatenate along channels, both sides with equal influence (eq. 103, t = 1/2)."""
    scale = math.sqrt((channels_a + channels_b) / 0.5)
    return torch.cat(
        [a * (0.5 * scale / math.sqrt(channels_a)), b * (0.5 * scale / math.sqrt(channels_b))], 1
    )


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
    """

    def __init__(self, c_in: int, c_out: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        window = (kernel, kernel) if kernel else ()
        self.weight = nn.Parameter(torch.randn(c_out, c_in, *window))

    def folded_weight(self) -> Tensor:
        """Return the weight that a plain convolution needs to do the same."""
        rows = self.weight.flatten(1)
        return (unit_rms(rows, 1) / math.sqrt(rows.shape[1])).reshape(self.weight.shape)

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


def conv(c_in: int, c_out: int, kernel: int, folded: bool) -> nn.Module:
    """Return the trainable convolution, or the plain one that its weight folds into."""
    if folded:
        return nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)
    return MPConv(c_in, c_out, kernel)


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
        self.conv_out = conv(c, out_channels * area, 3, folded)

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
        (B, C_out, Y, X) float32
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


# TorchScript reads no module constants, so 4294967296 (2³²), 13, 32 and 65536 recur as literals.
RADIUS = 13  # of the hashed window: 1 + 3 + 9
PERIOD = 32  # of the noise in constant regions
TABLE_SIZE = 65536
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


def high_word(x: Tensor) -> Tensor:
    """Return the upper 32 bits of int64 `x` as an integer in [0, 2³²)."""
    return torch.remainder((x - torch.remainder(x, 4294967296)) // 4294967296, 4294967296)


def swap_halves(x: Tensor) -> Tensor:
    """Rotate int64 `x` by 32 bits, without a shift."""
    low = torch.remainder(x, 4294967296)
    return low * 4294967296 + torch.remainder((x - low) // 4294967296, 4294967296)


def squares32(counter: Tensor, key: Tensor) -> Tensor:
    """Return one random 32-bit word per counter, as int64 in [0, 2³²).

    References
    ----------
    Widynski (2020), "Squares: a fast counter-based RNG", section 5. arXiv:2004.06278.
    """
    x = counter * key
    y = x
    z = y + key
    x = swap_halves(x * x + y)
    x = swap_halves(x * x + z)
    x = swap_halves(x * x + y)
    return high_word(x * x + z)


def normal_table() -> Tensor:
    """Return (65536,) float32: the mean of N(0, 1) in each of 65536 equally likely bins.

    The mean over a bin is (pdf(lower) − pdf(upper))·65536; the sum of two entries scaled by
    `pair_scale` has unit variance. Computed in float64 and rounded once: the table travels
    with the model as data, so its last bit cannot differ between engines.
    """
    edges = torch.special.ndtri(torch.arange(TABLE_SIZE + 1, dtype=torch.float64) / TABLE_SIZE)
    pdf = torch.exp(-0.5 * edges**2) / math.sqrt(2 * math.pi)
    table = (pdf[:-1] - pdf[1:]) * TABLE_SIZE
    scale = 1 / math.sqrt(2 * float((table**2).mean()))
    return (table * scale).float()


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
        offset = draws[:, None, None, None, None] * self.strides[0] + step * self.strides[1]
        word = squares32(places + channel * self.strides[2] + offset, self.key)
        low = torch.remainder(word, 65536)
        high = (word - low) // 65536
        return self.table[low] + self.table[high]


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
    levels : (N, B, C, Y, X) float32
        Samples rounded to integers 0..255.

    Returns
    -------
    (B, C, Y, X) float32
        In nats, between 0 and ln N.

    References
    ----------
    The paper, eq. 16. Written as the mean over samples of ln(N / count), where count is how
    many samples share the value: no histogram (forbidden in deterministic mode on a GPU), and
    no term is ever negative.
    """
    count = torch.zeros_like(levels)
    for i in range(levels.shape[0]):
        count = count + (levels == levels[i].unsqueeze(0)).to(levels.dtype)
    return torch.log(levels.shape[0] / count).mean(0)


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
        self.out_channels = out_channels
        self.noise = ContentNoise(in_channels)
        widths = sum(self.unet.block_widths)
        passes = num_samples // samples_per_pass
        self.register_buffer("coefficients", torch.zeros(num_steps, 5))
        self.register_buffer("modulation", torch.zeros(num_steps, widths))
        self.register_buffer("draws", torch.arange(num_samples).reshape(passes, samples_per_pass))
        # input offset and scale, output offset and scale, lowest and highest output, in counts
        self.register_buffer("intensity", torch.zeros(6))
        self.register_buffer("mirror", torch.zeros(1, dtype=torch.bool))
        self.eval()
        self.requires_grad_(False)

    def limits(self) -> tuple[Tensor, Tensor]:
        """Return the lowest and highest clean value, in model units (scalars)."""
        ends = (self.intensity[4:] - self.intensity[2]) / self.intensity[3]
        return ends[0], ends[1]

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
        low, high = self.limits()
        repeated = mirrored_by(repeated, flags)
        repeated = repeated.reshape(n * b, cond.shape[1], y, x)
        for step in range(self.coefficients.shape[0]):
            row = self.coefficients[step]
            net = self.unet(x_t, repeated, self.modulation[step].unsqueeze(0))
            x0_hat = torch.minimum(torch.maximum(row[0] * x_t + row[1] * net, low), high)
            x_t = row[2] * x0_hat + row[3] * x_t
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
        below = (self.multiple - rows % self.multiple) % self.multiple
        right = (self.multiple - columns % self.multiple) % self.multiple
        padded = mirror_pad(image, 0, below, 0, right)
        cond = (padded - self.intensity[0]) / self.intensity[1]
        low, high = self.limits()
        places = self.noise.places(padded)
        mean = (places * 0).to(cond.dtype).expand(-1, self.out_channels, -1, -1)
        square = mean
        count = 0
        levels = mean.unsqueeze(0)[:0]
        for i in range(self.draws.shape[0]):
            samples = self.sample(cond, places, self.draws[i])
            mean, square, count = merge_moments(mean, square, count, samples)
            levels = torch.cat([levels, torch.round((samples - low) * (255.0 / (high - low)))])
        denoised = mean * self.intensity[3] + self.intensity[2]
        std = torch.sqrt(square / float(count)) * self.intensity[3]
        entropy = entropy_of_levels(levels)
        return (
            denoised[:, :, :rows, :columns],
            std[:, :, :rows, :columns],
            entropy[:, :, :rows, :columns],
        )


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
        denoised, std, entropy = self.sampler(image)
        low, high = self.sampler.intensity[4], self.sampler.intensity[5]
        most = max(math.log(float(self.sampler.draws.numel())), 1e-6)  # one sample: all zero
        mean = (denoised - low) / (high - low)
        stacked = torch.cat([mean, std / (high - low), entropy / most], 1)  # (B, 3C, Y, X)
        return stacked.clamp(0.0, 1.0)  # the last bit may lie outside
