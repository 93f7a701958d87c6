"""The training loop."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config import TrainConfig
from ..data.pairs import Pair
from ..data.patches import mixed_seed
from ..diffusion.loss import diffusion_loss
from ..errors import DataError
from ..files import write_bytes
from .averages import Averages
from .board import Board
from .checkpoint import (
    Checkpoint,
    build_denoiser,
    describe_model,
    start_weights,
)
from .engine import half_precision, start_fabric
from .loader import Loader, patch_source
from .rate import learning_rate
from .state import Row, learnt_by_heart, load_state, remove_leftovers, save_state, write_log
from .validation import Score, Validation, validation_sampler

#: Called after every step with (step, steps, loss, validation score or None).
Progress = Callable[[int, int, float, Score | None], None]


def _tell(message: str) -> None:
    sys.stderr.write(f"\n{message}\n")


class Trainer:
    """Train a denoiser, validate it, keep the best and resume.

    Parameters
    ----------
    pairs : list of Pair
        With their splits.
    config : TrainConfig
    out : Path
        Run folder: config.json, log.csv, last.safetensors (to resume), best.safetensors (lowest
        validation error), final.safetensors (the average at the end), snapshots (for other
        averages).
    device : str
        "cpu" or "cuda".
    devices, nodes : int
        Processes on this machine, and machines.
    start : Path, optional
        Checkpoint whose weights a new run starts from. The constants between counts and model
        units are learnt from the new pairs.
    tensorboard : bool
        Also log for TensorBoard, with images.
    tell : callable
        Takes a warning.

    Raises
    ------
    DataError, ConfigError, CheckpointError
        If a pair, the device or `start` cannot be used.
    MissingDependency
        If lightning-fabric is not installed, or tensorboard where it is asked for.
    """

    def __init__(
        self,
        pairs: list[Pair],
        config: TrainConfig,
        out: Path,
        device: str,
        *,
        devices: int = 1,
        nodes: int = 1,
        start: Path | None = None,
        tensorboard: bool = False,
        tell: Callable[[str], None] = _tell,
    ) -> None:
        self.config, self.out, self.tell = config, out, tell
        self.source = patch_source([p for p in pairs if p.split == "train"], config)
        channels = self.source.in_channels, self.source.out_channels
        self.validation = Validation([p for p in pairs if p.split == "val"], config, channels)
        self.model = describe_model(config, *channels, self.source.intensity)
        torch.manual_seed(config.seed)
        self.denoiser = build_denoiser(self.model)
        if start:
            self.denoiser.load_state_dict(start_weights(start, self.model))
        self.denoiser.renormalise_()
        self.start = "" if start is None else str(start)
        self.board = Board(out / "tensorboard") if tensorboard else None
        # last, because it starts the other processes: mistakes in the data are found by one
        self.fabric = start_fabric(config, device, devices, nodes)
        self._set_up()
        self.step, self.best, self.rows, self.losses = 0, math.inf, [], []  # type: ignore[var-annotated]

    def _set_up(self) -> None:
        config, fabric = self.config, self.fabric
        self.device, self.low = fabric.device, half_precision(config, fabric.device)
        self.denoiser.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averages = Averages(self.denoiser, config, self.out)
        self.optimiser = torch.optim.AdamW(
            self.denoiser.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        network: Any = torch.compile(self.denoiser) if config.compile else self.denoiser
        self.network, self._stepper = fabric.setup(network, self.optimiser)
        self.loader = Loader(self.source, config, fabric.global_rank, fabric.world_size)

    def run(self, progress: Progress, ema_width: float | None = None) -> Path:
        """Train to the end, from the last checkpoint if there is one.

        Parameters
        ----------
        progress : callable
        ema_width : float, optional
            Width of the average in final.safetensors, instead of `config.ema`. A finished run is
            not trained again: repeat with other widths, and compare.

        Returns
        -------
        Path
            The checkpoint with the lowest validation error, best.safetensors. The average at the
            end is final.safetensors: to be preferred where the validation images are of another
            kind than those the model is for.

        Raises
        ------
        DataError
            If the loss is not a number, or the disk is full. The last checkpoint is kept.
        CheckpointError, ConfigError
            If `out` holds a run with other settings, or there is no average of this width.
        """
        self._resume()
        if self.fabric.is_global_zero:
            write_bytes(self.out / "config.json", self.config.model_dump_json(indent=2).encode())
        score = None
        while self.step < self.config.steps:
            loss = self._advance()
            score = None
            if self.step % self.config.validate_every == 0 or self.step == self.config.steps:
                score = self._validate_and_save()
            progress(self.step, self.config.steps, loss, score)
        self._finish(score, ema_width)
        return self.out / "best.safetensors"

    def _advance(self) -> float:
        self.step += 1
        config = self.config
        drawn = self.loader.take(self.step)
        torch.manual_seed(mixed_seed(config.seed, self.step, self.loader.first, 1))  # dropout
        self.denoiser.train()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(config, self.step)
        self._stepper.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for i, part in enumerate(drawn.parts(config.accumulate, self.device), 1):
            cond, x0, eps, weight, level = part
            with self.fabric.no_backward_sync(self.network, enabled=i < config.accumulate):
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.low):
                    loss = diffusion_loss(
                        self.network, x0, cond, level, eps, config.prediction, weight, config.loss
                    )
                self.fabric.backward(loss / config.accumulate)
            total += loss.detach() / config.accumulate
        value = float(self._mean(total))
        if not math.isfinite(value):
            self._stop("the loss")
        self._stepper.step()
        self.denoiser.renormalise_()
        self.averages.update(self.denoiser, self.step)
        self.losses.append(value)
        if self.step in self.averages.steps and self.fabric.is_global_zero:
            self.averages.keep(self.step)
        return value

    def _mean(self, value: Tensor) -> Tensor:
        if self.fabric.world_size == 1:
            return value
        return self.fabric.all_reduce(value, reduce_op="mean")  # type: ignore[return-value]

    def _stop(self, what: str) -> None:
        batch = self.source.batch(self.step, self.config.batch_size)
        names = ", ".join(dict.fromkeys(batch.names))
        raise DataError(
            f"step {self.step}: {what} is not a number, after a batch from {names}",
            "look for extreme values in these images, or train with a lower learning_rate; "
            "the last checkpoint is kept",
        )

    def averaged(self, weights: dict[str, Tensor] | None = None) -> Checkpoint:
        """Return averaged weights as a checkpoint: those given, or the present ones."""
        denoiser = build_denoiser(self.model)
        weights = weights or self.averages.current.weights
        denoiser.load_state_dict({k: v.cpu() for k, v in weights.items()})
        info = {
            "step": self.step,
            "train": self.config.model_dump(mode="json"),
            "noise": asdict(self.source.noise),
        } | ({"start": self.start} if self.start else {})
        return Checkpoint(self.model, denoiser, info)

    def validate(self, checkpoint: Checkpoint | None = None) -> Score:
        """Return the errors of a checkpoint, or of the present average, on validation images."""
        fabric = self.fabric
        sampler = self._sampler(checkpoint or self.averaged())
        share = fabric.global_rank, fabric.world_size
        return self.validation.score(
            sampler,
            self.model.intensity.span,
            self.device,
            share,
            lambda errors: self._mean(errors) * fabric.world_size,
        )

    def _sampler(self, checkpoint: Checkpoint, single: bool = False) -> nn.Module:
        return checkpoint.sampler(validation_sampler(self.config, single)).to(self.device)

    def _validate_and_save(self) -> Score:
        average = self.averaged()
        score = self.validate(average)
        if not math.isfinite(score.mae):
            self._stop("the validation error")
        row: Row = {
            "step": self.step,
            "loss": math.fsum(self.losses) / len(self.losses),
            "learning_rate": learning_rate(self.config, self.step),
            "validation_mae": score.mae,
            "validation_psnr": score.psnr,
        }
        self.rows.append(row)
        self.losses = []
        better, self.best = score.mae < self.best, min(score.mae, self.best)
        if self.fabric.is_global_zero:
            if better:
                self._save("best.safetensors", average, score.mae)
            self._save_state()
            self._report(row, average)
        return score

    def _report(self, row: Row, average: Checkpoint) -> None:
        if self.board:
            samplers = self._sampler(average), self._sampler(average, single=True)
            self.board.show(row, self.validation.fields[0], samplers, self.device)
        warning = learnt_by_heart(self.rows)
        if warning and not learnt_by_heart(self.rows[:-1]):
            self.tell(warning)

    def _save(self, name: str, average: Checkpoint, mae: float, **more: float) -> None:
        average.info |= {"validation_mae": mae} | more
        average.save(self.out / name)

    def _save_state(self) -> None:
        header = {
            "step": self.step,
            "best": self.best,
            "train": json.loads(self.config.model_dump_json()),
            "start": self.start,
            "log": self.rows,
        }
        path = self.out / "last.safetensors"
        save_state(path, self.denoiser, self.averages, self.optimiser, header)
        write_log(self.out / "log.csv", self.rows)

    def _resume(self) -> None:
        if self.fabric.is_global_zero:
            remove_leftovers(self.out)
        path = self.out / "last.safetensors"
        if not path.exists():
            return
        header = load_state(path, self.config, self.denoiser, self.averages, self.optimiser)
        self.step, self.best = int(header["step"]), float(header["best"])
        self.rows, self.start = header["log"], header["start"]
        if self.fabric.is_global_zero:
            write_log(self.out / "log.csv", self.rows)

    def _finish(self, score: Score | None, width: float | None) -> None:
        """Write the average at the end."""
        more = {}
        average = self.averaged()
        if width is not None and width != self.config.ema:
            weights, error = self.averages.rebuild(width)
            average, score = self.averaged(weights), None
            more = {"ema_width": width, "ema_error": error}
        score = score or self.validate(average)
        if self.fabric.is_global_zero:
            self._save("final.safetensors", average, score.mae, **more)
            if self.board:
                self.board.close()
        if self.fabric.world_size > 1:
            self.fabric.barrier()
            torch.distributed.destroy_process_group()
