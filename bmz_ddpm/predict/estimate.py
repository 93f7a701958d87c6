"""What a run will need, before it is started: blocks, passes, memory, time, space."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..data.lazy import largest_read
from ..errors import ConfigError
from ..package.load import Model
from .plan import Block, Grid, Job

UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def parse_memory(text: str) -> int:
    """Return the bytes that "2GB", "500 MB" or "1.5GiB" mean; 0 for "".

    Raises
    ------
    ConfigError
        If it is no such size.
    """
    if not text:
        return 0
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if not found or not float(found[1]):
        raise ConfigError(f"--memory {text}: is no size", "e.g. --memory 2GB or --memory 800MB")
    unit = UNITS[found[2].upper()]
    if found[3] and unit > 1:
        unit = 1024 ** round(math.log(unit, 1000))
    return int(float(found[1]) * unit)


def peak_memory() -> int:
    """Return the most bytes that this process has had in memory; 0 where it cannot be told."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss counts the process that started this one, too
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS, in bytes


@dataclass(frozen=True)
class Probe:
    """One tile, measured: seconds, and the most bytes this process had by then."""

    seconds: float
    peak: int


def probe(model: Model, image: xr.DataArray, grid: Grid) -> Probe:
    """Run one tile of noise, as large as the image's tiles."""
    channels, side = image.sizes.get("c", 1), grid.tiling.tile
    tile = np.random.default_rng(0).uniform(0, 255, (1, channels, side, side)).astype(np.float32)
    start = time.perf_counter()
    model.backend(tile)
    return Probe(time.perf_counter() - start, peak_memory())


def block_memory(image: xr.DataArray, grid: Grid, outputs: int, channels: int) -> int:
    """Return the bytes that a block needs besides the network.

    Parameters
    ----------
    image : DataArray
    grid : Grid
    outputs : int
        Number of results.
    channels : int
        Of each.
    """
    outer, inner = (grid.side + 2 * grid.tiling.halo) ** 2, grid.side**2
    # what is read is joined from pieces, copied where it is mirrored, and made float32
    read = 2 * outer * image.sizes.get("c", 1) * (image.dtype.itemsize + 4) + largest_read(image)
    # each result as float32; one at a time is rounded in float64 and compressed
    made = inner * channels * (4 * outputs + 24)
    halved = 4 * inner * 20
    return read + max(made, halved)


def fit_memory(
    image: xr.DataArray, grid: Grid, outputs: int, channels: int, limit: int, used: int
) -> Grid:
    """Return a grid whose blocks fit into a budget: the same, or one with smaller blocks.

    Parameters
    ----------
    limit : int
        Bytes allowed.
    used : int
        Bytes that the program, the network and one tile need.

    Raises
    ------
    ConfigError
        If a single tile does not fit.
    """
    while used + block_memory(image, grid, outputs, channels) > limit:
        if grid.side <= grid.tiling.inner:
            need = used + block_memory(image, grid, outputs, channels)
            raise ConfigError(
                f"--memory {limit / 1e9:.2f}GB: blocks of a single tile of {grid.tiling.tile} "
                f"pixels need {need / 1e9:.2f}GB",
                "allow more memory, or choose a smaller --tile",
            )
        grid = replace(grid, side=grid.side - grid.tiling.inner)
    return grid


def estimate(
    job: Job,
    model: Model,
    image: xr.DataArray,
    shape: tuple[int, ...],
    types: dict[str, np.dtype[Any]],
    workers: int,
) -> list[str]:
    """Measure one tile, and say in some lines what the whole image needs.

    Parameters
    ----------
    job : Job
    model : Model
    image : DataArray
    shape, types
        Of the results.
    workers : int
        Processes that share the work.
    """
    grid, channels = job.grid, shape[job.dims.index("c")] if "c" in job.dims else 1
    measured = probe(model, image, grid)
    first: Block = next(grid.blocks())
    sizes = " x ".join(f"{image.sizes[a]} {a}" for a in map(str, image.dims))
    passes = f"{grid.total_tiles} tiles of {grid.tiling.tile} pixels (halo {grid.tiling.halo})"
    if model.num_samples and model.num_steps:
        each = model.num_samples * model.num_steps
        passes += f", {each} network passes each: {grid.total_tiles * each} passes"
    memory = measured.peak + block_memory(image, grid, len(job.outputs), channels)
    seconds = round(measured.seconds * grid.total_tiles / workers)
    space = sum(math.prod(shape) * t.itemsize for t in types.values())
    return [
        f"{job.image.name}: {sizes}, {image.dtype}",
        f"{grid.count} blocks of up to {grid.side} pixels ({grid.tiles(first)} tiles in the first)",
        passes,
        f"{memory / 1e6:,.0f} MB of memory per worker (one tile measured, blocks counted)",
        f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} hours (one tile measured: "
        f"{measured.seconds:.2f} s; {workers} worker{'s' if workers > 1 else ''})",
        f"{space / 1e6:,.0f} MB of results ({', '.join(job.outputs)}), before compression; noise "
        f"keyed on {job.noise}",
    ]
