"""How a training patch is varied: turned, zoomed, blurred, with correlated noise."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

#: Draws a number between two others.
Uniform = Callable[[float, float], float]
#: A bicubic sample reaches this many pixels to each side.
REACH = 2


def warp(
    image: Tensor,
    valid: Tensor | None,
    patch: int,
    rotate: float,
    zoom: tuple[float, float],
    uniform: Uniform,
) -> tuple[Tensor, Tensor | None]:
    """Cut a rotated and zoomed patch from anywhere in an image, mirrored at its borders.

    Parameters
    ----------
    image : (C, Y, X) float32
    valid : (1, Y, X) bool or None
    patch : int
        Side in pixels.
    rotate : float
        Largest angle, in degrees.
    zoom : (float, float)
        Range of the factor.

    Returns
    -------
    (C, patch, patch) float32 and (1, patch, patch) bool or None
        Valid is a pixel that no invalid one has a part in.
    """
    angle = math.radians(uniform(-rotate, rotate))
    factor = math.exp(uniform(math.log(zoom[0]), math.log(zoom[1])))
    rows, columns = image.shape[1:]
    grid = (torch.arange(patch) - (patch - 1) / 2) / factor
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    y, x = (
        math.cos(angle) * y + math.sin(angle) * x + uniform(0, rows - 1),
        math.cos(angle) * x - math.sin(angle) * y + uniform(0, columns - 1),
    )
    where = torch.stack([x / (columns - 1), y / (rows - 1)], -1)[None] * 2 - 1  # (1, P, P, 2)

    def sampled(values: Tensor, mode: str) -> Tensor:
        return functional.grid_sample(
            values[None], where, mode=mode, padding_mode="reflection", align_corners=True
        )[0]

    if valid is not None:
        valid = sampled(eroded(valid, REACH).float(), "nearest") > 0
    return sampled(image, "bicubic"), valid


def eroded(valid: Tensor, radius: int) -> Tensor:
    """Return (1, Y, X) bool: true where no invalid pixel is nearer than `radius` in y or x."""
    side = 2 * radius + 1
    return functional.max_pool2d((~valid).float(), side, stride=1, padding=radius) == 0


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Filter (C, Y, X) with a Gaussian of `sigma` pixels."""
    radius = max(1, round(3 * sigma))
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).view(1, 1, -1)
    out = functional.pad(image[:, None], (radius,) * 4, mode="reflect")  # (C, 1, Y, X)
    out = functional.conv2d(out, taps[:, :, None, :])
    return functional.conv2d(out, taps[:, :, :, None])[:, 0]


def correlated(noise: Tensor, share: float) -> Tensor:
    """Let each pixel of (C, Y, X) noise repeat `share` of its left neighbour's; same variance."""
    before = torch.cat([noise[..., :1], noise[..., :-1]], -1)
    return (noise + share * before) / math.sqrt(1 + share**2)


def quarter_turn(images: list[Tensor], uniform: Uniform) -> list[Tensor]:
    """Bring (C, P, P) images of one patch to one of the eight ways a square can lie."""
    if uniform(0, 1) < 0.5:
        images = [image.flip(2) for image in images]
    turns = int(uniform(0, 4))
    return [torch.rot90(image, turns, (1, 2)) for image in images]
