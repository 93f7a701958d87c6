"""Train a small network for a given time, keep it, and predict whole images with it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..config import AugmentConfig, Intensity
from ..data.pairs import Pair
from ..data.patches import PatchSource, mixed_seed
from ..data.planes import Planes, central, read_pair
from ..device import usable_device
from ..errors import CheckpointError, ConfigError, DataError
from ..train.checkpoint import load_tensors, load_weights, save_tensors
from .pix2pix import Pix2Pix
from .unet_rcan import Restoration

#: Validations in a training: one after each twentieth.
VALIDATIONS, VALIDATION_CROP, VALIDATION_PLANES = 20, 256, 4
#: Where minutes are counted, validations are left out that would take more than this share of them.
VALIDATION_SHARE = 0.2
#: Called now and then with (share of the training that is done, steps, loss).
Progress = Callable[[float, int, float], None]


class Learner(Protocol):
    """A network that knows how to improve itself.

    Attributes
    ----------
    network : Module
    batch_size, patch : int
        As in its paper.
    multiple : int
        Sides of an image must be multiples of this.
    keeps_best : bool
        Take the weights with the lowest validation error, not the last ones.
    settings : dict
        What it was trained with, for the record.
    """

    network: nn.Module
    batch_size: int
    patch: int
    multiple: int
    keeps_best: bool
    settings: dict[str, float]

    def step(self, noisy: Tensor, clean: Tensor, weight: Tensor | None) -> float:
        """Improve the network by one batch in [-1, 1]; return the loss."""

    def validated(self, error: float) -> None:
        """Hear the validation error."""

    def predict(self, noisy: Tensor) -> Tensor:
        """Map (1, C, Y, X) in [-1, 1] to the clean image."""


LEARNERS: dict[str, Callable[[int, int, int, torch.device], Learner]] = {
    "pix2pix": Pix2Pix,
    "unet-rcan": Restoration,
}
PATCH = {"pix2pix": Pix2Pix.patch, "unet-rcan": Restoration.patch}


@dataclass(frozen=True)
class Budget:
    """How long to train: minutes of wall-clock time, or optimiser steps.

    Attributes
    ----------
    minutes : float or None
    steps : int or None

    Raises
    ------
    ConfigError
        If not exactly one of them is given, or it is not above 0.
    """

    minutes: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise ConfigError(
                "--minutes and --steps: exactly one of them says how long to train",
                "give the same --minutes to all methods that you compare",
            )
        if (self.minutes if self.steps is None else self.steps) <= 0:  # type: ignore[operator]
            name = "--steps" if self.minutes is None else "--minutes"
            raise ConfigError(
                f"{name} {self.steps or self.minutes or 0}: must be above 0", "train a little"
            )

    def done(self, steps: int, seconds: float) -> float:
        """Return the share of the training that is done; 1 and more: it is over."""
        if self.steps is not None:
            return steps / self.steps
        assert self.minutes is not None
        return seconds / (60 * self.minutes)


def make_source(
    method: str, pairs: list[Pair], seed: int, match: bool = False, patch: int | None = None
) -> PatchSource:
    """Load the training pairs.

    The patch is `patch` or the method's own, or the largest power of two that fits into the
    smallest image; with `match`, clean images are brought to the intensities of the noisy ones.

    Raises
    ------
    DataError
        If a pair cannot be used.
    """
    sides = [min(read_pair(p)[0].sizes[a] for a in "yx") for p in pairs]
    side = min(patch or PATCH[method], 2 ** int(math.log2(min(sides))))
    real = AugmentConfig(simulated=0.0)
    return PatchSource(pairs, side, real, seed, units="range", match=match)


class Network:
    """A baseline of ours: its learner, and the units it works in.

    Parameters
    ----------
    method : str
        "pix2pix" or "unet-rcan".
    header : dict
        `in_channels`, `out_channels`, `patch`, `intensity`, and what else is to be recorded.
    device : str
    seed : int
    """

    def __init__(self, method: str, header: dict[str, Any], device: str, seed: int) -> None:
        self.method, self.header, self.device = method, header, usable_device(device)
        self.seed = seed
        torch.manual_seed(seed)
        make = LEARNERS[method]
        self.learner = make(
            header["in_channels"], header["out_channels"], header["patch"], self.device
        )
        self.intensity = Intensity(**header["intensity"])

    @classmethod
    def untrained(cls, method: str, source: PatchSource, device: str, seed: int) -> Network:
        """Return the network that fits the training patches."""
        header = {
            "in_channels": source.in_channels,
            "out_channels": source.out_channels,
            "patch": source.patch,
            "intensity": source.intensity.model_dump(mode="json"),
        }
        return cls(method, header, device, seed)

    @classmethod
    def load(cls, method: str, path: Path, device: str, seed: int) -> Network:
        """Read what `save` wrote.

        Raises
        ------
        CheckpointError
            If the file is damaged, or of another kind.
        """
        tensors, header = load_tensors(path)
        if header.get("baseline") != method:
            raise CheckpointError(
                f"{path}: is not a checkpoint of {method}", "choose another --out"
            )
        network = cls(method, header, device, seed)
        load_weights(path, network.learner.network, tensors)
        return network

    def save(self, path: Path, **record: Any) -> None:
        """Write the generator or restorer as safetensors, with what predicting needs."""
        header = self.header | {"baseline": self.method} | record
        save_tensors(path, dict(self.learner.network.state_dict()), header)

    def train(
        self, source: PatchSource, validation: list[Planes], budget: Budget, progress: Progress
    ) -> dict[str, Any]:
        """Train until the time is over; validations count as training time.

        Where the budget is in minutes and a validation is slow, only some are made: no more than
        fit into a fifth of the time, and one at the end.

        Returns
        -------
        dict
            `steps`, `minutes`, `kept_step`, `validation_mae`: (step, counts) pairs.
        """
        learner, start = self.learner, time.monotonic()
        step, done = 0, 0.0
        errors: list[tuple[int, float]] = []
        rounds, validating = 0, 0.0
        best: tuple[float, int, dict[str, Tensor]] = (math.inf, 0, {})
        while done < 1:
            step += 1
            torch.manual_seed(mixed_seed(self.seed, step))  # dropout
            batch = source.batch(step, learner.batch_size)  # [-1, 1] spans the intensity range
            moved = (t.to(self.device) for t in (batch.cond, batch.x0, batch.weight))
            loss = learner.step(*moved)
            if not math.isfinite(loss):
                raise DataError(
                    f"training {self.method}: the loss is {loss} after {step} steps",
                    "are the intensities of the training images sound?",
                )
            done = budget.done(step, time.monotonic() - start)
            progress(min(done, 1.0), step, loss)
            spent = time.monotonic() - start
            pays = budget.minutes is None or done >= 1 or validating <= VALIDATION_SHARE * spent
            if learner.keeps_best and pays and int(done * VALIDATIONS) > rounds:
                error = self.validate(validation)
                validating += time.monotonic() - start - spent
                rounds = int(done * VALIDATIONS)
                errors.append((step, error))
                learner.validated(error)
                if error < best[0]:
                    weights = learner.network.state_dict()
                    best = (error, step, {k: v.clone() for k, v in weights.items()})
                done = budget.done(step, time.monotonic() - start)
        if best[2]:
            learner.network.load_state_dict(best[2])
        minutes = (time.monotonic() - start) / 60
        kept = best[1] or step
        return {"steps": step, "minutes": minutes, "kept_step": kept, "validation_mae": errors}

    def validate(self, validation: list[Planes]) -> float:
        """Return the mean absolute error, in counts, of the centres of a few planes."""
        found = []
        for planes in validation[:VALIDATION_PLANES]:
            low, high, mask = central(planes, VALIDATION_CROP, 1)
            error = np.abs(self.predict(low) - high)
            if mask is not None and mask.any():
                error = error[np.broadcast_to(mask, error.shape)]
            found.append(float(error.mean()))
        return float(np.mean(found))

    def require_channels(self, low: np.ndarray, name: str) -> None:
        """Refuse (P, C, Y, X) images with other channels than those trained on.

        Raises
        ------
        DataError
            If there are more or fewer.
        """
        if low.shape[1] != self.header["in_channels"]:
            raise DataError(
                f"{name}: has {low.shape[1]} channels, {self.method} was trained with "
                f"{self.header['in_channels']}",
                "give all pairs the same channels",
            )

    def predict(self, low: np.ndarray) -> np.ndarray:
        """Restore planes as a whole, padded by reflection to the network's multiple.

        Parameters
        ----------
        low : (P, C, Y, X) float32
            In counts.

        Returns
        -------
        (P, C, Y, X) float32
            In counts.
        """
        c, made = self.intensity, []
        multiple = self.learner.multiple
        below, right = (-n % multiple for n in low.shape[2:])
        for i, plane in enumerate(low):
            scaled = (plane - c.input_offset) / c.input_scale
            padded = np.pad(scaled, ((0, 0), (0, below), (0, right)), mode="symmetric")
            torch.manual_seed(mixed_seed(self.seed, i))  # pix2pix predicts with dropout
            tensor = torch.from_numpy(padded[None].astype(np.float32)).to(self.device)
            out = self.learner.predict(tensor).cpu().numpy()[0]
            out = out[:, : plane.shape[1], : plane.shape[2]]
            made.append(out * c.output_scale + c.output_offset)
        return np.stack(made).astype(np.float32)
