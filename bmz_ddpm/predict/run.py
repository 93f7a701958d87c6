"""Denoise one file: plan, go on where it stopped, compute, give the results their names."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .. import __version__
from ..axes import ORDER
from ..data.channels import select_channels
from ..data.images import image_name
from ..data.lazy import open_image
from ..errors import ConfigError
from ..package.load import Model
from ..runtime.backends import INTERVAL, OUTPUTS
from ..runtime.likeness import unlike
from ..runtime.position import PlacedBackend
from ..runtime.predictor import check_image
from ..runtime.tiling import GRID
from .blocks import Workshop
from .estimate import estimate, fit_memory, probe
from .journal import JOB, Journal, read_job
from .outputs import choose_format, create_stage, finish_output, target_of, write_record
from .plan import (
    ZARR_ORDER,
    Job,
    Noise,
    Request,
    choose_tiling,
    make_grid,
    output_dims,
    output_shape,
    output_types,
)
from .scan import middle, scan
from .workers import connected, here, on_cluster

#: Called with (tiles done, tiles in all, what else there is to say).
Progress = Callable[[int, int, str], None]
COMPLETE = "complete"


@dataclass(frozen=True)
class Plan:
    """Everything that is known before the work begins.

    Attributes
    ----------
    model : Model
        As it is run: with noise keyed on places where that was decided.
    image : DataArray
        Lazy, with the chosen channels.
    job : Job
    identity : dict
        What decides the results, as written into the journal and the record.
    shape : tuple of int
        Of each result.
    types : dict of dtype
        By the names of the results.
    kind : str
        Of the files, see `outputs.choose_format`.
    targets : list of Path
    record : Path
    notes : list of str
        What the user should know.
    """

    model: Model
    image: xr.DataArray
    job: Job
    identity: dict[str, Any]
    shape: tuple[int, ...]
    types: dict[str, np.dtype[Any]]
    kind: str
    targets: list[Path]
    record: Path
    notes: list[str]


def outputs_of(model: Model, in_channels: int) -> tuple[tuple[str, ...], int]:
    """Try a model: return the names of its results, and the channels of each."""
    tried = model.backend(np.zeros((1, in_channels, GRID, GRID), np.float32))
    return (OUTPUTS + INTERVAL)[: len(tried)], tried[0].shape[1]


def make_plan(path: Path, request: Request, model: Model, model_hash: str) -> Plan:
    """Decide how an image is denoised; its pixels are not read.

    Parameters
    ----------
    path : Path
    request : Request
    model : Model
        The request's model, opened.
    model_hash : str
        SHA-256 of it.

    Raises
    ------
    UserError
        If the image cannot be opened or does not fit the model, or the options do not fit.
    """
    path = path.resolve() if request.scheduler else path
    image = select_channels(open_image(path, request.axes), request.channel, path)
    check_image(image, model.in_channels or image.sizes.get("c", 1), str(path))
    outputs, channels = outputs_of(model, image.sizes.get("c", 1))
    sizes = {str(a): n for a, n in image.sizes.items()}
    types = output_types(outputs, request.dtype, image.dtype)
    plain = output_shape(sizes, output_dims(image, channels), channels)
    kind = choose_format(path, image, request.format, plain, types["denoised"])
    dims = output_dims(image, channels, ZARR_ORDER if "zarr" in kind else ORDER)
    shape = output_shape(sizes, dims, channels)
    noise, notes = choose_noise(image, request, model)
    if noise == "position" and model.placed and not isinstance(model.backend, PlacedBackend):
        model = replace(model, backend=model.placed(), engine="eager")
    name = image_name(path)
    stage = request.out / f"{name}.unfinished"
    before = read_job(stage / JOB) or {}
    tiling = choose_tiling(image, request, model.tiling)
    grid = make_grid(image, tiling, request.chunk or before.get("block", 0))
    if request.memory and not request.scheduler and not before:
        used = probe(model, image, grid).peak
        grid = fit_memory(image, grid, len(outputs), channels, request.memory, used)
    own = request.model.suffix == ".safetensors"  # which the settings apply to
    stat = (path / "zarr.json" if (path / "zarr.json").exists() else path).stat()
    identity = {
        "bmz_ddpm": __version__,
        "model": request.model.name,
        "model_sha256": model_hash,
        "engine": model.engine,
        "sampler": asdict(request.settings) if own else "of the package",
        "image": path.name,
        "image_size": stat.st_size,
        "image_changed": stat.st_mtime_ns,
        "axes": request.axes,
        "channel": request.channel,
        "tile": grid.tiling.tile,
        "halo": grid.tiling.halo,
        "block": grid.side,
        "noise": noise,
        "dtype": {n: t.name for n, t in types.items()},
        "format": kind,
        "pyramid": request.pyramid,
    }
    engine = ("torch" if noise == "position" else "auto") if own else model.engine
    job = Job(
        _absolute(request.model, request),
        request.settings,
        engine,
        path,
        request.axes,
        request.channel,
        grid,
        noise,
        _absolute(stage, request),
        outputs,
        dims,
    )
    targets = [target_of(request.out, path, n, kind) for n in outputs]
    record = request.out / f"{name}_run.json"
    return Plan(model, image, job, identity, shape, types, kind, targets, record, notes)


def _absolute(path: Path, request: Request) -> Path:
    """Workers elsewhere were started in another folder."""
    return path.resolve() if request.scheduler or len(request.devices) > 1 else path


def choose_noise(image: xr.DataArray, request: Request, model: Model) -> tuple[Noise, list[str]]:
    """Return what keys the noise, and what there is to say about it.

    Raises
    ------
    ConfigError
        If it cannot be keyed on places.
    """
    if request.noise == "content":
        return "content", []
    can = isinstance(model.backend, PlacedBackend) or model.placed is not None
    stack = image.sizes.get("t", 1) * image.sizes.get("z", 1) > 1
    if request.noise == "position" and not can:
        raise ConfigError(
            f"--noise position: {request.model.name} runs as {model.engine}, which keys the noise "
            "on content",
            "use --engine torch (packages), or a checkpoint",
        )
    if request.noise == "auto" and stack and not can:
        note = (
            f"{request.model.name} runs as {model.engine}, whose noise differs from plane to "
            "plane; with --engine torch they share it"
        )
        return "content", [note]
    shared = request.noise == "position" or (request.noise == "auto" and stack)
    return "position" if shared else "content", []


def is_finished(plan: Plan) -> bool:
    """Say whether the same run has been finished before, and its results are there."""
    before = read_job(plan.record)
    return (
        before is not None
        and before.get("job") == plan.identity
        and all(p.exists() for p in plan.targets)
    )


def dry_run(plan: Plan, request: Request) -> list[str]:
    """Measure one tile, and say what the run needs."""
    workers = len(request.devices)
    return estimate(plan.job, plan.model, plan.image, plan.shape, plan.types, workers)


def denoise_file(
    plan: Plan,
    request: Request,
    progress: Progress = lambda *_: None,
    warn: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Denoise an image, or go on with it.

    Parameters
    ----------
    plan : Plan
    request : Request
    progress : callable
    warn : callable
        Called with a sentence for each thing that the user should know.

    Returns
    -------
    list of Path
        The results.

    Raises
    ------
    UserError
        What is finished by then stays, and the same call goes on from there.
    """
    start = time.monotonic()
    journal = Journal(plan.job.stage, plan.identity)
    try:
        for note in plan.notes:
            warn(note)
        complete = plan.job.stage / COMPLETE
        if not complete.exists():
            for warning in scan(plan.job.image, plan.image, plan.model.grey_levels):
                warn(warning)
            if plan.model.calibration:
                looked_at = middle(plan.image).load()
                for warning in unlike(looked_at, str(plan.job.image), plan.model.calibration):
                    warn(warning)
            _compute(plan, request, journal, progress)
            complete.touch()
        more = (plan.kind, plan.image, plan.model, request.pyramid)
        for output, target in zip(plan.job.outputs, plan.targets, strict=True):
            finish_output(plan.job, output, target, *more)
        seconds = round(time.monotonic() - start, 1)
        write_record(
            plan.record, plan.identity, plan.targets, seconds=seconds, devices=request.devices
        )
        journal.remove()
    finally:
        journal.close()
    return plan.targets


def _compute(plan: Plan, request: Request, journal: Journal, progress: Progress) -> None:
    job, grid = plan.job, plan.job.grid
    create_stage(job, plan.shape, plan.types, plan.kind)
    workshop = Workshop(job, request.devices[0], plan.model)
    for block in grid.blocks():
        sums = journal.finished.get(block.number)
        if sums is not None and sums != workshop.stored(block):  # the power failed, or a hand
            journal.forget(block.number)
    done = sum(grid.tiles(b) for b in grid.blocks() if b.number in journal.finished)
    before, start, total = done, time.monotonic(), grid.total_tiles
    pixels = grid.times * grid.planes * grid.rows * grid.columns / 1e6 / total  # per tile

    def tick(tiles: int = 1) -> None:
        nonlocal done
        done += tiles
        speed = (done - before) * pixels / max(time.monotonic() - start, 1e-6)
        progress(done, total, f"{speed:.3g} megapixels/s")

    rest = (b for b in grid.blocks() if b.number not in journal.finished)
    with ExitStack() as stack:
        if request.scheduler or len(request.devices) > 1:
            left = {b.number: grid.tiles(b) for b in grid.blocks()}
            client = stack.enter_context(
                connected(request.scheduler, request.devices, request.memory)
            )
            for finished in on_cluster(client, job, list(rest), request.devices):
                journal.add(finished.number, finished.checksums)
                tick(left[finished.number])
        else:
            for finished in here(workshop, list(rest), tick):
                journal.add(finished.number, finished.checksums)
