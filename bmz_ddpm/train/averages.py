"""The averages that a run keeps, and the snapshots from which any other width is rebuilt."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from ..config import TrainConfig
from ..errors import CheckpointError, ConfigError
from .checkpoint import load_tensors, save_tensors
from .ema import PowerAverage, combination, gamma_of_width

#: Widths of which snapshots are kept: Karras et al. (2024), section 3.2.
SNAPSHOT_WIDTHS = (0.05, 0.10)
#: A rebuilt profile may differ from the wanted one by this share of its length.
LARGEST_ERROR = 0.1


class Averages:
    """The average that is validated (`config.ema`), and two others if snapshots are kept.

    Parameters
    ----------
    model : nn.Module
    config : TrainConfig
    out : Path
        Run folder.

    Attributes
    ----------
    tracked : dict of float to PowerAverage
        By width.
    """

    def __init__(self, model: nn.Module, config: TrainConfig, out: Path) -> None:
        self.config, self.folder = config, out / "snapshots"
        widths = {config.ema, *(SNAPSHOT_WIDTHS if config.snapshots else ())}
        self.tracked = {width: PowerAverage(model, width) for width in sorted(widths)}
        self.parameters = [name for name, _ in model.named_parameters()]

    @property
    def current(self) -> PowerAverage:
        """The average that is validated and kept as best and final."""
        return self.tracked[self.config.ema]

    @property
    def steps(self) -> list[int]:
        """Steps after which a snapshot is kept, the last one included."""
        config = self.config
        if not config.snapshots:
            return []
        every = math.ceil(config.steps / config.snapshots)
        return [*range(every, config.steps, every), config.steps]

    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after optimiser step `step` (1, 2, …)."""
        for average in self.tracked.values():
            average.update(model, step)

    def keep(self, step: int) -> None:
        """Write a snapshot; a step that is repeated after a crash writes the same again."""
        tensors = {
            f"{width}/{name}": self.tracked[width].weights[name]
            for width in SNAPSHOT_WIDTHS
            for name in self.parameters
        }
        save_tensors(self._path(step), tensors, {"step": step})

    def rebuild(self, width: float) -> tuple[dict[str, Tensor], float]:
        """Return the weights averaged with another width, over the whole run.

        Parameters
        ----------
        width : float
            0.01 to 0.27; a share of the run.

        Returns
        -------
        weights : dict of str to Tensor
        error : float
            Distance of the rebuilt profile from the wanted one, as a share of its length.

        Raises
        ------
        ConfigError
            If no average can have this width, or the snapshots are too few for it.
        CheckpointError
            If a snapshot is missing or damaged.
        """
        if width in self.tracked:
            return self.tracked[width].weights, 0.0
        if not 0 < width < 0.28:
            raise ConfigError(
                f"--ema-width {width:g}: is not a width, it must be above 0 and below 0.28",
                "e.g. --ema-width 0.08",
            )
        if not self.steps:
            raise ConfigError(
                f"--ema-width {width:g}: this run kept no snapshots",
                "train with snapshots = 8, or more",
            )
        places = [(w, step) for step in self.steps for w in SNAPSHOT_WIDTHS]
        profiles = [(gamma_of_width(w), step) for w, step in places]
        share, error = combination(profiles, (gamma_of_width(width), self.config.steps))
        if error > LARGEST_ERROR:
            raise ConfigError(
                f"--ema-width {width:g}: cannot be rebuilt from {len(self.steps)} snapshots, "
                f"it would be off by {error:.0%}",
                "choose a larger width, or train with more snapshots",
            )
        weights = {k: v.double() for k, v in self.current.weights.items()}
        for name in self.parameters:
            weights[name].zero_()
        for i, step in enumerate(self.steps):
            tensors, _ = load_tensors(self._path(step))
            for w, factor in zip(SNAPSHOT_WIDTHS, share[2 * i : 2 * i + 2], strict=True):
                self._add(weights, tensors, w, float(factor), step)
        dtypes = {k: v.dtype for k, v in self.current.weights.items()}
        return {k: v.to(dtypes[k]) for k, v in weights.items()}, error

    def _add(
        self,
        weights: dict[str, Tensor],
        tensors: dict[str, Tensor],
        width: float,
        factor: float,
        step: int,
    ) -> None:
        for name in self.parameters:
            part = tensors.get(f"{width}/{name}")
            if part is None or part.shape != weights[name].shape:
                raise CheckpointError(
                    f"{self._path(step)}: is not a snapshot of this run",
                    "choose the --out of the run it belongs to",
                )
            weights[name] += factor * part.to(weights[name])

    def _path(self, step: int) -> Path:
        return self.folder / f"{step:08}.safetensors"

    def state(self) -> dict[str, Tensor]:
        """Return all averages as named tensors."""
        return {
            f"average/{width}/{name}": value
            for width, average in self.tracked.items()
            for name, value in average.weights.items()
        }

    def load_state(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        """Take over what `state` returned.

        Raises
        ------
        KeyError
            If a tensor is missing.
        """
        for width, average in self.tracked.items():
            average.weights = {
                name: tensors[f"average/{width}/{name}"].to(device) for name in average.weights
            }
