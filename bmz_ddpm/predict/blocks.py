"""Denoise one block: the same function here, in a worker process and on a cluster."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..data.channels import select_channels
from ..data.images import check_finite
from ..data.lazy import open_image, read_block
from ..errors import DataError
from ..package.load import Model, load_model
from ..runtime.position import PlacedBackend
from .plan import Block, Job


@dataclass(frozen=True)
class Finished:
    """A block whose pixels are on the disk, with a checksum per output."""

    number: int
    checksums: list[int]


def mirrored_places(start: int, stop: int, size: int) -> np.ndarray:
    """Return which pixels stand at start, …, stop − 1 of an axis mirrored beyond its ends.

    The border pixel is repeated once, as by ``np.pad(…, mode="symmetric")``.
    """
    places = np.arange(start, stop) % (2 * size)
    return np.minimum(places, 2 * size - 1 - places)


class Workshop:
    """An open model, an open image and the arrays that take the results.

    Parameters
    ----------
    job : Job
    device : str
    model : Model, optional
        Where it is open already.
    """

    def __init__(self, job: Job, device: str, model: Model | None = None) -> None:
        import zarr

        self.job = job
        self.model = model or load_model(job.model, job.settings, job.engine, device)
        image = select_channels(open_image(job.image, job.axes), job.channel, job.image)
        self.image: xr.DataArray = image.transpose(..., "y", "x")
        groups: list[Any] = [
            zarr.open_group(stage_of(job.stage, name), mode="r+") for name in job.outputs
        ]
        self.targets = [g["0"].with_config({"write_empty_chunks": True}) for g in groups]

    def read(self, block: Block) -> np.ndarray:
        """Return a block with its halo, mirrored beyond the image: (C, Y, X) float32 counts.

        Raises
        ------
        DataError
            If that part of the file cannot be read.
        """
        tiling = self.job.grid.tiling
        places = []
        for start, extent, size in zip(
            (block.top, block.left), self.job.grid.extent(block), self._plane, strict=True
        ):
            reach = -(-extent // tiling.inner) * tiling.inner + tiling.halo
            places.append(mirrored_places(start - tiling.halo, start + reach, size))
        y, x = (slice(int(p.min()), int(p.max()) + 1) for p in places)
        where: dict[str, Any] = {"y": y, "x": x}
        where |= {a: i for a, i in (("t", block.t), ("z", block.z)) if a in self.image.dims}
        values = read_block(self.job.image, self.image, **where)
        check_finite(self.job.image, values)
        if values.ndim == 2:
            values = values[None]
        values = values[:, places[0] - y.start][:, :, places[1] - x.start]
        return np.ascontiguousarray(values, np.float32)

    @property
    def _plane(self) -> tuple[int, int]:
        return self.image.sizes["y"], self.image.sizes["x"]

    def denoise(self, block: Block, tick: Callable[[], None] = lambda: None) -> list[np.ndarray]:
        """Denoise a block and return its outputs, each (C, Y, X) float32; `tick` after each tile.

        Raises
        ------
        DataError
            As `read` does.
        """
        tiling, (h, w) = self.job.grid.tiling, self.job.grid.extent(block)
        region = self.read(block)
        results: list[np.ndarray] = []
        for y in range(0, h, tiling.inner):
            for x in range(0, w, tiling.inner):
                tile = region[None, :, y : y + tiling.tile, x : x + tiling.tile]
                if self.job.noise == "position":
                    assert isinstance(self.model.backend, PlacedBackend)  # checked by run
                    corner = block.top + y - tiling.halo, block.left + x - tiling.halo
                    outputs = self.model.backend.at(tile, *corner)
                else:
                    outputs = self.model.backend(tile)
                results = results or [np.zeros((o.shape[1], h, w), np.float32) for o in outputs]
                for result, output in zip(results, outputs, strict=True):
                    tiling.paste(result, output[0], y, x)
                tick()
        return results

    def finish(self, block: Block, tick: Callable[[], None] = lambda: None) -> Finished:
        """Denoise a block and store the outputs in their types.

        Raises
        ------
        DataError
            As `read` does, or if the disk is full.
        """
        checksums = []
        for target, values in zip(self.targets, self.denoise(block, tick), strict=True):
            stored = as_type(values, target.dtype)
            stored = stored if "c" in self.job.dims else stored[0]
            try:
                target[self._index(block)] = stored
            except OSError as error:
                raise DataError(
                    f"{self.job.stage}: could not be written ({error.strerror})",
                    "free some space, then repeat: finished blocks are kept",
                ) from error
            checksums.append(checksum(stored))
        return Finished(block.number, checksums)

    def stored(self, block: Block) -> list[int]:
        """Return the checksums of what is stored of a block; [] where it cannot be read."""
        try:
            return [checksum(np.asarray(t[self._index(block)])) for t in self.targets]
        except Exception:  # a chunk that was cut makes its codec raise whatever it likes
            return []

    def _index(self, block: Block) -> tuple[Any, ...]:
        return self.job.place(block)


def stage_of(folder: Path, output: str) -> Path:
    """Return the Zarr group in which an output grows."""
    return folder / f"{output}.zarr"


def as_type(values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Return values in another type: rounded and clipped to what an integer can hold."""
    if dtype.kind in "ui":
        ends = np.iinfo(dtype)
        values = np.clip(np.rint(values.astype(np.float64)), ends.min, ends.max)
    return values.astype(dtype)


def checksum(values: np.ndarray) -> int:
    """Return the CRC-32 of an array's bytes."""
    return zlib.crc32(np.ascontiguousarray(values).tobytes())


@functools.lru_cache(maxsize=1)
def _workshop(job: Job, device: str) -> Workshop:
    return Workshop(job, device)


def finish_block(job: Job, device: str, block: Block) -> Finished:
    """Denoise a block in a worker process, which keeps the model and the image open.

    Raises
    ------
    UserError
    """
    return _workshop(job, device).finish(block)
