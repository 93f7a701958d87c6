"""What is to be done, as plain values that can be written down and sent to another machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from ..axes import ORDER
from ..diffusion.assemble import SamplerSettings
from ..runtime.tiling import Tiling, economical, whole

Noise = Literal["content", "position"]
Format = Literal["auto", "tif", "ome-tif", "ome-zarr", "ome-zarr-0.4", "ome-zarr-0.5"]

#: OME-Zarr wants the axes of space together.
ZARR_ORDER = "tczyx"
#: A block is made of as many whole tiles as fit into this side.
BLOCK = 1024
#: Largest tile, and halo: with 64 pixels the shipped models show no seams (packaging/benchmarks).
TILE, HALO = 512, 64


@dataclass(frozen=True)
class Request:
    """What the user asks for, the same for all images.

    Attributes
    ----------
    model : Path
    settings : SamplerSettings
        For checkpoints; packages bring their own.
    engine : "auto", "onnx", "torchscript" or "torch"
    devices : tuple of str
        Several: one worker process each.
    tile : int or None
        Side of a tile; 0: the whole plane at once; None: at most `TILE`, as suits the image.
    halo : int or None
        Border of a tile that is discarded; None: `HALO`. Where both are None, a package's own tiles
        are taken: other programs use them, too, and show the same image to the last digit.
    out : Path
        Folder for the results.
    axes, channel : str
        What the user says about the image, and which channels to take.
    format : str
    dtype : "float32" or "input"
    noise : "auto", "content" or "position"
    chunk : int
        Wanted side of what is stored together, in pixels; 0: as `BLOCK`.
    pyramid : bool
    memory : int
        Bytes that one worker may use; 0: no limit.
    scheduler : str
        Address of a Dask scheduler; "" for this machine.
    """

    model: Path
    settings: SamplerSettings
    engine: str = "auto"
    devices: tuple[str, ...] = ("cpu",)
    tile: int | None = None
    halo: int | None = None
    out: Path = Path("denoised")
    axes: str = ""
    channel: str = ""
    format: Format = "auto"
    dtype: Literal["float32", "input"] = "float32"
    noise: Literal["auto", "content", "position"] = "auto"
    chunk: int = 0
    pyramid: bool = True
    memory: int = 0
    scheduler: str = ""


@dataclass(frozen=True)
class Block:
    """A square of whole tiles in one plane, with its number; (top, left) in pixels."""

    number: int
    t: int
    z: int
    top: int
    left: int


@dataclass(frozen=True)
class Grid:
    """How an image is cut into blocks, and blocks into tiles.

    Attributes
    ----------
    times, planes, rows, columns : int
        Of the image.
    tiling : Tiling
    side : int
        Of a block, in pixels: a multiple of the tile's inner side.
    """

    times: int
    planes: int
    rows: int
    columns: int
    tiling: Tiling
    side: int

    def blocks(self) -> Iterator[Block]:
        """Go through all blocks, in the order t, z, y, x."""
        number = 0
        for t in range(self.times):
            for z in range(self.planes):
                for top in range(0, self.rows, self.side):
                    for left in range(0, self.columns, self.side):
                        yield Block(number, t, z, top, left)
                        number += 1

    def extent(self, block: Block) -> tuple[int, int]:
        """Return the rows and columns of a block that lie in the image."""
        return min(self.side, self.rows - block.top), min(self.side, self.columns - block.left)

    def tiles(self, block: Block) -> int:
        """Return the number of tiles in a block."""
        return self.tiling.count(*self.extent(block))

    @property
    def count(self) -> int:
        """Number of blocks."""
        down, across = -(-self.rows // self.side), -(-self.columns // self.side)
        return self.times * self.planes * down * across

    @property
    def total_tiles(self) -> int:
        """Number of tiles in all blocks."""
        return self.times * self.planes * self.tiling.count(self.rows, self.columns)


def choose_tiling(image: xr.DataArray, request: Request, declared: Tiling | None) -> Tiling:
    """Return the tiles that were asked for, those of a package, or what suits the image.

    Parameters
    ----------
    image : DataArray
    request : Request
    declared : Tiling or None
        A package's own.
    """
    if declared and request.tile is None and request.halo is None:
        return declared
    halo = HALO if request.halo is None else request.halo
    rows, columns = image.sizes["y"], image.sizes["x"]
    if request.tile is None:
        return economical(rows, columns, halo, TILE)
    return Tiling(request.tile, halo) if request.tile else whole(rows, columns, halo)


def make_grid(image: xr.DataArray, used: Tiling, chunk: int) -> Grid:
    """Cut an image into blocks of whole tiles.

    Parameters
    ----------
    image : DataArray
    used : Tiling
    chunk : int
        Wanted side of a block in pixels; the nearest multiple of the tile's inner side is taken.
    """
    rows, columns = image.sizes["y"], image.sizes["x"]
    tiles = max(1, round(chunk / used.inner)) if chunk else max(1, BLOCK // used.inner)
    most = -(-max(rows, columns) // used.inner)
    side = used.inner * min(tiles, most)
    return Grid(image.sizes.get("t", 1), image.sizes.get("z", 1), rows, columns, used, side)


@dataclass(frozen=True)
class Job:
    """One image to be denoised: everything that a worker has to know.

    Attributes
    ----------
    model, settings, engine
        See `Request`.
    image : Path
    axes, channel : str
    grid : Grid
    noise : "content" or "position"
    stage : Path
        Folder in which the results grow.
    outputs : tuple of str
        "denoised", "std" …
    dims : tuple of str
        Of the results.
    """

    model: Path
    settings: SamplerSettings
    engine: str
    image: Path
    axes: str
    channel: str
    grid: Grid
    noise: Noise
    stage: Path
    outputs: tuple[str, ...]
    dims: tuple[str, ...]

    def place(self, block: Block) -> tuple[Any, ...]:
        """Return where a block lies in the arrays of results, as an index."""
        h, w = self.grid.extent(block)
        index: dict[str, Any] = {"t": block.t, "z": block.z, "c": slice(None)}
        index |= {"y": slice(block.top, block.top + h), "x": slice(block.left, block.left + w)}
        return tuple(index[a] for a in self.dims)


def output_dims(image: xr.DataArray, channels: int, order: str = ORDER) -> tuple[str, ...]:
    """Return the axes of the results: those of the image, and c where the model gives several."""
    return tuple(a for a in order if a in image.dims or (a == "c" and channels > 1))


def output_shape(sizes: Mapping[str, int], dims: tuple[str, ...], channels: int) -> tuple[int, ...]:
    """Return the shape of the results."""
    return tuple(channels if a == "c" else sizes[a] for a in dims)


def output_types(
    outputs: tuple[str, ...], dtype: str, stored: np.dtype[Any]
) -> dict[str, np.dtype[Any]]:
    """Return the type of each result; std and entropy, whose digits count, stay float32."""
    plain = np.dtype(np.float32)
    of_input = stored.newbyteorder("=") if dtype == "input" else plain
    return {n: plain if n in ("std", "entropy") else of_input for n in outputs}
