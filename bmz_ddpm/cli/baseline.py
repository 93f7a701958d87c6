"""bmz-ddpm baseline"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from .data_options import Images, takes_images
from .options import Device, MatchIntensity, Out, Seed
from .progress import ProgressLine

Method = Literal["raw", "gaussian", "bm3d", "n2v", "care", "pix2pix", "unet-rcan"]


@takes_images
def baseline(
    images: Images,
    method: Annotated[Method, typer.Option(help="What to compare a model with.")],
    out: Out = Path("runs/baseline"),
    minutes: Annotated[
        float | None, typer.Option(help="Train for so many minutes: the same for all methods.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Train for so many optimiser steps.")] = None,
    patch: Annotated[
        int | None,
        typer.Option(
            help="Side of the training patches in pixels, a power of two. Default: the authors'."
        ),
    ] = None,
    split: Annotated[Literal["val", "test"], typer.Option(help="Which pairs to restore.")] = "val",
    match_intensity: MatchIntensity = False,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Restore images with another method, for a fair comparison.

    raw does nothing; gaussian is a blur tuned on the validation pairs; bm3d is BM3D with variance
    stabilisation. n2v (Noise2Void), care, pix2pix and unet-rcan learn from the training pairs.
    n2v and care run in an environment of their own, made at the first use (1.6 GB).

    Writes into the folder --out: predictions/NAME.tif (float32, grey levels) and baseline.json.
    A folder with a trained network is not trained again.
    """
    from ..baselines.run import Baseline, run_baseline
    from ..baselines.training import Budget

    budget = Budget(minutes, steps) if minutes is not None or steps is not None else None
    splits = ("train", "val", "test") if split == "test" else ("train", "val")
    found = images.find(splits, match=match_intensity)
    line = ProgressLine(f"{method}: step")

    def show(done: float, step: int, loss: float) -> None:
        total = max(step, round(step / done)) if done < 1 else step
        line.show(step, total, f"loss {loss:.4f}")

    job = Baseline(method, found, out, budget, split, seed, device, match_intensity, patch)
    for path in run_baseline(job, _say, show):
        typer.echo(path)


def _say(text: str) -> None:
    sys.stderr.write(text + " …\n")
