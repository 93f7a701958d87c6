"""An image layer as an image with axes, and where it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ..axes import ORDER
from ..data.metadata import check_axes
from ..errors import DataError
from .layers import Place

if TYPE_CHECKING:
    from napari.layers import Image

#: What arrays without named axes are, by their number of dimensions.
_USUAL = {2: "yx", 3: "zyx", 4: "tzyx", 5: "tczyx"}


def _pixels(layer: Image) -> Any:
    """Return the array at full resolution, which may be lazy."""
    return layer.data[0] if layer.multiscale else layer.data


def guess_axes(layer: Image) -> str:
    """Return the axes of a layer's array: by their labels, or what is usual."""
    labels = [label.strip().lower()[:1] for label in layer.axis_labels]
    named = "".join(labels)
    spatial = named if _sensible(named) else _USUAL.get(layer.ndim, "")
    return spatial + "c" * bool(layer.rgb)


def _sensible(axes: str) -> bool:
    return set(axes) <= set(ORDER) and len(set(axes)) == len(axes) and {"y", "x"} <= set(axes)


def image_of(layer: Image, axes: str, at: tuple[int, ...] | None) -> tuple[xr.DataArray, Place]:
    """Return a layer's image and its place.

    Parameters
    ----------
    layer : Image
    axes : str
        One letter out of "tzcyx" per axis of the array.
    at : tuple of int, optional
        One index per axis of the layer: only the plane there is taken, with axes of length 1.

    Raises
    ------
    DataError
        If the letters do not fit the array.
    """
    array = _pixels(layer)
    check_axes(axes, f"{layer.name}: ")
    if len(axes) != array.ndim:
        raise DataError(
            f"{layer.name}: has {array.ndim} axes ({' x '.join(map(str, array.shape))}) but "
            f"'{axes}' names {len(axes)}",
            "write one letter per axis, e.g. zyx",
        )
    spatial = axes[:-1] if layer.rgb else axes
    scale = tuple(layer.scale)
    translate = np.array(layer.translate, float)
    image = xr.DataArray(array, dims=tuple(axes))
    if at is not None:
        picked = {a: min(max(i, 0), image.sizes[a] - 1) for a, i in zip(spatial, at, strict=True)}
        picked = {a: i for a, i in picked.items() if a in "tz"}
        image = image.isel({a: slice(i, i + 1) for a, i in picked.items()})
        translate += [scale[i] * picked.get(a, 0) for i, a in enumerate(spatial)]
    by_axis: dict[str, tuple[Any, ...]] = {
        "scale": scale,
        "translate": tuple(translate),
        "units": tuple(layer.units),
        "axis_labels": tuple(layer.axis_labels),
    }
    by_matrix = {"rotate": layer.rotate, "shear": layer.shear, "affine": layer.affine}
    return image.transpose(*[a for a in ORDER if a in axes]), Place(spatial, by_axis, by_matrix)
