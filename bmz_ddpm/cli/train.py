"""bmz-ddpm train"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .options import Device, Out, selection
from .progress import ProgressLine


def train(
    pairs: Annotated[Path, typer.Argument(help="Folder with low/ and high/, or a CSV file.")],
    out: Out = Path("runs/model"),
    config: Annotated[
        Path | None, typer.Option(help="TOML file with settings; options below override it.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder that the paths in the CSV start from.")
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(help="CSV rows to use, COLUMN=VALUE[,VALUE…]; may be repeated."),
    ] = None,
    size: Annotated[
        Literal["tiny", "small", "paper"] | None, typer.Option(help="Network size.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    patch: Annotated[int | None, typer.Option(help="Side of the patches in pixels.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Patches per step.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same run.")] = None,
    device: Device = "cpu",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print settings and pairs, then stop.")
    ] = False,
) -> None:
    """Train a denoiser from pairs of noisy and clean images.

    Writes into the folder --out: best.safetensors (lowest validation error) and, at the end,
    final.safetensors, both for export; last.safetensors (run the same command again to resume);
    log.csv and config.json.
    """
    from ..config import TrainConfig, load_train_config, make_train_config
    from ..data.pairs import find_pairs

    settings = load_train_config(config) if config else TrainConfig()
    given = {
        "size": size, "steps": steps, "patch": patch, "batch_size": batch_size, "seed": seed,
    }  # fmt: skip
    changed = {k: v for k, v in given.items() if v is not None}
    settings = make_train_config(settings.model_dump() | changed, "options")
    found = find_pairs(pairs, root, selection(select or []))
    if dry_run:
        typer.echo(settings.model_dump_json(indent=2))
        for pair in found:
            typer.echo(f"{pair.split}\t{pair.fov}\t{pair.low}\t{pair.high}")
        return
    from ..train.fit import Trainer

    trainer = Trainer(found, settings, out, device)
    line = ProgressLine("step")
    latest = ""

    def show(step: int, total: int, loss: float, mae: float | None) -> None:
        nonlocal latest
        latest = f", validation MAE {mae:.3f}" if mae is not None else latest
        line.show(step, total, f"loss {loss:.4f}{latest}")

    typer.echo(trainer.run(show))
    typer.echo(out / "final.safetensors")
