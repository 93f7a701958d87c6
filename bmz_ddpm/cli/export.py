"""bmz-ddpm export"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    HALO,
    TILE,
    Halo,
    Out,
    Tile,
)
from .sampler_options import Sampling, takes_sampling


@takes_sampling
def export(
    sampling: Sampling,
    checkpoint: Annotated[Path, typer.Argument(help="The best.safetensors of a training run.")],
    about: Annotated[
        Path, typer.Option(help="TOML file: name, authors, licence, image, reference …")
    ],
    out: Out = Path("model.zip"),
    consumers: Annotated[
        list[str] | None,
        typer.Option(
            "--for",
            help="fiji, core or zoo (the default: three outputs); ilastik or qupath (one output). "
            "May be repeated; for both kinds OUT-ilastik.zip is written too.",
        ),
    ] = None,
    tile: Tile = TILE,
    halo: Halo = HALO,
) -> None:
    """Write BioImage Model Zoo packages: the whole sampler as TorchScript, ONNX and state dict.

    All formats are compared with the training code first; if one differs, nothing is written.
    """
    from ..about import load_about
    from ..package.build import export_packages, targets_of
    from ..package.job import Job
    from ..package.profiles import profiles_for
    from ..runtime.tiling import Tiling
    from ..train.checkpoint import Checkpoint

    targets = targets_of(profiles_for(consumers or ()), out)
    settings = sampling.settings()
    tiling = Tiling(tile, halo)
    job = Job(Checkpoint.load(checkpoint), load_about(about), settings, tiling)

    def report(line: str) -> None:
        sys.stderr.write(line + " …\n")

    for path, parities in export_packages(job, targets, report).items():
        for name, parity in parities.items():
            sys.stderr.write(
                f"{path.name}, {name}: largest difference from eager {parity.denoised:.1e} "
                "(denoised)\n"
            )
        typer.echo(path)
