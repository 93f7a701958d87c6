"""The training loop."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from ..config import ModelConfig, TrainConfig
from ..data.pairs import Pair
from ..data.patches import PatchSource, step_seed
from ..data.planes import load_planes
from ..device import usable_device
from ..diffusion.assemble import SamplerSettings
from ..diffusion.denoiser import SIZES, Denoiser
from ..diffusion.loss import diffusion_loss, draw_alpha_bar
from ..diffusion.schedule import Schedule
from ..errors import CheckpointError, DataError
from ..files import write_bytes
from .checkpoint import (
    Checkpoint,
    load_tensors,
    load_weights,
    save_tensors,
)
from .ema import PowerAverage

#: Called after every step with (step, steps, loss, validation MAE or None).
Progress = Callable[[int, int, float, float | None], None]
WARMUP = 100
VALIDATION_CROP = 256


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then one cosine annealing to zero over the whole run."""
    if step <= WARMUP and config.steps > 2 * WARMUP:
        return config.learning_rate * step / WARMUP
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / config.steps))


class Trainer:
    """Train a denoiser, validate it, keep the best and resume.

    Parameters
    ----------
    pairs : list of Pair
        With their splits.
    config : TrainConfig
    out : Path
        Run folder: config.json, log.csv, last.safetensors (to resume), best.safetensors (lowest
        validation error), final.safetensors (the average at the end).
    device : str
        "cpu" or "cuda".

    Raises
    ------
    DataError
        If a pair cannot be used.
    CheckpointError
        If `out` holds a run with other settings.
    """

    def __init__(self, pairs: list[Pair], config: TrainConfig, out: Path, device: str) -> None:
        self.config, self.out, self.device = config, out, usable_device(device)
        self.source = PatchSource(
            [p for p in pairs if p.split == "train"],
            config.patch,
            config.augment,
            config.seed,
            config.units,
            config.match_intensity,
        )
        match = config.match_intensity
        self.validation = [load_planes(p, match)[:2] for p in pairs if p.split == "val"]
        self._check_validation(pairs)
        self.model = ModelConfig(
            in_channels=self.source.in_channels,
            out_channels=self.source.out_channels,
            network=SIZES[config.size],
            num_train_steps=config.num_train_steps,
            schedule_offset=config.schedule_offset,
            prediction=config.prediction,
            label=config.label,
            intensity=self.source.intensity,
        )
        torch.manual_seed(config.seed)
        m = self.model
        denoiser = Denoiser(m.in_channels, m.out_channels, m.network, m.label)
        denoiser.renormalise_()
        self.denoiser = denoiser.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = PowerAverage(self.denoiser, config.ema)
        self.optimiser = torch.optim.AdamW(
            self.denoiser.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.alpha_bar = torch.from_numpy(
            Schedule(config.num_train_steps, config.schedule_offset).alpha_bar()
        )
        self.step = 0
        self.best = math.inf

    def _check_validation(self, pairs: list[Pair]) -> None:
        names = [p.low for p in pairs if p.split == "val"]
        want = (self.source.in_channels, self.source.out_channels)
        for name, (low, high) in zip(names, self.validation, strict=True):
            if (low.shape[1], high.shape[1]) != want:
                raise DataError(
                    f"{name}: has {low.shape[1]} channels in and {high.shape[1]} out, the training "
                    f"pairs have {want[0]} and {want[1]}",
                    "give all pairs the same channels",
                )

    def run(self, progress: Progress) -> Path:
        """Train to the end, from the last checkpoint if there is one.

        Returns
        -------
        Path
            The checkpoint with the lowest validation error, best.safetensors. The average at the
            end is final.safetensors: to be preferred where the validation images are of another
            kind than those the model is for.
        """
        self._resume()
        write_bytes(self.out / "config.json", self.config.model_dump_json(indent=2).encode())
        mae = None
        while self.step < self.config.steps:
            loss = self._advance()
            mae = None
            if self.step % self.config.validate_every == 0 or self.step == self.config.steps:
                mae = self._validate_and_save(loss)
            progress(self.step, self.config.steps, loss, mae)
        self._save_average("final.safetensors", self.validate() if mae is None else mae)
        return self.out / "best.safetensors"

    def _advance(self) -> float:
        self.step += 1
        cond, x0, generator = self.source.batch(self.step, self.config.batch_size)
        level = draw_alpha_bar(self.alpha_bar, len(x0), generator, self.config.noisier)
        eps = torch.randn(x0.shape, generator=generator)
        torch.manual_seed(step_seed(self.config.seed, self.step))  # dropout
        self.denoiser.train()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config, self.step)
        x0, cond, level, eps = (t.to(self.device) for t in (x0, cond, level, eps))
        low = self.config.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=low):
            loss = diffusion_loss(self.denoiser, x0, cond, level, eps, self.config.prediction)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.denoiser.renormalise_()
        self.average.update(self.denoiser, self.step)
        return float(loss.detach())

    def averaged(self) -> Checkpoint:
        """Return the averaged weights as a checkpoint."""
        m = self.model
        denoiser = Denoiser(m.in_channels, m.out_channels, m.network, m.label)
        denoiser.load_state_dict({k: v.cpu() for k, v in self.average.weights.items()})
        info = {
            "step": self.step,
            "train": self.config.model_dump(mode="json"),
            "noise": asdict(self.source.noise),
        }
        return Checkpoint(m, denoiser, info)

    @torch.no_grad()
    def validate(self) -> float:
        """Return the mean absolute error, in counts, of the average on the validation fields.

        At most the central 256 x 256 pixels of the first plane of each pair.
        """
        steps = min(self.config.validation_steps, self.config.num_train_steps)
        settings = SamplerSettings(steps, self.config.validation_samples, eta=0.0)
        sampler = self.averaged().sampler(settings).to(self.device)
        errors = []
        for low, high in self.validation:
            rows, columns = low.shape[2:]
            y, x = max(0, rows - VALIDATION_CROP) // 2, max(0, columns - VALIDATION_CROP) // 2
            window = np.s_[:1, :, y : y + VALIDATION_CROP, x : x + VALIDATION_CROP]
            denoised = sampler(torch.from_numpy(low[window]).to(self.device))[0].cpu().numpy()
            errors.append(float(np.abs(denoised - high[window]).mean()))
        return float(np.mean(errors))

    def _validate_and_save(self, loss: float) -> float:
        mae = self.validate()
        if mae < self.best:
            self.best = mae
            self._save_average("best.safetensors", mae)
        self._save_last()
        log = self.out / "log.csv"
        new = not log.exists()
        with log.open("a", newline="") as stream:
            writer = csv.writer(stream)
            if new:
                writer.writerow(["step", "loss", "learning_rate", "validation_mae"])
            writer.writerow([self.step, loss, learning_rate(self.config, self.step), mae])
        return mae

    def _save_average(self, name: str, mae: float) -> None:
        average = self.averaged()
        header = {
            "model": average.config.model_dump(mode="json"),
            "info": average.info | {"validation_mae": mae},
        }
        save_tensors(self.out / name, average.denoiser.state_dict(), header)

    def _save_last(self) -> None:
        tensors = {f"model/{k}": v for k, v in self.denoiser.state_dict().items()}
        tensors |= {f"average/{k}": v for k, v in self.average.weights.items()}
        for name, parameter in self.denoiser.named_parameters():
            for key, value in self.optimiser.state[parameter].items():
                tensors[f"optimiser/{name}/{key}"] = torch.as_tensor(value)
        header = {
            "step": self.step,
            "best": self.best,
            "train": json.loads(self.config.model_dump_json()),
        }
        save_tensors(self.out / "last.safetensors", tensors, header)

    def _resume(self) -> None:
        path = self.out / "last.safetensors"
        if not path.exists():
            return
        tensors, header = load_tensors(path)
        if header.get("train") != json.loads(self.config.model_dump_json()):
            raise CheckpointError(
                f"{path}: belongs to a run with other settings",
                "choose another --out, or the settings in its config.json",
            )

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {
                k[len(prefix) :]: v.to(self.device)
                for k, v in tensors.items()
                if k.startswith(prefix)
            }

        load_weights(path, self.denoiser, part("model/"))
        average = part("average/")
        states = {
            parameter: part(f"optimiser/{name}/")
            for name, parameter in self.denoiser.named_parameters()
        }
        if average.keys() != self.average.weights.keys() or not all(
            state.keys() == {"step", "exp_avg", "exp_avg_sq"} for state in states.values()
        ):
            raise CheckpointError(
                f"{path}: lacks a part of the run's state", "delete it to start over"
            )
        self.average.weights = average
        for parameter, state in states.items():
            self.optimiser.state[parameter] = state | {"step": state["step"].cpu()}
        self.step, self.best = int(header["step"]), float(header["best"])
