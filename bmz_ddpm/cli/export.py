"""bmz-ddpm export"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    ETA,
    HALO,
    SAMPLES,
    STEPS,
    TILE,
    Halo,
    Mirror,
    Out,
    Sampler,
    Samples,
    SamplesPerPass,
    Seed,
    Spacing,
    Steps,
    Tile,
)


def export(
    checkpoint: Annotated[Path, typer.Argument(help="The best.safetensors of a training run.")],
    about: Annotated[
        Path, typer.Option(help="TOML file: name, authors, licence, image, reference …")
    ],
    out: Out = Path("model.zip"),
    sampler: Sampler = "ddim",
    steps: Steps = STEPS,
    samples: Samples = SAMPLES,
    spacing: Spacing = "log_snr",
    mirror: Mirror = True,
    samples_per_pass: SamplesPerPass = 1,
    seed: Seed = 0,
    tile: Tile = TILE,
    halo: Halo = HALO,
) -> None:
    """Write a BioImage Model Zoo package: the whole sampler as TorchScript, ONNX and state dict.

    All formats are compared with the training code first; if one differs, nothing is written.
    """
    from ..config import load_about
    from ..diffusion.assemble import SamplerSettings
    from ..package.build import export_package
    from ..runtime.tiling import Tiling
    from ..train.checkpoint import Checkpoint

    settings = SamplerSettings(
        steps, samples, ETA[sampler], spacing, mirror, seed, samples_per_pass
    )
    tiling = Tiling(tile, halo)
    loaded = Checkpoint.load(checkpoint)

    def report(line: str) -> None:
        sys.stderr.write(line + " …\n")

    parities = export_package(loaded, load_about(about), settings, tiling, out, report)
    for name, parity in parities.items():
        sys.stderr.write(
            f"{name}: largest difference from eager {parity.denoised:.1e} (denoised)\n"
        )
    typer.echo(out)
