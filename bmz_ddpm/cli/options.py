"""Options that mean the same in every verb."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import ConfigError

SamplerOption = Literal["ddpm", "ddim"]
SpacingOption = Literal["log_snr", "time"]

Out = Annotated[Path, typer.Option("--out", "-o", help="Where to write.")]
Seed = Annotated[int, typer.Option(help="Any integer; the same seed gives the same result.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
Steps = Annotated[int, typer.Option(min=1, help="Network passes per sample (the paper: 200).")]
Samples = Annotated[int, typer.Option(min=1, help="Samples to average (the paper: 15).")]
Sampler = Annotated[
    SamplerOption,
    typer.Option(help="ddpm draws fresh noise in every step, ddim only at the start."),
]
Spacing = Annotated[
    SpacingOption,
    typer.Option(help="Noise levels to visit: even in log(SNR), or every n-th training step."),
]
Mirror = Annotated[bool, typer.Option(help="Draw the samples in the four mirror images in turn.")]
SamplesPerPass = Annotated[
    int, typer.Option(min=1, help="Samples computed together: more memory, a little faster.")
]
Tile = Annotated[int, typer.Option(help="Side of a tile in pixels, halo included.")]
Halo = Annotated[int, typer.Option(help="Border of a tile in pixels that is discarded.")]

STEPS, SAMPLES, TILE, HALO = 4, 16, 256, 32
ETA = {"ddpm": 1.0, "ddim": 0.0}


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
