"""Checkpoints: one safetensors file whose JSON header says how to rebuild the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from ..config import Calibration, Intensity, ModelConfig, TrainConfig
from ..diffusion.assemble import (
    SamplerSettings,
    assemble_one_pass,
    assemble_sampler,
    with_intervals,
)
from ..diffusion.denoiser import SIZES, Denoiser
from ..diffusion.one_pass import OnePass
from ..diffusion.sampler import DiffusionSampler
from ..diffusion.schedule import Schedule
from ..errors import CheckpointError, ConfigError
from ..files import write_bytes

FORMAT = "bmz-ddpm checkpoint 1"
#: What the names of the student's tensors start with.
STUDENT = "student/"


def describe_model(
    config: TrainConfig, in_channels: int, out_channels: int, intensity: Intensity
) -> ModelConfig:
    """Return what a checkpoint of this run needs to be rebuilt."""
    return ModelConfig(
        in_channels=in_channels,
        out_channels=out_channels,
        network=SIZES[config.size],
        num_train_steps=config.num_train_steps,
        schedule_offset=config.schedule_offset,
        prediction=config.prediction,
        label=config.label,
        intensity=intensity,
    )


def build_denoiser(config: ModelConfig) -> Denoiser:
    """Return an untrained denoiser of this configuration."""
    return Denoiser(config.in_channels, config.out_channels, config.network, config.label)


def build_student(config: ModelConfig) -> Denoiser:
    """Return an untrained one-pass student of a model: the same network with two statistics."""
    network = {**config.network, "statistics": 2}
    return Denoiser(config.in_channels, config.out_channels, network, config.label)


def save_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write tensors and a JSON header; the file appears only when it is complete.

    Raises
    ------
    DataError
        If the disk is full or the place cannot be written to.
    """
    from safetensors.torch import save

    data = save(
        {k: v.detach().cpu().contiguous() for k, v in tensors.items()},
        metadata={"format": FORMAT, "header": json.dumps(header)},
    )
    write_bytes(path, data)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, or was not written by this tool.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"{path}: does not exist", "name a .safetensors checkpoint")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CheckpointError(
                    f"{path}: is not a bmz-ddpm checkpoint",
                    "name the best.safetensors that bmz-ddpm train wrote",
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as safetensors ({error})", "is the file complete?"
        ) from error
    return tensors, json.loads(metadata["header"])


def stored_type(path: Path) -> torch.dtype:
    """Return the type of the weights in a checkpoint's file; float16 is half as large."""
    return next(iter(load_tensors(path)[0].values())).dtype


class Checkpoint:
    """A trained denoiser and everything needed to run it.

    Attributes
    ----------
    config : ModelConfig
    denoiser : Denoiser
        In evaluation mode, on the CPU.
    info : dict
        How it was trained: the training settings, step, validation error, noise model; and in
        "student", if there is one, how it was distilled and how near it comes.
    student : Denoiser or None
        Returns mean and spread in one pass; see `distill`.
    """

    def __init__(
        self,
        config: ModelConfig,
        denoiser: Denoiser,
        info: dict[str, Any],
        student: Denoiser | None = None,
    ) -> None:
        self.config, self.denoiser, self.info = config, denoiser.eval(), info
        self.student = student.eval() if student else None

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read a checkpoint.

        Raises
        ------
        CheckpointError
            If the file is missing, damaged, not ours, or its weights do not fit.
        """
        tensors, header = load_tensors(path)
        distilled = {k: tensors.pop(k) for k in list(tensors) if k.startswith(STUDENT)}
        try:
            config = ModelConfig(**header["model"])
            denoiser = build_denoiser(config)
        except (KeyError, TypeError, ValidationError) as error:
            raise CheckpointError(
                f"{path}: its header does not describe a model ({error})".splitlines()[0],
                "name the best.safetensors of a run; if it is one, update bmz-ddpm",
            ) from error
        load_weights(path, denoiser, tensors)
        student = build_student(config) if distilled else None
        if student:
            load_weights(path, student, {k.removeprefix(STUDENT): distilled[k] for k in distilled})
        return cls(config, denoiser, header.get("info", {}), student)

    def save(self, path: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write the checkpoint, with the student if there is one.

        Parameters
        ----------
        dtype : torch.dtype
            Of the weights in the file; float16 makes it half as large.

        Raises
        ------
        DataError
            If the disk is full or the place cannot be written to.
        """
        tensors = dict(self.denoiser.state_dict())
        if self.student:
            tensors |= {STUDENT + k: v for k, v in self.student.state_dict().items()}
        header = {"model": self.config.model_dump(mode="json"), "info": self.info}
        save_tensors(path, {k: v.to(dtype) for k, v in tensors.items()}, header)

    def sampler(self, settings: SamplerSettings) -> DiffusionSampler | OnePass:
        """Return the whole sampler, or the student, as one module.

        Raises
        ------
        ConfigError
            If more steps are asked for than the model was trained with, or there is no student.
        """
        config = self.config
        known: dict[str, Any] = {
            "in_channels": config.in_channels,
            "out_channels": config.out_channels,
            "network": config.network,
            "schedule": Schedule(config.num_train_steps, config.schedule_offset),
            "prediction": config.prediction,
            "intensity": config.intensity,
        }
        if settings.one_pass:
            if self.student is None:
                raise ConfigError(
                    "--profile instant: this checkpoint has no one-pass student",
                    "make one with bmz-ddpm distill, or use --profile fast",
                )
            return assemble_one_pass(self.student, num_samples=settings.num_samples, **known)
        if settings.num_steps > config.num_train_steps:
            raise ConfigError(
                f"--steps {settings.num_steps}: the model was trained with "
                f"{config.num_train_steps} steps, it cannot take more",
                f"use {config.num_train_steps} or fewer",
            )
        return assemble_sampler(self.denoiser, settings=settings, **known)

    def calibration(self, settings: SamplerSettings) -> Calibration | None:
        """Return the calibration of this sampler, if there is one."""
        kind = json.loads(json.dumps(settings.kind))  # as it was written
        return next((c for c in self.config.calibrations if c.sampler == kind), None)

    def module(self, settings: SamplerSettings) -> nn.Module:
        """Return `sampler`, with lower and upper as further outputs where it is calibrated."""
        sampler, calibration = self.sampler(settings), self.calibration(settings)
        if calibration is None:
            return sampler
        return with_intervals(sampler, calibration, self.config.intensity)

    def with_calibration(self, calibration: Calibration) -> Checkpoint:
        """Return the same model with one more calibration, in place of one of the same sampler."""
        others = (c for c in self.config.calibrations if c.sampler != calibration.sampler)
        config = self.config.model_copy(update={"calibrations": (*others, calibration)})
        return Checkpoint(config, self.denoiser, self.info, self.student)


def load_weights(path: Path, module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load weights into a module.

    Raises
    ------
    CheckpointError
        If names or shapes differ; the first difference is named.
    """
    own = module.state_dict()
    for name in sorted(own.keys() ^ tensors.keys()):
        side = "lacks" if name in own else "has an unknown"
        raise CheckpointError(
            f"{path}: {side} tensor '{name}'", "use a checkpoint written by bmz-ddpm train"
        )
    for name, value in own.items():
        if tensors[name].shape != value.shape:
            raise CheckpointError(
                f"{path}: tensor '{name}' is {tuple(tensors[name].shape)}, the model needs "
                f"{tuple(value.shape)}",
                "use a checkpoint written by bmz-ddpm train",
            )
    module.load_state_dict(tensors)


def start_weights(path: Path, model: ModelConfig) -> dict[str, Tensor]:
    """Return a checkpoint's weights, to train them further.

    Raises
    ------
    CheckpointError
        If they are for another network, other channels or another prediction.
    """
    start = Checkpoint.load(path)
    for name in ("in_channels", "out_channels", "network", "prediction", "label"):
        found, wanted = getattr(start.config, name), getattr(model, name)
        if found != wanted:
            raise CheckpointError(
                f"--start {path}: has {name} = {found}, this run has {wanted}",
                "choose the same settings and channels as the checkpoint's",
            )
    return start.denoiser.state_dict()
