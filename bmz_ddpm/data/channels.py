"""Choose channels of an image, by their names or numbers."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from ..errors import DataError, did_you_mean


def select_channels(image: xr.DataArray, wanted: str, path: Path) -> xr.DataArray:
    """Keep some channels of an image.

    Parameters
    ----------
    image : DataArray
        As `images.read_image` returns it.
    wanted : str
        A name, or a number counted from 1 as in Fiji, or several with commas between them;
        "" keeps all. Names go first: a channel may be called "488".
    path : Path
        For messages.

    Returns
    -------
    DataArray
        With the channels in the order in which they were wanted.

    Raises
    ------
    DataError
        If there is no such channel, or several of that name.
    """
    if not wanted:
        return image
    count = image.sizes.get("c", 1)
    names = image.attrs.get("channel_names", ())
    parts = [wanted] if wanted in names else [part.strip() for part in wanted.split(",")]
    chosen = [_index(part, names, count, path) for part in parts]
    if "c" not in image.dims:
        return image
    selected = image.isel(c=chosen)
    if names:
        selected.attrs["channel_names"] = tuple(names[i] for i in chosen)
    return selected


def _index(wanted: str, names: tuple[str, ...], count: int, path: Path) -> int:
    for same in (
        [i for i, name in enumerate(names) if name == wanted],
        [i for i, name in enumerate(names) if name.casefold() == wanted.casefold()],
    ):
        if len(same) > 1:
            raise DataError(
                f"{path}: {len(same)} channels are called '{wanted}', one is expected",
                "name it by its number: " + ", ".join(str(i + 1) for i in same),
            )
        if same:
            return same[0]
    if wanted.isdecimal() and 1 <= int(wanted) <= count:
        return int(wanted) - 1
    listed = ", ".join(f"{i + 1} ({name})" if name else str(i + 1) for i, name in enumerate(names))
    listed = listed or ("1" if count == 1 else f"1 to {count}, without names")
    raise DataError(
        f"{path}: has no channel '{wanted}'{did_you_mean(wanted, names)}, "
        f"its channels are {listed}",
        "choose one of them; numbers count from 1",
    )
