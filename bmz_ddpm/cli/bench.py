"""bmz-ddpm bench"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .options import HALO, TILE, Device, Halo, Out, Tile
from .sampler_options import Sampling, takes_sampling


@takes_sampling
def bench(
    sampling: Sampling,
    model: Annotated[Path, typer.Argument(help="Checkpoint (.safetensors) or package (.zip).")],
    out: Out = Path("bench"),
    rounds: Annotated[
        int, typer.Option(min=1, help="How often everything is timed, in turns.")
    ] = 5,
    compiled: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Time torch.compile: minutes to start.")
    ] = True,
    scaling: Annotated[
        bool, typer.Option(help="Time other numbers of steps, samples and pixels (checkpoint).")
    ] = True,
    memory: Annotated[
        bool, typer.Option(help="Measure the memory of 4 and of 64 samples (checkpoint).")
    ] = True,
    image: Annotated[
        int,
        typer.Option(
            min=0,
            help="Side in pixels of the image for the comparison with CARE, in tiles; 0: one tile.",
        ),
    ] = 0,
    tile: Tile = TILE,
    halo: Halo = HALO,
    device: Device = "cpu",
) -> None:
    """Measure what a model costs on this machine, in every engine, beside other libraries.

    Writes bench.txt, bench.json and a figure. With bench = "bench.json" in the --about file of
    export, the times go into the model card. Sampler options apply to a checkpoint.
    """
    from ..bench.report import text, write_results
    from ..bench.run import Plan, bench
    from ..files import refuse_unwritable

    refuse_unwritable(out / "bench.json")
    settings = sampling.settings()
    plan = Plan(tile, halo, rounds, device, compiled, image, scaling, memory)

    def report(line: str) -> None:
        sys.stderr.write(line + " …\n")

    result = bench(model, settings, plan, report)
    sys.stderr.write(text(result))
    for path in write_results(result, out):
        typer.echo(path)
