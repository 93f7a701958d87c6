"""bmz-ddpm distill"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .data_options import Images, takes_images
from .options import Device, Out
from .progress import ProgressLine
from .sampler_options import Sampling, takes_sampling


@takes_images
@takes_sampling
def distill(
    images: Images,
    sampling: Sampling,
    checkpoint: Annotated[
        Path, typer.Option(help="The model to learn from: best.safetensors of a training run.")
    ],
    out: Out = Path("runs/student"),
    optimiser_steps: Annotated[
        int | None, typer.Option(min=1, help="Optimiser steps. Default: 2000.")
    ] = None,
    patch: Annotated[
        int | None, typer.Option(help="Side of the patches. Default: as the model was trained.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Patches per step. Default: as the model was trained.")
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Write the weights as float16: half the size.")
    ] = False,
    device: Device = "cpu",
) -> None:
    """Teach a model to say in one network pass what the average of its samples says.

    Writes into the folder --out: student.safetensors, the model and its student in one checkpoint
    (--profile instant in predict and export), last.safetensors (run the same command again to
    resume) and config.json. The images are those of bmz-ddpm train; the sampler options say which
    average is learnt.
    """
    from ..distill.fit import Distiller, student_config
    from ..train.checkpoint import Checkpoint

    teacher = Checkpoint.load(checkpoint)
    settings = sampling.settings()
    given = {"steps": optimiser_steps, "patch": patch, "batch_size": batch_size}
    config = student_config(teacher, {k: v for k, v in given.items() if v is not None})
    found = images.find(match=config.match_intensity)
    line = ProgressLine("step")

    def show(step: int, total: int, loss: float) -> None:
        line.show(step, total, f"loss {loss:.4f}")

    made, agreement = Distiller(teacher, settings, found, config, out, device, half=half).run(show)
    if agreement:
        for name, value in asdict(agreement).items():
            typer.echo(f"{name}\t{value:.4g}", err=True)
    typer.echo(made)
