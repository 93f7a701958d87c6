"""What the widget does in its thread; it knows nothing of Qt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from ..errors import DataError


class Cancelled(Exception):
    """Raised in the thread when nobody waits for the result any more."""


@dataclass(frozen=True)
class Settings:
    """What the user chose.

    Attributes
    ----------
    model : Path
        Package, checkpoint, .pt or .onnx file.
    engine, device : str
    profile : str
        Name of a sampler in `diffusion.profiles`, for checkpoints; in packages it is fixed.
    """

    model: Path
    engine: str = "auto"
    device: str = "cpu"
    profile: str = "balanced"


def run(
    image: xr.DataArray,
    name: str,
    settings: Settings,
    progress: Callable[[int, int], None],
    note: Callable[[str], None],
    stopped: Callable[[], bool],
) -> dict[str, xr.DataArray]:
    """Denoise an image.

    Parameters
    ----------
    image : DataArray
        Dimensions out of "tzcyx", in counts; read here, where it may take its time.
    name : str
        For messages.
    settings : Settings
    progress : callable
        Called with (tiles done, tiles in all).
    note : callable
        Called with a line about what should be known of the image.
    stopped : callable
        Asked after every tile, and in a checkpoint before every layer of the network.

    Returns
    -------
    dict of DataArray
        By output, as `runtime.predictor.denoise` gives them.

    Raises
    ------
    Cancelled
        If `stopped` said so.
    UserError
        If the model or the image cannot be used.
    """
    from ..cli.options import HALO, TILE
    from ..diffusion.profiles import PROFILES
    from ..package.load import load_model
    from ..runtime.predictor import check_image, denoise, intensity_warning
    from ..runtime.tiling import Tiling

    def tick(done: int, total: int) -> None:
        if stopped():
            raise Cancelled
        progress(done, total)

    sampler = PROFILES[settings.profile]
    # only our own classes can be stopped within a tile
    own = settings.model.suffix == ".safetensors" and settings.engine == "auto"
    engine = "torch" if own else settings.engine
    model = load_model(settings.model, sampler, engine, settings.device)
    image = _checked(image.compute(), name)
    check_image(image, model.in_channels or image.sizes.get("c", 1), name)
    warning = intensity_warning(image, name, *model.grey_levels) if model.grey_levels else None
    if warning:
        note(warning)
    tiling = model.tiling or Tiling(TILE, HALO)
    planes = image.sizes.get("t", 1) * image.sizes.get("z", 1)
    tick(0, planes * tiling.count(image.sizes["y"], image.sizes["x"]))
    with _stoppable(stopped):
        return denoise(image, model.backend, tiling, tick)


def _checked(image: xr.DataArray, name: str) -> xr.DataArray:
    if image.dtype.kind not in "uif":
        raise DataError(
            f"{name}: pixel type {image.dtype} is not supported, expected integers or float",
            "convert it to 8 bit, 16 bit or float",
        )
    bad = int((~np.isfinite(image.values)).sum()) if image.dtype.kind == "f" else 0
    if bad:
        raise DataError(
            f"{name}: {bad} pixels are NaN or infinite, every pixel must be a number",
            "replace them, e.g. by the local median",
        )
    return image


@contextmanager
def _stoppable(stopped: Callable[[], bool]) -> Iterator[None]:
    """Ask before every layer of a network in PyTorch too: a tile can take minutes.

    The hook sees the layers of all threads of this process, and minds only its own.
    """
    import threading

    from torch.nn.modules.module import register_module_forward_pre_hook

    mine = threading.get_ident()

    def ask(*_: object) -> None:
        if threading.get_ident() == mine and stopped():
            raise Cancelled

    handle = register_module_forward_pre_hook(ask)
    try:
        yield
    finally:
        handle.remove()
