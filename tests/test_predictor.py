"""Whole images through a backend: axes, attributes, warnings."""

import numpy as np
import pytest
import xarray as xr

from bmz_ddpm.errors import DataError
from bmz_ddpm.runtime.predictor import check_image, denoise, intensity_warning
from bmz_ddpm.runtime.tiling import Tiling


def double(image: np.ndarray) -> tuple[np.ndarray, ...]:
    """A backend that does nothing unexpected."""
    return 2 * image, image, 0 * image


@pytest.mark.parametrize("axes", ["yx", "cyx", "zyx", "tyx", "tzcyx", "yxc"])
def test_every_plane_keeps_its_place(axes: str) -> None:
    sizes = {"t": 2, "z": 3, "c": 2, "y": 40, "x": 70}
    shape = [sizes[a] for a in axes]
    values = np.random.default_rng(0).integers(0, 999, shape).astype(np.uint16)
    image = xr.DataArray(values, dims=tuple(axes), attrs={"pixel_size": (0.1, 0.2)})
    results = denoise(image, double, Tiling(96, 32))
    assert list(results) == ["denoised", "std", "entropy"]
    for name, factor in (("denoised", 2), ("std", 1), ("entropy", 0)):
        result = results[name].transpose(*axes)
        np.testing.assert_array_equal(result, factor * values.astype(np.float32))
        assert result.dtype == np.float32
        assert result.attrs == image.attrs


def test_progress_counts_tiles_of_all_planes() -> None:
    image = xr.DataArray(np.zeros((3, 40, 70)), dims=("z", "y", "x"))
    calls: list[tuple[int, int]] = []
    denoise(image, double, Tiling(96, 32), lambda done, total: calls.append((done, total)))
    total = 3 * 2 * 3
    assert calls == [(i + 1, total) for i in range(total)]


def test_wrong_channels_and_missing_axes() -> None:
    image = xr.DataArray(np.zeros((3, 4, 4)), dims=("c", "y", "x"))
    with pytest.raises(DataError, match=r"cells\.tif: has 3 channels, the model takes 1"):
        check_image(image, 1, "cells.tif")
    with pytest.raises(DataError, match=r"cells\.tif: has axes \('y',\), y and x are needed"):
        check_image(xr.DataArray(np.zeros(4), dims=("y",)), 1, "cells.tif")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.0, 0.5, 1.0], "brightest pixel is 1, the model expects grey levels from 0 to 255"),
        ([10.0, 300.0, 9.0], "33.3% of the pixels are above 255, where the model's range ends"),
        ([10.0, 200.0, 9.0], None),
    ],
)
def test_images_in_other_units_are_noticed(values: list[float], text: str | None) -> None:
    image = xr.DataArray(np.array([values]), dims=("y", "x"))
    warning = intensity_warning(image, "a.tif", 0.0, 255.0)
    assert warning is None if text is None else text in str(warning)
