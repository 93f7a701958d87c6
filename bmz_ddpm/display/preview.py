"""One picture that shows a result: noisy, denoised, and how sure the model is."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

import xarray as xr

from .layout import Panel, draw_sheet
from .scale import BRIGHT, COLOURS, DARK, grey_limits, spread_limits
from .views import View, Window, choose_window, middle_plane, read_view

#: Channels there is room for.
MOST_CHANNELS = 8
_GREY, _NATS = "grey levels", "nats"
#: What is said about the range, by whether noisy and denoised share it.
_RANGE = {
    True: f"Noisy and denoised share their range: {DARK:g} to {BRIGHT:g} % of the denoised plane.",
    False: f"Noisy and denoised each have their range, {DARK:g} to {BRIGHT:g} % of their plane: "
    "in a common one the noisy image could not be seen.",
}


def draw_preview(
    noisy: xr.DataArray,
    results: Mapping[str, xr.DataArray],
    title: str,
    centre: tuple[int, int] | None = None,
) -> bytes:
    """Draw noisy and denoised image and the maps of one plane side by side.

    Of a stack or time series the plane in the middle is shown; of a plane larger than 640 pixels
    the whole made smaller, and below it a part of 512 pixels as it is. The picture says so.
    Arrays may be lazy: what is not shown is not read, and a large plane goes by in strips.

    Parameters
    ----------
    noisy : DataArray
        Dimensions out of "tzcyx", in counts; ``attrs["pixel_size"]`` (y, x) in micrometre.
    results : mapping of DataArray
        "denoised" and, where there are such, "std", "lower", "upper" (counts) and "entropy"
        (nats), of the same size; other names are not shown.
    title : str
        Name of the image.
    centre : (int, int), optional
        Row and column, from 0, around which the part at full resolution lies.

    Returns
    -------
    bytes
        A PNG. Noisy and denoised share their range, the percentiles 0.5 and 99.8 of the denoised
        plane, unless nothing of the noisy one could be seen in it.

    Raises
    ------
    ConfigError
        If `centre` is not in the image.
    """
    denoised = results["denoised"]
    window = choose_window((denoised.sizes["y"], denoised.sizes["x"]), centre)
    planes = {name: middle_plane(r) for name, r in {"noisy": noisy, **results}.items()}
    count = denoised.sizes.get("c", 1)
    shown = min(count, MOST_CHANNELS)
    rows = [
        (_channel_name(denoised, i) if count > 1 else "", _panels(planes, i, window))
        for i in range(shown)
    ]
    shared = all(panels[0].limits == panels[1].limits for _, panels in rows)
    said = [f"{_place(denoised, window)} {_RANGE[shared]} Maps end at {BRIGHT:g} %."]
    if count > shown:
        said.append(f"The first {shown} of {count} channels are shown.")
    size = noisy.attrs.get("pixel_size")
    if size and abs(size[0] / size[1] - 1) > 0.01:
        said.append(
            f"A pixel is {size[0]:.4g} µm high and {size[1]:.4g} µm wide but drawn square: the "
            "bar holds along x."
        )
    picture = draw_sheet(title, said, rows, window, size[1] if size else None)
    stream = BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def _channel_name(image: xr.DataArray, index: int) -> str:
    names = image.attrs.get("channel_names", ())
    known = f": {names[index]}" if len(names) == image.sizes["c"] and names[index] else ""
    return f"channel {index + 1}{known}"


def _channel(plane: xr.DataArray, index: int) -> xr.DataArray:
    """A model may make one clean channel of several noisy ones: then the first is shown."""
    if "c" not in plane.dims:
        return plane
    return plane.isel(c=index if index < plane.sizes["c"] else 0)


def _panels(planes: Mapping[str, xr.DataArray], channel: int, window: Window) -> list[Panel]:
    """Return what is shown of a channel."""
    layers = {name: _channel(plane, channel) for name, plane in planes.items()}
    noisy = read_view(layers["noisy"], window)
    denoised = read_view(layers["denoised"], window)
    limits = grey_limits(denoised.sample)
    own = _out_of_sight(noisy, limits)
    panels = [
        Panel("noisy (range of its own)", noisy, grey_limits(noisy.sample), _GREY)
        if own
        else Panel("noisy", noisy, limits, _GREY),
        Panel("denoised", denoised, limits, _GREY),
    ]
    maps = [("uncertainty (std)", "std", _GREY), ("entropy", "entropy", _NATS)]
    for title, name, unit in maps:
        if name in layers:
            view = read_view(layers[name], window)
            panels.append(Panel(title, view, spread_limits(view.sample), unit, COLOURS[name]))
    if "lower" in layers and "upper" in layers:
        view = read_view(layers["upper"] - layers["lower"], window)
        range_ = spread_limits(view.sample)
        panels.append(Panel("interval: upper − lower", view, range_, _GREY, COLOURS["std"]))
    return panels


def _out_of_sight(noisy: View, limits: tuple[float, float]) -> bool:
    """Say if the noisy image would be all black or all white in this range."""
    low, high = grey_limits(noisy.sample)
    quarter = (limits[1] - limits[0]) / 4
    return high < limits[0] + quarter or low > limits[1] - quarter


def _place(image: xr.DataArray, window: Window) -> str:
    """Say which part of the image is shown, and how."""
    rows, columns = window.plane
    stack = [
        f"{axis} {image.sizes[axis] // 2 + 1} of {image.sizes[axis]}"
        for axis in "tz"
        if image.sizes.get(axis, 1) > 1
    ]
    said = f"Plane in the middle: {', '.join(stack)}. " if stack else ""
    if window.whole:
        return f"{said}All {rows} x {columns} pixels."
    n = window.factor
    return (
        f"{said}Upper row: all {rows} x {columns} pixels, averaged {n} x {n}. Lower row: the "
        f"frame, rows {window.y} to {window.y + window.height - 1}, columns {window.x} to "
        f"{window.x + window.width - 1}, every pixel as it is."
    )
