"""Noise2Void and CARE, by careamics in an environment of its own.

careamics allows only versions up to those of its release, so it is never installed beside
bmz-ddpm. Images go to it and come back as .npy files.

References
----------
Krull, Buchholz, Jug (2019), "Noise2Void". arXiv:1811.10980.
Weigert et al. (2018), "Content-aware image restoration" (CARE). doi:10.1038/s41592-018-0216-7.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ..data.planes import Planes, central
from ..environments import Say, last_line, parse_pins, ready_environment, run_command
from ..errors import DataError, EnvironmentUnusable
from ..files import write_bytes
from .training import VALIDATION_CROP, VALIDATION_PLANES, Budget

#: Learning rates and batches are the diffusion paper's (S3). The patch is Noise2Void's default;
#: everything else is careamics' default: a U-Net of two halvings with 32 filters at the top.
SETTINGS: dict[str, dict[str, float]] = {
    "n2v": {"learning_rate": 2e-4, "batch_size": 32, "patch": 64},
    "care": {"learning_rate": 4e-4, "batch_size": 8, "patch": 64},
}
#: After so many steps careamics validates and keeps a checkpoint.
STEPS_PER_EPOCH = 50
#: Images are padded to multiples of this, which its halvings need.
MULTIPLE = 8


def restore(
    method: str,
    fields: tuple[list[Planes], list[Planes]],
    images: list[np.ndarray],
    budget: Budget | None,
    checkpoint: Path,
    seed: int,
    device: str,
    say: Say,
    patch: int | None = None,
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Train unless there is a checkpoint, and restore images.

    Parameters
    ----------
    method : str
        "n2v" or "care".
    fields : (training, validation)
    images : list of (P, C, Y, X) float32
        To be restored, in counts.
    budget : Budget or None
        None where `checkpoint` exists.
    checkpoint : Path
        Of careamics; written when it is not there.
    seed : int
    device : str
    say : callable
    patch : int, optional
        Side of the training patches in pixels, where it is not to be that of `SETTINGS`.

    Returns
    -------
    list of (P, C, Y, X) float32
        In counts.
    dict
        `versions`, and after a training `steps` and `minutes`.

    Raises
    ------
    DataError
        If a training image is smaller than a patch.
    EnvironmentUnusable
        If the environment cannot be made, or careamics fails.
    """
    training, validation = fields
    settings = settings_of(method, patch)
    side = int(settings["patch"])
    smallest = min(min(planes.low.shape[2:]) for planes in [*training, *validation])
    if smallest < side:
        raise DataError(
            f"pairs: an image has only {smallest} pixels, {method} learns from patches of {side}",
            "leave small images out",
        )
    pins, _ = parse_pins("careamics", (files(__package__) / "pins/careamics.txt").read_text())
    python = ready_environment(pins, say)
    job = {
        "method": method,
        "minutes": budget and budget.minutes,
        "steps": budget and budget.steps,
        "in_channels": training[0].low.shape[1],
        "out_channels": training[0].high.shape[1],
        "steps_per_epoch": STEPS_PER_EPOCH,
        "seed": seed,
        "device": device,
        "checkpoint": "model.ckpt",
        **settings,
    }
    with tempfile.TemporaryDirectory(prefix="bmz-ddpm-") as name:
        place = Path(name)
        if checkpoint.exists():
            (place / "model.ckpt").write_bytes(checkpoint.read_bytes())
        else:
            _hand_over(place, method, training, validation)
            say(f"training {method} in the environment careamics; it says nothing until it is done")
        single = job["in_channels"] == job["out_channels"] == 1
        for i, image in enumerate(images):
            padded = _padded(image)
            np.save(place / f"predict_{i:05}.npy", padded[:, 0] if single else padded)
        _run(place, python, job)
        if not checkpoint.exists():
            write_bytes(checkpoint, (place / "model.ckpt").read_bytes())
        result: dict[str, Any] = json.loads((place / "result.json").read_text(encoding="utf-8"))
        made = [np.load(path) for path in sorted(place.glob("predicted_*.npy"))]
    cropped = [
        new[..., : old.shape[2], : old.shape[3]] for new, old in zip(made, images, strict=True)
    ]
    return cropped, result


def settings_of(method: str, patch: int | None) -> dict[str, float]:
    """Return learning rate, batch size and patch of a method."""
    return SETTINGS[method] | ({"patch": patch} if patch else {})


def _padded(image: np.ndarray) -> np.ndarray:
    below, right = (-n % MULTIPLE for n in image.shape[2:])
    return np.pad(image, ((0, 0), (0, 0), (0, below), (0, right)), mode="symmetric")


def _hand_over(place: Path, method: str, training: list[Planes], validation: list[Planes]) -> None:
    """Write the images; validated is on the centres of a few planes, as for our own networks.

    Where a clean image holds nothing, CARE gets the noisy value: careamics knows no weights.
    """
    centres = [central(planes, VALIDATION_CROP, 1) for planes in validation[:VALIDATION_PLANES]]
    for prefix, fields in (("train", training), ("val", centres)):
        for i, (low, high, mask) in enumerate(fields):
            single = low.shape[1] == high.shape[1] == 1
            clean = high if mask is None else np.where(mask, high, low)
            for kind, image in (("low", low), ("high", clean)):
                if kind == "high" and method == "n2v":
                    continue  # it must not see them
                values = image[:, 0] if single else image
                np.save(place / f"{prefix}_{kind}_{i:05}.npy", values.astype(np.float32))


def _run(place: Path, python: Path, job: dict[str, Any]) -> None:
    source = (files(__package__) / "careamics_runner.py").read_text(encoding="utf-8")
    (place / "careamics_runner.py").write_text(source, encoding="utf-8")
    (place / "job.json").write_text(json.dumps(job), encoding="utf-8")
    words = [str(python), "careamics_runner.py"]
    try:
        done = run_command(words, place)
    except OSError as error:
        done = subprocess.CompletedProcess(words, 1, "", str(error.strerror))
    if done.returncode:
        raise EnvironmentUnusable(
            f"{job['method']}: careamics ended with {done.returncode} ({last_line(done)})",
            f"if it did not even start, delete {python.parent.parent}; it is then made anew",
        )
