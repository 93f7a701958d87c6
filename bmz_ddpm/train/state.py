"""A run's whole state in one file, so that a run killed at any moment goes on as if nothing was."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config import TrainConfig
from ..diffusion.denoiser import Denoiser
from ..errors import CheckpointError
from ..files import write_bytes
from .averages import Averages
from .checkpoint import load_tensors, load_weights, save_tensors

#: One line of the log: what was measured at a validation.
Row = dict[str, float]
COLUMNS = ("step", "loss", "learning_rate", "validation_mae", "validation_psnr")


def save_state(
    path: Path,
    denoiser: Denoiser,
    averages: Averages,
    optimiser: torch.optim.Optimizer,
    header: dict[str, Any],
) -> None:
    """Write weights, averages and optimiser into one file.

    Parameters
    ----------
    header : dict
        "step", "best", "train" (the settings), "start" and "log" (rows).

    Raises
    ------
    DataError
        If it could not be written; the previous file is then unchanged.
    """
    tensors: dict[str, Tensor] = {f"model/{k}": v for k, v in denoiser.state_dict().items()}
    tensors |= averages.state()
    for name, parameter in denoiser.named_parameters():
        for key, value in optimiser.state[parameter].items():
            tensors[f"optimiser/{name}/{key}"] = torch.as_tensor(value)
    save_tensors(path, tensors, header)


def load_state(
    path: Path,
    config: TrainConfig,
    denoiser: Denoiser,
    averages: Averages,
    optimiser: torch.optim.Optimizer,
) -> dict[str, Any]:
    """Take over what `save_state` wrote, and return its header.

    Raises
    ------
    CheckpointError
        If the file is damaged, of a run with other settings, or incomplete.
    """
    tensors, header = load_tensors(path)
    if header.get("train") != json.loads(config.model_dump_json()):
        raise CheckpointError(
            f"{path}: belongs to a run with other settings",
            "choose another --out, or the settings in its config.json",
        )
    device = next(denoiser.parameters()).device

    def part(prefix: str) -> dict[str, Tensor]:
        return {
            k.removeprefix(prefix): v.to(device) for k, v in tensors.items() if k.startswith(prefix)
        }

    load_weights(path, denoiser, part("model/"))
    try:
        averages.load_state(tensors, device)
        for name, parameter in denoiser.named_parameters():
            state = part(f"optimiser/{name}/")
            optimiser.state[parameter] = {
                "step": state["step"].cpu(),
                "exp_avg": state["exp_avg"],
                "exp_avg_sq": state["exp_avg_sq"],
            }
    except KeyError as error:
        raise CheckpointError(
            f"{path}: lacks a part of the run's state", "delete it to start over"
        ) from error
    return header


def write_log(path: Path, rows: list[Row]) -> None:
    """Write the log anew: its lines are kept in the state, so none is lost or repeated."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


def remove_leftovers(out: Path) -> None:
    """Remove half-written files of a run that was killed."""
    for folder in (out, out / "snapshots"):
        for part in folder.glob(".*.part"):
            part.unlink(missing_ok=True)


def learnt_by_heart(rows: list[Row]) -> str:
    """Return a warning if the last three validations are worse than the best, though the loss fell.

    Worse by more than 3 %: less is what the random noise of a validation does.
    """
    best = min(rows, key=lambda row: row["validation_mae"], default=None)
    last = rows[-3:]
    if best is None or best in last:
        return ""
    loss = sum(row["loss"] for row in last) / len(last)
    worse = all(row["validation_mae"] > 1.03 * best["validation_mae"] for row in last)
    if not worse or loss >= best["loss"]:
        return ""
    return (
        f"warning: the validation error has risen by more than 3 % since step {best['step']:.0f} "
        "while the training loss fell: the images are being learnt by heart. Add fields of view "
        "or augmentation (simulated, synthetic); best.safetensors is kept."
    )
