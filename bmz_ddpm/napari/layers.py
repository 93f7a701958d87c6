"""Results as layers of napari: one per output and channel, in place, in colour, in range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from ..display.scale import COLOURS, grey_limits, spread_limits

#: Data, arguments of the layer, and its kind, as napari takes them from a reader.
LayerData = tuple[Any, dict[str, Any], str]
#: Outputs that are maps: they start at 0, and are hidden until they are asked for.
_MAPS = ("std", "entropy")
_ENOUGH = 1_000_000


@dataclass(frozen=True)
class Place:
    """Where and how a layer lies in the world.

    Attributes
    ----------
    axes : str
        Letters out of "tzcyx", in the order of the arrays.
    by_axis : dict of str to tuple
        "scale", "translate", "units", "axis_labels": one value per axis.
    by_matrix : dict of str to array
        "rotate", "shear", "affine": of no use once an axis is gone.
    """

    axes: str
    by_axis: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    by_matrix: dict[str, Any] = field(default_factory=dict)

    def arguments(self, dims: str) -> dict[str, Any]:
        """Return the arguments of a layer that has only these axes."""
        kept = [self.axes.index(a) for a in dims]
        found = {name: tuple(v[i] for i in kept) for name, v in self.by_axis.items()}
        return found | (self.by_matrix if dims == self.axes else {})


def place_of(image: xr.DataArray) -> Place:
    """Return the place of an image from a file: its pixel size, in micrometre."""
    axes = "".join(map(str, image.dims))
    labels: dict[str, tuple[Any, ...]] = {"axis_labels": tuple(axes)}
    size = image.attrs.get("pixel_size")
    if size:
        known = dict(zip("yx", size, strict=True))
        labels["scale"] = tuple(known.get(a, 1.0) for a in axes)
        labels["units"] = tuple("micrometer" if a in known else "pixel" for a in axes)
    return Place(axes, labels)


def result_layers(
    results: Mapping[str, xr.DataArray], name: str, place: Place, metadata: Mapping[str, Any]
) -> list[LayerData]:
    """Turn results into layers; the denoised image comes last and so lies on top.

    Parameters
    ----------
    results : mapping of DataArray
        By output, "" for the image they were made of; dimensions out of "tzcyx".
    name : str
        Of the image: layers are called NAME_denoised and so on, which is what predict calls its
        files, so that layers that were saved can be opened with our reader.
    place : Place
        Of the image, with all axes of the results.
    metadata : mapping
        For all layers.
    """
    order = sorted(results, key=lambda output: (output == "denoised", output not in _MAPS))
    grey = grey_limits(_sample(results["denoised"])) if "denoised" in results else None
    layers = []
    for output in order:
        limits = spread_limits if output in _MAPS else grey_limits
        for title, channel in _channels(results[output]):
            axes = "".join(map(str, channel.dims))
            arguments = place.arguments(axes) | {
                "name": (f"{name}_{output}" if output else name) + title,
                "colormap": COLOURS.get(output, "gray"),
                "contrast_limits": (
                    grey if grey and output in ("lower", "upper") else limits(_sample(channel))
                ),
                "visible": output in ("", "denoised"),
                "metadata": {**metadata, "bmz_ddpm_output": output},
            }
            layers.append((channel.data, arguments, "image"))
    return layers


def _channels(image: xr.DataArray) -> list[tuple[str, xr.DataArray]]:
    """Return the channels, each with what is added to its name."""
    if "c" not in image.dims:
        return [("", image)]
    count, names = image.sizes["c"], image.attrs.get("channel_names", ())
    if count == 1:
        return [("", image.isel(c=0))]
    known = len(names) == count
    return [
        (f" {names[i]}" if known and names[i] else f" channel {i + 1}", image.isel(c=i))
        for i in range(count)
    ]


def _sample(image: xr.DataArray) -> np.ndarray:
    """Return at most about a million pixels on an even grid along y and x."""
    step = max(1, round((image.size / _ENOUGH) ** 0.5))
    return np.asarray(image.isel(y=slice(0, None, step), x=slice(0, None, step)).values).ravel()
