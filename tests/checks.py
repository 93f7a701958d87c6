"""Contracts that every implementation of an interface must keep."""

from __future__ import annotations

import numpy as np

from bmz_ddpm.config import Intensity
from bmz_ddpm.runtime.backends import Backend

#: Model units as in the paper: [-1, 1] spans an 8-bit image.
EIGHT_BIT = Intensity(
    input_offset=127.5,
    input_scale=127.5,
    output_offset=127.5,
    output_scale=127.5,
    low=0.0,
    high=255.0,
)


def photons(rows: int, columns: int, *, channels: int = 1, seed: int = 0) -> np.ndarray:
    """(1, C, Y, X) float32: a made-up dim image in counts."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    light = 2 + 6 * (np.sin(y / 7) * np.cos(x / 5) > 0.3)
    return (5 * rng.poisson(np.broadcast_to(light, (1, channels, rows, columns)))).astype(
        np.float32
    )


def check_backend(backend: Backend, num_samples: int) -> None:
    """Three outputs of the image's size; repeatable; any size; a batch is its images."""
    image = photons(48, 64)
    outputs = backend(image)
    assert [o.shape for o in outputs] == [image.shape] * 3
    assert [o.dtype for o in outputs] == [np.float32] * 3
    denoised, std, entropy = outputs
    assert 0 <= denoised.min() <= denoised.max() <= 255
    assert 0 <= std.min() <= std.max() <= 127.5
    assert 0 <= entropy.min() <= entropy.max() <= np.log(num_samples) + 1e-5
    assert std.mean() > 0.01

    for first, again in zip(outputs, backend(image), strict=True):
        np.testing.assert_array_equal(first, again)
    for rows, columns in ((33, 50), (5, 90)):
        assert backend(photons(rows, columns))[0].shape == (1, 1, rows, columns)
    other = photons(48, 64, seed=1)
    both = backend(np.concatenate([image, other]))
    for i, single in enumerate((image, other)):
        for joint, alone in zip(both[:2], backend(single)[:2], strict=True):
            np.testing.assert_allclose(joint[i : i + 1], alone, atol=0.02, rtol=1e-4)
