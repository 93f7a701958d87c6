"""Noise keyed on the place in the image: the same in every frame and plane, so nothing flickers.

Exported packages key the noise on the image's content (`diffusion.rng`), because a host program
never tells them where a tile lies. Two frames of a film differ in their noise, so their samples
do too. Our own runtime knows the place, and this is its other key. It changes nothing in the
exported graphs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ..diffusion.rng import ContentNoise
from .backends import torch_backend

#: Longer than any row of an image.
ROW = 2**24


class PlacedNoise(ContentNoise):
    """The generator of a sampler, with places that are pixel indices when a corner is set.

    Parameters
    ----------
    noise : ContentNoise
        Its constants are shared.
    """

    def __init__(self, noise: ContentNoise) -> None:
        super().__init__(noise.channel_words.numel())
        self._buffers.update(noise._buffers)
        self.corner: tuple[int, int] | None = None

    def places(self, image: Tensor) -> Tensor:
        """Number the pixels from the image's corner; without one, hash their surroundings.

        Parameters
        ----------
        image : (B, C, Y, X) float32

        Returns
        -------
        (B, 1, Y, X) int64
            An index times an odd word: no two pixels share a place.
        """
        if self.corner is None:
            return super().places(image)
        y, x = (
            torch.arange(start, start + size, device=image.device)
            for start, size in zip(self.corner, image.shape[2:], strict=True)
        )
        index = (y[:, None] * ROW + x[None, :]) * self.strides[3]
        return index.expand(image.shape[0], 1, -1, -1)


class PlacedBackend:
    """An engine that can key the noise either way.

    Parameters
    ----------
    sampler : Module
        Holds a `ContentNoise` under the name "noise", at any depth.
    device : str

    Raises
    ------
    ConfigError
        If the device cannot be used.
    """

    def __init__(self, sampler: nn.Module, device: str = "cpu") -> None:
        self._noises = []
        for owner in list(sampler.modules()):
            noise = getattr(owner, "noise", None)
            if isinstance(noise, ContentNoise):
                owner.noise = PlacedNoise(noise)
                self._noises.append(owner.noise)
        self._run = torch_backend(sampler, device)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, ...]:
        """Denoise (B, C, Y, X) counts with noise keyed on their content."""
        return self._run(image)

    def at(self, image: np.ndarray, y: int, x: int) -> tuple[np.ndarray, ...]:
        """Denoise a tile with noise keyed on its place.

        Parameters
        ----------
        image : (B, C, Y, X) float32
            In counts.
        y, x : int
            Where its corner lies in the whole image; negative in a halo.
        """
        self._set((y, x))
        try:
            return self._run(image)
        finally:
            self._set(None)

    def _set(self, corner: tuple[int, int] | None) -> None:
        for noise in self._noises:
            noise.corner = corner
