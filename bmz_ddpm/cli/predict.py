"""bmz-ddpm predict"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import ConfigError, DataError, UserError
from .option_groups import takes
from .options import Axes, Channel, Out, Preview, PreviewAt
from .progress import ProgressLine
from .sampler_options import Sampling, takes_sampling

FormatOption = Literal["auto", "tif", "ome-tif", "ome-zarr", "ome-zarr-0.4", "ome-zarr-0.5"]


@dataclass(frozen=True)
class Work:
    """Options for large data as given on the command line; the command takes them as one."""

    axes: Axes = ""
    channel: Channel = ""
    format: Annotated[
        FormatOption,
        typer.Option(
            help="Files to write. auto: the kind of the input; TIFF as ImageJ's, or as OME-TIFF "
            "where that is too small."
        ),
    ] = "auto"
    dtype: Annotated[
        Literal["float32", "input"],
        typer.Option(help="Pixel type; input: the image's own, but for std and entropy."),
    ] = "float32"
    chunk: Annotated[
        int,
        typer.Option(
            min=0,
            help="Side in pixels of the blocks that are computed and, in OME-Zarr, stored "
            "together; rounded to whole tiles. Default: up to 1024.",
        ),
    ] = 0
    pyramid: Annotated[
        bool, typer.Option(help="Add smaller copies of large images (OME-TIFF, OME-Zarr).")
    ] = True
    noise: Annotated[
        Literal["auto", "position", "content"],
        typer.Option(
            help="What the noise depends on. position: planes and frames share it, so that films "
            "do not flicker (auto for stacks, where the engine can); content: each has its own."
        ),
    ] = "auto"
    device: Annotated[
        str, typer.Option(help="cpu, cuda or cuda:N; cuda:0,cuda:1 shares the work.")
    ] = "cpu"
    memory: Annotated[
        str, typer.Option(help="Memory a process may use, e.g. 2GB: blocks are made to fit.")
    ] = ""
    scheduler: Annotated[
        str,
        typer.Option(
            help="Address of a Dask scheduler, tcp://HOST:8786: its workers share the work. They "
            "need bmz-ddpm and the same folders."
        ),
    ] = ""
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many blocks, memory and time.")
    ] = False

    def devices(self) -> tuple[str, ...]:
        """Return the devices, one per worker.

        Raises
        ------
        ConfigError
            If there is none.
        """
        found = tuple(part.strip() for part in self.device.split(",") if part.strip())
        if not found:
            raise ConfigError("--device: is empty", "e.g. cpu, cuda or cuda:0,cuda:1")
        return found


@takes_sampling
@takes(Work)
def predict(
    sampling: Sampling,
    work: Work,
    model: Annotated[
        Path, typer.Argument(help="Package (.zip), checkpoint (.safetensors), .pt or .onnx file.")
    ],
    images: Annotated[
        list[Path],
        typer.Argument(help="Images: TIFF, OME-TIFF, PNG or OME-Zarr folders, of any size."),
    ],
    out: Out = Path("denoised"),
    engine: Annotated[
        Literal["auto", "onnx", "torchscript", "torch"],
        typer.Option(help="Engine for a package; torch can share the noise of a stack's planes."),
    ] = "auto",
    tile: Annotated[
        int | None,
        typer.Option(
            help="Side of a tile in pixels; 0 for the whole image. Default: a package's own, as in "
            "every program; for other files up to 512, as suits the image."
        ),
    ] = None,
    halo: Annotated[
        int | None,
        typer.Option(
            help="Border of a tile in pixels that is discarded. Default: a package's own, else 64."
        ),
    ] = None,
    preview: Preview = False,
    preview_at: PreviewAt = None,
) -> None:
    """Denoise images; write NAME_denoised, NAME_std and NAME_entropy, and NAME_run.json.

    A calibrated model also gives NAME_lower and NAME_upper: the ends of its intervals.

    Sampler options apply to a checkpoint; in packages and exported files the sampler is fixed.
    denoised and std are in grey levels, entropy in nats. Axes, sizes, names and what the
    microscope wrote down are kept. Interrupted? Repeat the command: finished blocks are kept in
    NAME.unfinished until all are done.
    """
    _check_names(images)
    centre = _centre(preview_at)

    from ..evaluate.journal import fingerprint
    from ..files import refuse_unwritable
    from ..package.load import load_model
    from ..predict.estimate import parse_memory
    from ..predict.plan import Request

    settings = sampling.settings()
    devices = work.devices()
    budget = parse_memory(work.memory)
    loaded = load_model(model, settings, engine, "cpu" if work.scheduler else devices[0])
    if not work.dry_run:
        refuse_unwritable(out / "results")
    request = Request(
        model, settings, engine, devices, tile, halo, out, work.axes, work.channel, work.format,
        work.dtype, work.noise, work.chunk, work.pyramid, budget, work.scheduler,
    )  # fmt: skip
    model_hash = fingerprint(model)

    def one(path: Path) -> None:
        targets = _denoise_file(path, request, loaded, model_hash, work.dry_run)
        if targets and (preview or centre):
            _write_preview(path, targets, centre, work.axes, work.channel)

    _each(images, one)


def _each(images: list[Path], work: Callable[[Path], None]) -> None:
    """Do the work for every image; one that cannot be denoised does not stop the others."""
    failed = 0
    for path in images:
        try:
            work(path)
        except UserError as error:
            if len(images) == 1:
                raise
            failed += 1
            sys.stderr.write(f"error: {error.problem}.\nfix:   {error.fix}.\n")
    if failed:
        raise typer.Exit(1)


def _check_names(images: list[Path]) -> None:
    names = [path.name.partition(".ome.")[0] if ".ome." in path.name else path.stem
             for path in images]  # fmt: skip
    for path, name in zip(images, names, strict=True):
        if names.count(name) > 1:
            raise DataError(
                f"{path}: another image is called '{name}' too, results would be overwritten",
                "denoise them in separate calls with different --out",
            )


def _centre(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    y, _, x = text.partition(",")
    if not (y.strip().isdecimal() and x.strip().isdecimal()):
        raise ConfigError(
            f"--preview-at {text}: is not Y,X, a row and a column in pixels", "e.g. 512,300"
        )
    return int(y), int(x)


def _write_preview(
    path: Path, targets: list[Path], centre: tuple[int, int] | None, axes: str, channel: str
) -> None:
    from ..data.channels import select_channels
    from ..data.images import image_name
    from ..data.lazy import open_image
    from ..display.preview import draw_preview
    from ..files import write_bytes

    results = {image_name(target).rpartition("_")[2]: open_image(target) for target in targets}
    picture = targets[0].parent / f"{image_name(path)}_preview.png"
    noisy = select_channels(open_image(path, axes), channel, path)
    write_bytes(picture, draw_preview(noisy, results, path.name, centre))
    typer.echo(picture)


def _denoise_file(path: Path, request, model, model_hash: str, dry_run: bool) -> list[Path]:  # type: ignore[no-untyped-def]
    from ..predict import run

    plan = run.make_plan(path, request, model, model_hash)
    if dry_run:
        for line in [*run.dry_run(plan, request), *(f"note: {n}" for n in plan.notes)]:
            typer.echo(line)
        return []
    if run.is_finished(plan):
        sys.stderr.write(f"note: {path}: is finished already; to repeat, delete {plan.record}.\n")
        targets = plan.targets
    else:
        progress = ProgressLine(f"{path.name}: tile")
        targets = run.denoise_file(plan, request, progress.show, _warn)
    for target in targets:
        typer.echo(target)
    return targets


def _warn(text: str) -> None:
    sys.stderr.write(f"warning: {text}.\n")
