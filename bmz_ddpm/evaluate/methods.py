"""Where predictions come from: a model, a folder of images, or a method without a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from ..data.images import SUFFIXES, read_image
from ..data.noise import fit_noise
from ..errors import DataError
from ..runtime.backends import Backend, torch_backend
from ..runtime.predictor import check_image, denoise
from ..runtime.tiling import Tiling, whole
from .classical import best_gaussian, bm3d_stabilised
from .prediction import Prediction, as_planes

Baseline = Literal["raw", "gaussian", "bm3d"]

#: Of (name of the image, noisy image, clean image): both with dimensions out of "tzcyx".
Method = Callable[[str, xr.DataArray, xr.DataArray], Prediction]


def recording(module: Any, device: str = "cpu") -> Backend:
    """Run a `DiffusionSampler` and keep its samples.

    Returns
    -------
    Backend
        Its first output holds the mean and behind it, as further channels, the samples:
        (B, C + N·C, Y, X), in counts. The others are std and entropy.
    """
    kept: list[Any] = []
    draw = module.sample

    def sample(*arguments: Any) -> Any:
        drawn = draw(*arguments)
        kept.append((drawn * module.intensity[3] + module.intensity[2]).cpu())
        return drawn

    module.sample = sample
    run = torch_backend(module, device)

    def run_and_keep(image: np.ndarray) -> tuple[np.ndarray, ...]:
        kept.clear()
        mean, *others = run(image)
        rows, columns = image.shape[2:]
        samples = [s for part in kept for s in part.numpy()[..., :rows, :columns]]
        kept.clear()
        return np.concatenate([mean, *samples], 1), *others

    return run_and_keep


def from_backend(
    backend: Backend,
    tiling: Tiling | None,
    halo: int,
    in_channels: int | None,
    count: int | None,
    recorded: bool = False,
) -> Method:
    """Predict with a model.

    Parameters
    ----------
    backend : Backend
    tiling : Tiling or None
        None for the whole image at once, with `halo` around it.
    in_channels : int or None
    count : int or None
        Number of samples it averages.
    recorded : bool
        `backend` comes from `recording`.
    """

    def predict(name: str, low: xr.DataArray, high: xr.DataArray) -> Prediction:
        check_image(low, in_channels or low.sizes.get("c", 1), name)
        used = tiling or whole(low.sizes["y"], low.sizes["x"], halo)
        outputs = denoise(low, backend, used)
        std, entropy = as_planes(outputs["std"]), as_planes(outputs["entropy"])
        if not recorded or count is None:
            return Prediction(as_planes(outputs["denoised"]), std, entropy, count=count)
        stack = as_planes(outputs["denoised"])  # (T·Z·(1 + N)·C, Y, X)
        stack = stack.reshape(-1, 1 + count, outputs["std"].sizes.get("c", 1), *stack.shape[1:])
        stack = np.moveaxis(stack, 1, 0).reshape(1 + count, -1, *stack.shape[3:])
        return Prediction(stack[0], std, entropy, stack[1:], count)

    return predict


def from_folder(folder: Path, count: int | None = None) -> Method:
    """Read predictions that another program made.

    Parameters
    ----------
    folder : Path
        Holds NAME.tif or NAME_denoised.tif (also .tiff, .png) for every image, and NAME_std.tif
        where there is one.
    count : int, optional
        Of how many samples each is the mean.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: is no folder", "name the folder with the predictions")

    def predict(name: str, low: xr.DataArray, high: xr.DataArray) -> Prediction:
        found = _find(folder, name, "", "_denoised")
        if found is None:
            raise DataError(
                f"{folder}: holds no prediction '{name}.tif' or '{name}_denoised.tif'",
                "call it after its noisy image",
            )
        std = _find(folder, name, "_std")
        return Prediction(
            as_planes(read_image(found)),
            None if std is None else as_planes(read_image(std)),
            count=count,
            source=str(found.absolute()),
        )

    return predict


def _find(folder: Path, name: str, *endings: str) -> Path | None:
    for ending in endings:
        for suffix in sorted(SUFFIXES):
            if (folder / f"{name}{ending}{suffix}").is_file():
                return folder / f"{name}{ending}{suffix}"
    return None


def from_baseline(kind: Baseline, peak: float) -> Method:
    """Predict without a network.

    Parameters
    ----------
    kind : "raw", "gaussian" or "bm3d"
        The noisy image itself; the blur that fits the truth best, plane by plane; BM3D with the
        noise fitted on the truth. The last two know the truth: no method, but what to beat.
    peak : float
        Largest possible count.
    """

    def predict(name: str, low: xr.DataArray, high: xr.DataArray) -> Prediction:
        noisy, clean = as_planes(low), as_planes(high)
        if kind == "raw":
            return Prediction(noisy)
        if noisy.shape != clean.shape:
            raise DataError(
                f"{name}: noisy and clean image differ in size, the baseline needs both",
                "crop or register the pair first",
            )
        planes = [_filtered(kind, n, c, peak) for n, c in zip(noisy, clean, strict=True)]
        return Prediction(np.stack(planes).astype(np.float32))

    return predict


def _filtered(kind: str, noisy: np.ndarray, clean: np.ndarray, peak: float) -> np.ndarray:
    if kind == "gaussian":
        unit = 255.0 / peak  # the search scores as if the images had 8 bits
        return best_gaussian(noisy * unit, clean * unit)[0] / unit
    noise = fit_noise([(noisy, clean)])
    return bm3d_stabilised(noisy, noise)
