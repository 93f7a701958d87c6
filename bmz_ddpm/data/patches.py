"""Training patches: drawn, varied, normalised; the same step always draws the same patches."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..config import AugmentConfig, Intensity
from ..errors import DataError
from .images import read_image
from .noise import NoiseModel, fit_noise
from .pairs import Pair
from .planes import describe_size, load_planes
from .synthetic import draw_structures

#: Drawn structures are made once, and varied like references.
SYNTHETIC_COUNT, SYNTHETIC_SIZE = 96, 384


def intensity_range(planes: list[np.ndarray], top: float) -> tuple[float, float]:
    """Learn the range of intensities from the training images.

    It is that of the data with a quarter of headroom, because the sampler clips to it, but not
    beyond `top`, what the files' type can hold. A lower end near zero becomes zero.

    Returns
    -------
    low, high : float
        In counts.
    """
    low = min(float(p.min()) for p in planes)
    high = max(float(p.max()) for p in planes)
    if not high > low:
        raise DataError(
            f"training images: every pixel is {low:g}", "use images that are not constant"
        )
    low = 0.0 if 0 <= low <= 0.05 * high else low
    return low, min(low + (high - low) * 1.25, top)


def step_seed(seed: int, step: int) -> int:
    """Mix both into 32 bits: PyTorch's generator on the CPU ignores all higher ones."""
    return (seed * 0x9E3779B1 + step) % 2**32


class PatchSource:
    """All training pairs in memory, and the patches drawn from them.

    Parameters
    ----------
    pairs : list of Pair
    patch : int
        Side in pixels.
    augment : AugmentConfig
    seed : int

    Attributes
    ----------
    intensity : Intensity
    noise : NoiseModel
    """

    def __init__(
        self,
        pairs: list[Pair],
        patch: int,
        augment: AugmentConfig,
        seed: int,
        units: Literal["standard", "range"] = "standard",
        match: bool = False,
    ) -> None:
        self.patch, self.augment, self.seed = patch, augment, seed
        loaded = [load_planes(pair, match)[:2] for pair in pairs]
        for pair, (low, high) in zip(pairs, loaded, strict=True):
            first_low, first_high = loaded[0]
            if low.shape[1] != first_low.shape[1] or high.shape[1] != first_high.shape[1]:
                raise DataError(
                    f"{pair.low}: has {low.shape[1]} channels in and {high.shape[1]} out, the "
                    f"first pair has {first_low.shape[1]} and {first_high.shape[1]}",
                    "give all pairs the same channels",
                )
            if min(low.shape[2:]) < patch:
                fits = min(low.shape[2:]) // 16 * 16
                raise DataError(
                    f"{pair.low}: is {describe_size(low)}, smaller than the {patch} pixel patches",
                    f"train with a smaller patch (patch = {fits})"
                    if fits
                    else "use images of at least 16 x 16 pixels",
                )
        self.planes = [
            (torch.from_numpy(lo), torch.from_numpy(hi))
            for low, high in loaded
            for lo, hi in zip(low, high, strict=True)
        ]  # each (C, Y, X)
        tops = [np.iinfo(t).max if t.kind in "ui" else math.inf for t in _types(pairs)]
        self.top = max(tops)
        self.integers = all(t.kind in "ui" for t in _types(pairs))
        self.input_range = intensity_range([low for low, _ in loaded], self.top)
        self.output_range = intensity_range([high for _, high in loaded], self.top)
        same_channels = self.in_channels == self.out_channels
        self.noise = fit_noise(loaded) if same_channels else NoiseModel(1e-6, 0.0, 0.0)
        self.simulated = augment.simulated if same_channels else 0.0
        self.synthetic = self._draw_synthetic(loaded)
        self.intensity = self._intensity(units)

    def _draw_synthetic(self, loaded: list[tuple[np.ndarray, np.ndarray]]) -> Tensor | None:
        """Draw structures as bright as the references: (count, C, Y, X), channels unrelated."""
        if not self.simulated * self.augment.synthetic:
            return None
        drawn = draw_structures(
            SYNTHETIC_COUNT * self.out_channels, SYNTHETIC_SIZE, step_seed(self.seed, 0)
        ).reshape(SYNTHETIC_COUNT, self.out_channels, SYNTHETIC_SIZE, SYNTHETIC_SIZE)
        dark = self.noise.offset
        bright = max(float(np.percentile(high, 99.8)) for _, high in loaded)
        return torch.from_numpy(dark + drawn * (bright - dark))

    def _intensity(self, units: Literal["standard", "range"]) -> Intensity:
        """Learn the constants between counts and model units."""
        if units == "range":
            scales = [((a + b) / 2, (b - a) / 2) for a, b in (self.input_range, self.output_range)]
        else:  # of patches as they are trained on, variations included
            generator = torch.Generator().manual_seed(self.seed)
            drawn = [self._draw(generator) for _ in range(200)]
            both = (torch.stack([pair[i] for pair in drawn]).double() for i in (0, 1))
            scales = [(float(p.mean()), float(p.std())) for p in both]
        return Intensity(
            input_offset=scales[0][0],
            input_scale=scales[0][1],
            output_offset=scales[1][0],
            output_scale=scales[1][1],
            low=self.output_range[0],
            high=self.output_range[1],
        )

    @property
    def in_channels(self) -> int:
        """Channels of the noisy images."""
        return int(self.planes[0][0].shape[0])

    @property
    def out_channels(self) -> int:
        """Channels of the clean images."""
        return int(self.planes[0][1].shape[0])

    def batch(self, step: int, size: int) -> tuple[Tensor, Tensor, torch.Generator]:
        """Draw the patches of one optimiser step.

        Returns
        -------
        cond, x0 : (B, C, patch, patch) float32
            Microscope and clean patches in model units.
        generator : torch.Generator
            Its state depends on the seed and `step` alone: a resumed run draws what an
            uninterrupted one would have drawn.
        """
        generator = torch.Generator().manual_seed(step_seed(self.seed, step))
        drawn = [self._draw(generator) for _ in range(size)]
        low = torch.stack([d[0] for d in drawn])
        high = torch.stack([d[1] for d in drawn])
        return *to_model_units(low, high, self.intensity), generator

    def _draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        def uniform(low: float, high: float) -> float:
            return low + (high - low) * float(torch.rand((), generator=generator))

        low, high = self.planes[int(uniform(0, len(self.planes)))]
        if uniform(0, 1) < self.simulated:
            if self.synthetic is not None and uniform(0, 1) < self.augment.synthetic:
                high = self.synthetic[int(uniform(0, len(self.synthetic)))]
            high = self._warped(high, uniform)
            low = self._simulated(high, uniform, generator)
        else:
            y = int(uniform(0, low.shape[1] - self.patch + 1))
            x = int(uniform(0, low.shape[2] - self.patch + 1))
            window = (slice(None), slice(y, y + self.patch), slice(x, x + self.patch))
            low, high = low[window], high[window]
        if uniform(0, 1) < 0.5:
            low, high = low.flip(2), high.flip(2)
        turns = int(uniform(0, 4))
        return torch.rot90(low, turns, (1, 2)), torch.rot90(high, turns, (1, 2))

    def _warped(self, high: Tensor, uniform) -> Tensor:  # type: ignore[no-untyped-def]
        """Rotate, zoom, brighten and perhaps blur a piece of the clean image: (C, P, P)."""
        a = self.augment
        angle = math.radians(uniform(-a.rotate, a.rotate))
        zoom = math.exp(uniform(math.log(a.zoom[0]), math.log(a.zoom[1])))
        rows, columns = high.shape[1:]
        grid = (torch.arange(self.patch) - (self.patch - 1) / 2) / zoom
        y, x = torch.meshgrid(grid, grid, indexing="ij")
        y, x = (
            math.cos(angle) * y + math.sin(angle) * x + uniform(0, rows - 1),
            math.cos(angle) * x - math.sin(angle) * y + uniform(0, columns - 1),
        )
        where = torch.stack([x / (columns - 1), y / (rows - 1)], -1) * 2 - 1  # (P, P, 2)
        out = torch.nn.functional.grid_sample(
            high[None], where[None], mode="bicubic", padding_mode="reflection", align_corners=True
        )[0]
        dark = self.noise.offset
        bright = math.exp(uniform(math.log(a.brightness[0]), math.log(a.brightness[1])))
        out = (out - dark) * bright + dark
        if a.blur > 0 and uniform(0, 1) < 0.25:
            out = gaussian_blur(out, uniform(0.2, max(0.2, a.blur)))
        return out.clamp(min(dark, self.output_range[0]), self.output_range[1])

    def _simulated(self, high: Tensor, uniform, generator: torch.Generator) -> Tensor:  # type: ignore[no-untyped-def]
        a = self.augment
        factor = math.exp(uniform(math.log(a.gain[0]), math.log(a.gain[1])))
        low = self.noise.draw(high, torch.tensor(self.noise.gain * factor), generator)
        if a.correlation > 0:
            low = high + correlated(low - high, uniform(0, a.correlation))
        low = torch.round(low) if self.integers else low
        return low.clamp(0 if self.integers else -math.inf, self.top)


def _types(pairs: list[Pair]) -> list[np.dtype]:
    return [read_image(path).dtype for pair in pairs for path in (pair.low, pair.high)]


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Filter (C, Y, X) with a Gaussian of `sigma` pixels."""
    radius = max(1, round(3 * sigma))
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).view(1, 1, -1)
    out = torch.nn.functional.pad(image[:, None], (radius,) * 4, mode="reflect")  # (C, 1, Y, X)
    out = torch.nn.functional.conv2d(out, taps[:, :, None, :])
    return torch.nn.functional.conv2d(out, taps[:, :, :, None])[:, 0]


def correlated(noise: Tensor, share: float) -> Tensor:
    """Let each pixel of (C, Y, X) noise repeat `share` of its left neighbour's; same variance."""
    before = torch.cat([noise[..., :1], noise[..., :-1]], -1)
    return (noise + share * before) / math.sqrt(1 + share**2)


def to_model_units(low: Tensor, high: Tensor, intensity: Intensity) -> tuple[Tensor, Tensor]:
    """Map noisy and clean counts to model units."""
    cond = (low - intensity.input_offset) / intensity.input_scale
    x0 = (high - intensity.output_offset) / intensity.output_scale
    return cond, x0
