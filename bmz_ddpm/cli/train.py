"""bmz-ddpm train"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import DataError
from .data_options import Images, takes_images
from .options import Device, Out
from .progress import ProgressLine

if TYPE_CHECKING:
    from ..config import TrainConfig
    from ..data.pairs import Pair
    from ..train.validation import Score

PAPER_TEXT = (
    "warning: recipe paper-text follows the equations as printed, with the smallest repairs that "
    "let them work: the posterior variance in eq. 5 (E1), a clean image clipped to its range in "
    "eqs. 6 and 7 (E2), no noise at the last step (E3)"
)


Recipe = Annotated[
    str | None, typer.Option(help="Complete settings: default, paper-code or paper-text.")
]
Config = Annotated[
    Path | None, typer.Option(help="TOML file with settings; options below override it.")
]
Size = Annotated[Literal["tiny", "small", "paper"] | None, typer.Option(help="Network size.")]
OptimiserSteps = Annotated[int | None, typer.Option(help="Optimiser steps.")]
Patch = Annotated[int | None, typer.Option(help="Side of the patches in pixels.")]
BatchSize = Annotated[int | None, typer.Option(help="Patches per step.")]
RunSeed = Annotated[int | None, typer.Option(help="Same seed, same run.")]
Start = Annotated[Path | None, typer.Option(help="Checkpoint whose weights a new run starts from.")]
EmaWidth = Annotated[
    float | None,
    typer.Option(
        help="Width of the average in final.safetensors, as a share of the run; a finished run is "
        "not trained again."
    ),
]
Devices = Annotated[int, typer.Option(min=1, help="Processes on this machine.")]
Nodes = Annotated[
    int, typer.Option(min=1, help="Machines (SLURM or torchrun starts this command on each).")
]
TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Also write curves and images for TensorBoard.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print settings, pairs, memory and time, then stop.")
]


@takes_images
def train(
    images: Images,
    out: Out = Path("runs/model"),
    recipe: Recipe = None,
    config: Config = None,
    size: Size = None,
    steps: OptimiserSteps = None,
    patch: Patch = None,
    batch_size: BatchSize = None,
    seed: RunSeed = None,
    start: Start = None,
    ema_width: EmaWidth = None,
    device: Device = "cpu",
    devices: Devices = 1,
    nodes: Nodes = 1,
    tensorboard: TensorBoard = False,
    dry_run: DryRun = False,
) -> None:
    """Train a denoiser from pairs of noisy and clean images.

    Writes into the folder --out: best.safetensors (lowest validation error) and, at the end,
    final.safetensors, both for export; last.safetensors (run the same command again to resume);
    log.csv and config.json. Without --recipe and --config the recipe "default" is used; a --config
    without --recipe has settings of its own where the file is silent (bmz_ddpm/config.py).
    """

    given = {
        "size": size, "steps": steps, "patch": patch, "batch_size": batch_size, "seed": seed,
    }  # fmt: skip
    settings = _settings(recipe, config, {k: v for k, v in given.items() if v is not None})
    if recipe == "paper-text":
        typer.echo(PAPER_TEXT, err=True)
    found = images.find(match=settings.match_intensity)
    dataset = images.description()
    if dataset and dataset.register_pairs and not any(pair.mask for pair in found):
        sys.stderr.write(
            f"note: {dataset.name}: the paper aligned these pairs first, as bmz-ddpm prepare does; "
            "train takes them as they are.\n"
        )
    if dry_run:
        _show_plan(settings, found, device)
        return
    from ..train.fit import Trainer

    trainer = Trainer(
        found, settings, out, device,
        devices=devices, nodes=nodes, start=start, tensorboard=tensorboard,
    )  # fmt: skip
    first = trainer.fabric.is_global_zero
    line = ProgressLine("step")
    latest = ""

    def show(step: int, total: int, loss: float, score: Score | None) -> None:
        nonlocal latest
        latest = f", validation MAE {score.mae:.3f}" if score is not None else latest
        if first:
            line.show(step, total, f"loss {loss:.4f}{latest}")

    best = trainer.run(show, ema_width)
    if first:
        typer.echo(best)
        typer.echo(out / "final.safetensors")


def _settings(recipe: str | None, config: Path | None, given: dict[str, object]) -> TrainConfig:
    """Combine them: options over file over recipe."""
    from ..config import TrainConfig, load_train_config, make_train_config
    from ..train.recipe import load_recipe

    settings = load_recipe(recipe or "default") if recipe or not config else TrainConfig()
    if config:
        settings = load_train_config(config, settings)
    return make_train_config(settings.model_dump() | given, "options")


def _show_plan(settings: TrainConfig, pairs: list[Pair], device: str) -> None:
    from ..data.planes import load_planes
    from ..train.estimate import estimate

    typer.echo(settings.model_dump_json(indent=2))
    for pair in pairs:
        typer.echo(f"{pair.split}\t{pair.fov}\t{pair.low}\t{pair.high}")
    try:
        low, high, _ = load_planes(next(p for p in pairs if p.split == "train"))
        channels = low.shape[1], high.shape[1]
    except DataError as error:
        typer.echo(f"# {error.problem}; what follows is for one channel")
        channels = 1, 1
    for line in estimate(settings, channels, device).lines():
        typer.echo(f"# {line}")
