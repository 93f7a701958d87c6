"""Options that mean the same in every verb."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import ConfigError

Out = Annotated[Path, typer.Option("--out", "-o", help="Where to write.")]
Seed = Annotated[int, typer.Option(help="Any integer; the same seed gives the same result.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
Tile = Annotated[int, typer.Option(help="Side of a tile in pixels, halo included.")]
Halo = Annotated[int, typer.Option(help="Border of a tile in pixels that is discarded.")]
TileOrWhole = Annotated[
    int | None,
    typer.Option(help="Side of a tile in pixels; 0 for the whole image. Default: 256."),
]
Preview = Annotated[
    bool, typer.Option("--preview", help="Also write NAME_preview.png: all of it on one picture.")
]
PreviewAt = Annotated[
    str | None,
    typer.Option(
        metavar="Y,X",
        help="Preview with the 512 pixels around this row and column. Default: the middle.",
    ),
]
Engine = Annotated[
    Literal["auto", "onnx", "torchscript"], typer.Option(help="Engine for a package.")
]

Axes = Annotated[
    str,
    typer.Option(help="Axes in stored order, e.g. zyx or tyx, where files do not say them."),
]
Channel = Annotated[
    str, typer.Option(help="Channel by name or number (from 1), or several: DAPI,GFP.")
]

Scored = Annotated[Path | None, typer.Option(help="Package (.zip), checkpoint, .pt or .onnx file.")]
Predictions = Annotated[
    Path | None,
    typer.Option(help="Folder with images called after the noisy ones, of any program."),
]
Baseline = Annotated[
    Literal["raw", "gaussian", "bm3d"] | None,
    typer.Option(help="No network: gaussian and bm3d are tuned on the clean image."),
]
MethodName = Annotated[str, typer.Option(help="What the method is called in tables.")]
Split = Annotated[
    Literal["val", "test", "all"],
    typer.Option(help="val: what train keeps aside; test: rows marked so; all: every pair."),
]
Peak = Annotated[
    float | None,
    typer.Option(help="Largest grey level. Default: 255 for 8 bit, 65535 for 16 bit."),
]
Align = Annotated[
    bool, typer.Option("--align", help="Shift predictions onto the clean image first.")
]
MatchIntensity = Annotated[
    bool,
    typer.Option(
        "--match-intensity",
        help="Fit gain and offset of the clean image to the noisy one (files that were rescaled "
        "one by one).",
    ),
]
Rescale = Annotated[
    bool,
    typer.Option(
        "--rescale",
        help="Bring predictions to mean and standard deviation of the clean training images (the "
        "paper: N2V, CARE, UNet-RCAN).",
    ),
]
KeepImages = Annotated[
    bool, typer.Option("--images/--no-images", help="Keep the predictions as TIFF.")
]
AveragingCurve = Annotated[
    bool,
    typer.Option(
        "--averaging-curve",
        help="Also score means of 1, 2, 4, 8 and 15 samples on the central 256 pixels "
        "(checkpoints).",
    ),
]

TILE, HALO = 256, 32


def selection(items: list[str]) -> dict[str, list[str]]:
    """Read --select COLUMN=VALUE[,VALUE…].

    Raises
    ------
    ConfigError
        If there is no column, or no value.
    """
    chosen = {}
    for item in items:
        column, equals, values = item.partition("=")
        if not equals or not values:
            raise ConfigError(f"--select {item}: is not COLUMN=VALUE", "e.g. --select fov=3,4")
        chosen[column] = values.split(",")
    return chosen
