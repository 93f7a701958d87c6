"""Training patches: drawn, varied, normalised; a sample depends on seed, step and number alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..config import AugmentConfig, Intensity
from ..errors import DataError
from .fields import Plane, highest, intensity_range, load_fields, valid_pixels
from .noise import NoiseModel, fit_noise
from .pairs import Pair
from .planes import describe_size
from .synthetic import draw_structures
from .vary import Uniform, correlated, eroded, gaussian_blur, quarter_turn, warp

#: Drawn structures are made once, and varied like references.
SYNTHETIC_COUNT, SYNTHETIC_SIZE = 96, 384


def mixed_seed(*numbers: int) -> int:
    """Mix integers into 32 bits: PyTorch's generator on the CPU ignores all higher ones."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class Drawn(NamedTuple):
    """One patch in counts: low, high (C, P, P) float32, valid (1, P, P) bool, file name."""

    low: Tensor
    high: Tensor
    valid: Tensor
    name: str


@dataclass(frozen=True)
class Batch:
    """Patches of one optimiser step, or a share of them.

    Attributes
    ----------
    cond, x0 : (B, C, patch, patch) float32
        Microscope and clean patches, in model units.
    weight : (B, 1, patch, patch) float32
        1 where the clean image is valid, else 0.
    names : tuple of str
        The noisy image that each patch comes from.
    generators : tuple of torch.Generator
        One per sample, to draw what else the sample needs. Their states depend on the seed, the
        step and the number of the sample alone: a resumed run draws what an uninterrupted one
        would have drawn, and several processes together what one would have drawn.
    """

    cond: Tensor
    x0: Tensor
    weight: Tensor
    names: tuple[str, ...]
    generators: tuple[torch.Generator, ...]


class PatchSource:
    """All training pairs in memory, and the patches drawn from them.

    Parameters
    ----------
    pairs : list of Pair
    patch : int
        Side in pixels.
    augment : AugmentConfig
    seed : int
    units : "standard" or "range"
    match : bool
        Fit the intensities of each clean image to its noisy one.
    crops : "anywhere" or "grid"
    shuffle : bool
        Of "grid": another order in every epoch.
    batch_size : int
        Samples of one step in all processes together; "grid" counts them.
    samples : int
        Samples of the whole run: no more structures are drawn than it can use.

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
        crops: Literal["anywhere", "grid"] = "anywhere",
        shuffle: bool = True,
        batch_size: int = 1,
        samples: int = SYNTHETIC_COUNT,
    ) -> None:
        self.patch, self.augment, self.seed = patch, augment, seed
        self.crops, self.shuffle, self.batch_size = crops, shuffle, batch_size
        self.planes = [plane for pair in pairs for plane in load_fields(pair, match)]
        for plane in self.planes:
            self._check(plane)
        low_types = {plane.low_type for plane in self.planes}
        self.integers = all(t.kind in "ui" for t in low_types)
        self.low_top = highest(low_types)
        self.top = highest({plane.high_type for plane in self.planes})
        valid = [valid_pixels(plane) for plane in self.planes]
        self.input_range = intensity_range([low for low, _ in valid], self.low_top)
        self.output_range = intensity_range([high for _, high in valid], self.top)
        same_channels = self.in_channels == self.out_channels
        self.noise = fit_noise(valid) if same_channels else NoiseModel(1e-6, 0.0, 0.0)
        self.simulated = augment.simulated if same_channels else 0.0
        self.synthetic = self._draw_synthetic([high for _, high in valid], samples)
        self.intensity = self._intensity(units)
        self.grid = [
            (i, y, x)
            for i, plane in enumerate(self.planes)
            for y in range(0, plane.low.shape[1] - patch + 1, patch)
            for x in range(0, plane.low.shape[2] - patch + 1, patch)
        ]
        self._epoch, self._permutation = -1, np.arange(len(self.grid))

    def _check(self, plane: Plane) -> None:
        first = self.planes[0]
        if len(plane.low) != len(first.low) or len(plane.high) != len(first.high):
            raise DataError(
                f"{plane.name}: has {len(plane.low)} channels in and {len(plane.high)} out, the "
                f"first pair has {len(first.low)} and {len(first.high)}",
                "give all pairs the same channels",
            )
        if min(plane.low.shape[1:]) < self.patch:
            fits = min(plane.low.shape[1:]) // 16 * 16
            raise DataError(
                f"{plane.name}: is {describe_size(plane.low[None].numpy())}, smaller than the "
                f"{self.patch} pixel patches",
                f"train with a smaller patch (patch = {fits})"
                if fits
                else "use images of at least 16 x 16 pixels",
            )

    def _draw_synthetic(self, clean: list[np.ndarray], samples: int) -> Tensor | None:
        """Draw structures as bright as the references: (count, C, Y, X), channels unrelated."""
        if not self.simulated * self.augment.synthetic:
            return None
        shape = min(SYNTHETIC_COUNT, samples), self.out_channels
        seed = (self.seed * 0x9E3779B1) % 2**32
        drawn = draw_structures(shape[0] * shape[1], SYNTHETIC_SIZE, seed)
        drawn = drawn.reshape(*shape, SYNTHETIC_SIZE, SYNTHETIC_SIZE)
        dark = self.noise.offset
        bright = max(float(np.percentile(high, 99.8)) for high in clean)
        return torch.from_numpy(dark + drawn * (bright - dark))

    def _intensity(self, units: Literal["standard", "range"]) -> Intensity:
        """Learn the constants between counts and model units."""
        if units == "range":
            scales = [((a + b) / 2, (b - a) / 2) for a, b in (self.input_range, self.output_range)]
        else:  # of patches as they are trained on, variations included
            generator = torch.Generator().manual_seed(self.seed)
            drawn = [self._draw(generator) for _ in range(200)]
            weight = torch.stack([d.valid for d in drawn])
            scales = []
            for values in ([d.low for d in drawn], [d.high for d in drawn]):
                stacked = torch.stack(values).double()
                inside = stacked[weight.expand_as(stacked)]
                scales.append((float(inside.mean()), float(inside.std())))
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
        return len(self.planes[0].low)

    @property
    def out_channels(self) -> int:
        """Channels of the clean images."""
        return len(self.planes[0].high)

    def batch(self, step: int, size: int, first: int = 0) -> Batch:
        """Draw samples `first` to `first + size - 1` of one optimiser step (1, 2, …)."""
        generators = tuple(
            torch.Generator().manual_seed(mixed_seed(self.seed, step, first + i))
            for i in range(size)
        )
        drawn = [
            self._draw(generator, self._place((step - 1) * self.batch_size + first + i))
            for i, generator in enumerate(generators)
        ]
        low = torch.stack([d.low for d in drawn])
        high = torch.stack([d.high for d in drawn])
        return Batch(
            *to_model_units(low, high, self.intensity),
            torch.stack([d.valid for d in drawn]).float(),
            tuple(d.name for d in drawn),
            generators,
        )

    def _place(self, number: int) -> tuple[int, int, int] | None:
        """Return plane, y and x of a sample, counted from the start of the run."""
        if self.crops == "anywhere":
            return None
        epoch, place = divmod(number, len(self.grid))
        if self.shuffle:
            if epoch != self._epoch:
                random = np.random.default_rng(np.random.SeedSequence((self.seed, epoch)))
                self._epoch, self._permutation = epoch, random.permutation(len(self.grid))
            place = self._permutation[place]
        return self.grid[place]

    def _draw(self, generator: torch.Generator, place: tuple[int, int, int] | None = None) -> Drawn:
        def uniform(low: float, high: float) -> float:
            return low + (high - low) * float(torch.rand((), generator=generator))

        index = int(uniform(0, len(self.planes))) if place is None else place[0]
        low, high, valid, name = self.planes[index][:4]
        if uniform(0, 1) < self.simulated:
            if self.synthetic is not None and uniform(0, 1) < self.augment.synthetic:
                high, valid = self.synthetic[int(uniform(0, len(self.synthetic)))], None
            high, valid = self._warped(high, valid, uniform)
            low = self._simulated(high, uniform, generator)
        else:
            rooms = [n - self.patch + 1 for n in low.shape[1:]]
            y, x = place[1:] if place else (int(uniform(0, room)) for room in rooms)
            window = (slice(None), slice(y, y + self.patch), slice(x, x + self.patch))
            low, high = low[window], high[window]
            valid = valid if valid is None else valid[window]
            if self.augment.filtered and uniform(0, 1) < self.augment.filtered:
                low = gaussian_blur(low, self.augment.filter_sigma)
        images = [low, high] if valid is None else [low, high, valid]
        if self.augment.flips:
            images = quarter_turn(images, uniform)
        if valid is None:
            images.append(torch.ones(1, self.patch, self.patch, dtype=torch.bool))
        return Drawn(images[0], images[1], images[2], name)

    def _warped(
        self, high: Tensor, valid: Tensor | None, uniform: Uniform
    ) -> tuple[Tensor, Tensor | None]:
        """Rotate, zoom, brighten and perhaps blur a piece of the clean image: (C, P, P)."""
        a = self.augment
        out, valid = warp(high, valid, self.patch, a.rotate, a.zoom, uniform)
        dark = self.noise.offset
        bright = math.exp(uniform(math.log(a.brightness[0]), math.log(a.brightness[1])))
        out = (out - dark) * bright + dark
        if a.blur > 0 and uniform(0, 1) < 0.25:
            sigma = uniform(0.2, max(0.2, a.blur))
            out = gaussian_blur(out, sigma)
            valid = valid if valid is None else eroded(valid, max(1, round(3 * sigma)))
        return out.clamp(min(dark, self.output_range[0]), self.output_range[1]), valid

    def _simulated(self, high: Tensor, uniform: Uniform, generator: torch.Generator) -> Tensor:
        a = self.augment
        factor = math.exp(uniform(math.log(a.gain[0]), math.log(a.gain[1])))
        low = self.noise.draw(high, torch.tensor(self.noise.gain * factor), generator)
        if a.correlation > 0:
            low = high + correlated(low - high, uniform(0, a.correlation))
        low = torch.round(low) if self.integers else low
        return low.clamp(0 if self.integers else -math.inf, self.low_top)


def to_model_units(low: Tensor, high: Tensor, intensity: Intensity) -> tuple[Tensor, Tensor]:
    """Map noisy and clean counts to model units."""
    cond = (low - intensity.input_offset) / intensity.input_scale
    x0 = (high - intensity.output_offset) / intensity.output_scale
    return cond, x0
