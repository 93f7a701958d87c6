"""Test tensors, sample tensors and the measured validation of a package."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import tifffile
import xarray as xr

from ..about import AboutConfig
from ..data.images import read_image
from ..errors import DataError, MissingDependency
from ..evaluate.classical import best_gaussian
from ..evaluate.metrics import fitted, mae, ms_ssim, psnr
from ..export.onnx import INPUT
from ..runtime.predictor import check_image, planes_of
from ..runtime.tiling import Tiling


@dataclass(frozen=True)
class Field:
    """The field of view that a package shows and tests itself with.

    Attributes
    ----------
    raw : (C, Y, X) float32, in counts
    truth : (C, Y, X) float32, or None
    pixel_size : (y, x) in micrometre, or None
    """

    raw: np.ndarray
    truth: np.ndarray | None
    pixel_size: tuple[float, float] | None


def load_field(about: AboutConfig, in_channels: int, tiling: Tiling) -> Field:
    """Read the image and reference that the settings name.

    Raises
    ------
    DataError
        If one cannot be read, has other channels, is smaller than a tile, or they differ in size.
    """
    image = read_image(about.image)
    check_image(image, in_channels, str(about.image))
    raw = _first_plane(image)
    if min(raw.shape[1:]) < tiling.tile:
        raise DataError(
            f"{about.image}: is {raw.shape[1]} x {raw.shape[2]} pixels, the package's tile is "
            f"{tiling.tile}",
            "name a larger image, or export with a smaller --tile",
        )
    truth = None
    if about.reference:
        truth = _first_plane(read_image(about.reference))
        if truth.shape[1:] != raw.shape[1:]:
            raise DataError(
                f"{about.reference}: is {truth.shape[1]} x {truth.shape[2]} pixels, the image "
                f"{raw.shape[1]} x {raw.shape[2]}",
                "name the reference of that image",
            )
    return Field(raw, truth, image.attrs.get("pixel_size") or about.pixel_size)


def _first_plane(image: xr.DataArray) -> np.ndarray:
    return np.ascontiguousarray(planes_of(image).values[0, 0], dtype=np.float32)


def central_tile(field: Field, tiling: Tiling) -> np.ndarray:
    """Cut (1, C, tile, tile) out of the middle."""
    y, x = ((n - tiling.tile) // 2 for n in field.raw.shape[1:])
    return np.ascontiguousarray(field.raw[None, :, y : y + tiling.tile, x : x + tiling.tile])


def tensor_files(raw: np.ndarray, outputs: dict[str, np.ndarray]) -> dict[str, bytes]:
    """Return the test tensors (.npy, bcyx) and sample tensors (.tif) by file name."""
    files = {}
    for name, values in ({INPUT: raw} | outputs).items():
        stream = BytesIO()
        np.save(stream, values.astype(np.float32))
        files[f"test_{name}.npy"] = stream.getvalue()
        stream = BytesIO()
        tifffile.imwrite(
            stream, values[0].astype(np.float32), imagej=True, metadata={"axes": "CYX"}
        )
        files[f"sample_{name}.tif"] = stream.getvalue()
    return files


def measure(truth: np.ndarray, raw: np.ndarray, denoised: np.ndarray) -> dict[str, float | None]:
    """Return MAE, PSNR and MS-SSIM of raw, tuned blur and result, over (C, Y, X) images.

    The "fitted" PSNR allows every image one gain and one offset. MS-SSIM is None where
    torchmetrics is not installed.
    """
    blurred = np.stack([best_gaussian(r, t)[0] for r, t in zip(raw, truth, strict=True)])
    row: dict[str, float | None] = {}
    for name, image in (("raw", raw), ("blur", blurred), ("denoised", denoised)):
        row[f"{name}_mae"] = mae(truth, image)
        row[f"{name}_psnr"] = psnr(truth, image)
        row[f"{name}_fitted_psnr"] = psnr(truth, fitted(truth, image))
        try:
            values = [ms_ssim(t, i) for t, i in zip(truth, image, strict=True)]
            row[f"{name}_ms_ssim"] = float(np.mean(values))
        except MissingDependency:
            row[f"{name}_ms_ssim"] = None
    return row
