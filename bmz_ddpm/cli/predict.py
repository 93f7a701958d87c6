"""bmz-ddpm predict"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import ConfigError, DataError, UserError
from .options import (
    HALO,
    TILE,
    Device,
    Halo,
    Out,
    Preview,
    PreviewAt,
)
from .progress import ProgressLine
from .sampler_options import Sampling, takes_sampling


@takes_sampling
def predict(
    sampling: Sampling,
    model: Annotated[
        Path, typer.Argument(help="Package (.zip), checkpoint (.safetensors), .pt or .onnx file.")
    ],
    images: Annotated[list[Path], typer.Argument(help="Images: TIFF or PNG.")],
    out: Out = Path("denoised"),
    engine: Annotated[
        Literal["auto", "onnx", "torchscript"], typer.Option(help="Engine for a package.")
    ] = "auto",
    tile: Annotated[
        int | None,
        typer.Option(help=f"Side of a tile in pixels; 0 for the whole image. Default: {TILE}."),
    ] = None,
    halo: Halo = HALO,
    device: Device = "cpu",
    preview: Preview = False,
    preview_at: PreviewAt = None,
) -> None:
    """Denoise images; write NAME_denoised.tif, NAME_std.tif and NAME_entropy.tif (float32).

    A calibrated model also gives NAME_lower.tif and NAME_upper.tif: the ends of its intervals.

    Sampler options apply to a checkpoint; in packages and exported files the sampler is fixed.
    denoised and std are in grey levels, entropy in nats.
    """
    _check_names(images)
    centre = _centre(preview_at)

    from ..files import refuse_unwritable
    from ..package.load import load_model
    from ..runtime.tiling import Tiling

    settings = sampling.settings()
    loaded = load_model(model, settings, engine, device)
    if tile is not None:
        tiling = Tiling(tile, halo) if tile else None
    else:
        tiling = loaded.tiling or Tiling(TILE, halo)
    refuse_unwritable(out / "results")
    failed = 0
    for path in images:
        try:
            targets = _denoise_file(path, loaded, tiling, halo, out)
            if preview or centre:
                _write_preview(path, targets, centre)
        except UserError as error:
            if len(images) == 1:
                raise
            failed += 1
            sys.stderr.write(f"error: {error.problem}.\nfix:   {error.fix}.\n")
    if failed:
        raise typer.Exit(1)


def _check_names(images: list[Path]) -> None:
    stems = [path.stem for path in images]
    for path in images:
        if stems.count(path.stem) > 1:
            raise DataError(
                f"{path}: another image is called '{path.stem}' too, results would be overwritten",
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


def _write_preview(path: Path, targets: list[Path], centre: tuple[int, int] | None) -> None:
    from ..data.images import image_name, read_image
    from ..display.preview import draw_preview
    from ..files import write_bytes

    results = {image_name(target).rpartition("_")[2]: read_image(target) for target in targets}
    picture = targets[0].parent / f"{image_name(path)}_preview.png"
    write_bytes(picture, draw_preview(read_image(path), results, path.name, centre))
    typer.echo(picture)


def _denoise_file(path: Path, model, tiling, halo: int, out: Path) -> list[Path]:  # type: ignore[no-untyped-def]
    from ..data.images import read_image, write_tiff
    from ..runtime.likeness import unlike
    from ..runtime.predictor import check_image, denoise, intensity_warning
    from ..runtime.tiling import whole

    image = read_image(path)
    check_image(image, model.in_channels or image.sizes.get("c", 1), str(path))
    if model.grey_levels:
        warning = intensity_warning(image, str(path), *model.grey_levels)
        if warning:
            sys.stderr.write(f"warning: {warning}.\n")
    used = tiling or whole(image.sizes["y"], image.sizes["x"], halo)
    if model.calibration:
        for warning in unlike(image, str(path), model.calibration):
            sys.stderr.write(f"warning: {warning}.\n")
    line = ProgressLine(f"{path.name}: tile")
    results = denoise(image, model.backend, used, line.show)
    targets = []
    for name, result in results.items():
        targets.append(out / f"{path.stem}_{name}.tif")
        write_tiff(targets[-1], result)
        typer.echo(targets[-1])
    return targets
