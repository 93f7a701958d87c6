"""Open what `bmz-ddpm predict` wrote: one file of a result brings the others along."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .layers import LayerData

#: Outputs of a model, by which its files end.
OUTPUTS = ("denoised", "std", "entropy", "lower", "upper")
_ENDINGS = (".tif", ".ome.tif", ".ome.zarr")


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """Return our reader if these are results of predict, else None.

    Parameters
    ----------
    path : str or list of str
        As napari gives it.
    """
    paths = [path] if isinstance(path, str) else path
    return read_results if paths and all(_split(Path(p)) for p in paths) else None


def read_results(path: str | list[str]) -> list[LayerData]:
    """Read results: for each of the files also the other outputs of the same image, once.

    The noisy image is read too where it lies in the same folder or the one above, as it does
    after ``bmz-ddpm predict model.zip cells.tif``, and has the same size.

    Raises
    ------
    UserError
        If a file cannot be read.
    """
    found: dict[tuple[Path, str, str], None] = {}
    for each in [path] if isinstance(path, str) else path:
        parts = _split(Path(each))
        if parts:
            found[parts] = None
    return [layer for parts in found for layer in _result_set(*parts)]


def _split(path: Path) -> tuple[Path, str, str] | None:
    """Return folder, image name and ending of a result, None if it is none."""
    for ending in _ENDINGS[::-1]:  # the longest first
        for output in OUTPUTS:
            tail = f"_{output}{ending}"
            if path.name.lower().endswith(tail) and len(path.name) > len(tail):
                return path.parent, path.name[: -len(tail)], path.name[-len(ending) :]
    return None


def _result_set(folder: Path, name: str, ending: str) -> list[LayerData]:
    from ..data.images import read_image
    from .layers import place_of, result_layers

    files = {output: folder / f"{name}_{output}{ending}" for output in OUTPUTS}
    results = {output: read_image(file) for output, file in files.items() if file.exists()}
    first = next(iter(results.values()))
    layers = _noisy(folder, name, {a: first.sizes[a] for a in "yx"})
    return layers + result_layers(results, name, place_of(first), {"folder": str(folder)})


def _noisy(folder: Path, name: str, size: dict[str, int]) -> list[LayerData]:
    """Return the image the results were made of, if it is where predict leaves it."""
    from ..data.images import read_image
    from ..errors import UserError
    from .layers import place_of, result_layers

    for place in (folder, folder.parent):
        for ending in (*_ENDINGS, ".tiff", ".ome.tiff", ".png"):
            try:
                image = read_image(place / f"{name}{ending}")
            except UserError:
                continue
            if {a: image.sizes[a] for a in "yx"} == size:
                return result_layers({"": image}, name, place_of(image), {"folder": str(place)})
    return []
