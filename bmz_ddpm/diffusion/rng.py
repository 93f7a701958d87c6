"""Normal noise that every engine draws alike: integers only, keyed on the image's content.

noise = f(seed, sample, step, place). *Place* is not a pixel's index, because a host program
cuts images into tiles and never tells the model where a tile lies. It is a 64-bit hash of the
27 x 27 pixel values around the pixel: the same surroundings give the same noise, in any tile
and in the whole image. Where all these values are equal (clipped black background) there is
nothing to hash, and the pixel's index modulo 32 in the tile is used instead: equal in all
tiles that start at a multiple of 32.

Everything is int64 with wrap-around, from Mul, Add, Mod, Div and casts to int32, so it exports
at ONNX opset 17 and loads in libtorch 1.13. The normals come from a table: no logarithm, no cosine,
no last bit that differs from engine to engine.
"""

import math

import torch
from torch import Tensor, nn

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
