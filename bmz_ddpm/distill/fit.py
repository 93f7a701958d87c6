"""The distillation: draw patches, let the sampler denoise them, teach the student."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config import TrainConfig, make_train_config
from ..data.pairs import Pair
from ..data.patches import mixed_seed
from ..device import usable_device
from ..diffusion.assemble import SamplerSettings, noise_only_weight
from ..diffusion.denoiser import Denoiser
from ..diffusion.schedule import Schedule
from ..errors import ConfigError, DataError
from ..files import write_bytes
from ..train.averages import Averages
from ..train.checkpoint import Checkpoint, build_student
from ..train.engine import half_precision
from ..train.loader import patch_source
from ..train.rate import learning_rate
from ..train.state import load_state, remove_leftovers, save_state
from .agreement import Agreement, measure_agreement
from .loss import student_loss

#: Called after every step with (step, steps, loss).
Progress = Callable[[int, int, float], None]
#: Samples that the sampler draws of every patch, one in each mirror image. Their variance is what
#: the spread is learnt from: four say three times as much about it as two, at 1.7 times the cost.
DRAWS = 4


def student_config(checkpoint: Checkpoint, given: dict[str, Any]) -> TrainConfig:
    """Return the settings of a distillation: the teacher's patches, a shorter run.

    Parameters
    ----------
    given : dict
        Settings of `TrainConfig` that override them.
    """
    teacher = checkpoint.info.get("train", {})
    short: dict[str, Any] = {"steps": 2000, "learning_rate": 5e-3, "ema": 0.1, "snapshots": 0}
    short |= {"validate_every": 250, "validation_crop": 128, "annealing": "once", "accumulate": 1}
    short |= {"warmup": 100}
    return make_train_config(teacher | short | given, "options")


class Distiller:
    """Teach a student what a model's sampler does.

    Parameters
    ----------
    checkpoint : Checkpoint
        The teacher. If it has a student already, that one is taught further.
    settings : SamplerSettings
        The sampler whose mean and std are learnt.
    pairs : list of Pair
        Training pairs; the student sees the noisy images and what the teacher makes of them.
        Validation pairs serve to measure how near it comes.
    config : TrainConfig
        From `student_config`.
    out : Path
        Run folder: config.json, last.safetensors (to resume), student.safetensors (teacher and
        student in one checkpoint).
    device : str
    half : bool
        Write the weights as float16: half the size.

    Raises
    ------
    DataError, ConfigError
        If a pair or the device cannot be used.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        settings: SamplerSettings,
        pairs: list[Pair],
        config: TrainConfig,
        out: Path,
        device: str,
        *,
        half: bool = False,
    ) -> None:
        if settings.one_pass:
            raise ConfigError(
                "--profile instant: is the student itself", "distil it from balanced or paper"
            )
        self.checkpoint, self.settings, self.config, self.out = checkpoint, settings, config, out
        self.source = patch_source([p for p in pairs if p.split == "train"], config)
        model = checkpoint.config
        self._check_channels(self.source.in_channels, self.source.out_channels)
        self.source.intensity = model.intensity  # the student takes the teacher's units
        self.held_out = [p for p in pairs if p.split == "val"]
        self.device = usable_device(device)
        self.low = half_precision(config, self.device)
        drawing = replace(settings, num_samples=DRAWS, samples_per_pass=DRAWS)
        self.teacher: Any = checkpoint.sampler(drawing).to(self.device)
        schedule = Schedule(model.num_train_steps, model.schedule_offset)
        self.channels = model.out_channels
        self.noisiest = float(schedule.alpha_bar()[-1])
        self.weight = noise_only_weight(schedule, model.prediction)
        torch.manual_seed(config.seed)
        self.student = first_student(checkpoint).to(self.device)
        self.averages = Averages(self.student, config, out)
        self.optimiser = torch.optim.AdamW(
            self.student.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        known = (checkpoint.denoiser, checkpoint.student)
        self.teachers = [fingerprint(module) for module in known if module]
        self.dtype = torch.float16 if half else torch.float32
        self.step = 0

    def _check_channels(self, in_channels: int, out_channels: int) -> None:
        model = self.checkpoint.config
        if (in_channels, out_channels) != (model.in_channels, model.out_channels):
            raise DataError(
                f"the pairs have {in_channels} channels in and {out_channels} out, the checkpoint "
                f"{model.in_channels} and {model.out_channels}",
                "choose the channels it was trained on with --channel",
            )

    def run(self, progress: Progress) -> tuple[Path, Agreement | None]:
        """Distil to the end, from where an earlier run stopped.

        Returns
        -------
        Path
            The checkpoint with both, student.safetensors.
        Agreement or None
            How near the student comes on the validation images; None if there are none.

        Raises
        ------
        DataError
            If the loss is not a number, or the disk is full.
        CheckpointError
            If `out` holds a run with other settings or another teacher.
        """
        self._resume()
        write_bytes(self.out / "config.json", self.config.model_dump_json(indent=2).encode())
        while self.step < self.config.steps:
            loss = self._advance()
            if self.step % self.config.validate_every == 0 or self.step == self.config.steps:
                self._save_state()
            progress(self.step, self.config.steps, loss)
        student = build_student(self.checkpoint.config)
        student.load_state_dict({k: v.cpu() for k, v in self.averages.current.weights.items()})
        made = Checkpoint(
            self.checkpoint.config, self.checkpoint.denoiser, dict(self.checkpoint.info), student
        )
        agreement = measure_agreement(made, self.settings, self.held_out, self.config, self.device)
        made.info["student"] = {
            "steps": self.config.steps,
            "sampler": asdict(self.settings),
            "agreement": agreement and asdict(agreement),
        }
        path = self.out / "student.safetensors"
        made.save(path, self.dtype)
        return path, agreement

    def _advance(self) -> float:
        self.step += 1
        batch = self.source.batch(self.step, self.config.batch_size)
        cond = batch.cond.to(self.device)
        torch.manual_seed(mixed_seed(self.config.seed, self.step, 2))
        self.student.train()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config, self.step)
        samples = self._samples(cond)
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.low):
            net = student_outputs(self.student, cond, self.channels, self.noisiest).float()
        mean, log_std = net.chunk(2, 1)
        loss = student_loss(mean * self.weight, log_std.clamp(-12.0, 4.0), samples)
        loss.backward()
        value = float(loss.detach())
        if not math.isfinite(value):
            names = ", ".join(dict.fromkeys(batch.names))
            raise DataError(
                f"step {self.step}: the loss is not a number, after a batch from {names}",
                "look for extreme values in these images; the last checkpoint is kept",
            )
        self.optimiser.step()
        self.student.renormalise_()
        self.averages.update(self.student, self.step)
        return value

    @torch.no_grad()
    def _samples(self, cond: Tensor) -> Tensor:
        """Draw (N, B, C, Y, X) samples with fresh noise; the four mirror images take turns."""
        shape = cond.shape[0], 1, *cond.shape[2:]
        places = torch.randint(-(2**62), 2**62, shape).to(self.device)
        draws = (torch.arange(DRAWS) + DRAWS * self.step).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.low):
            return self.teacher.sample(cond, places, draws).float()

    def _save_state(self) -> None:
        header = {
            "step": self.step,
            "train": self.config.model_dump(mode="json"),
            "teacher": self.teachers,
            "sampler": asdict(self.settings),
        }
        path = self.out / "last.safetensors"
        save_state(path, self.student, self.averages, self.optimiser, header)

    def _resume(self) -> None:
        remove_leftovers(self.out)
        path = self.out / "last.safetensors"
        if not path.exists():
            return
        header = load_state(path, self.config, self.student, self.averages, self.optimiser)
        wanted = self.teachers, asdict(self.settings)
        if (header.get("teacher"), header.get("sampler")) != wanted:
            raise ConfigError(
                f"{path}: belongs to another checkpoint or sampler", "choose another --out"
            )
        self.step = int(header["step"])


def first_student(checkpoint: Checkpoint) -> Denoiser:
    """Return the student there is, or one that is its teacher with a random spread."""
    student = build_student(checkpoint.config)
    if checkpoint.student:
        student.load_state_dict(checkpoint.student.state_dict())
        return student
    state = checkpoint.denoiser.state_dict()
    own = student.state_dict()["unet.conv_out.weight"].clone()
    own[: len(state["unet.conv_out.weight"])] = state["unet.conv_out.weight"]
    student.load_state_dict(state | {"unet.conv_out.weight": own})
    student.renormalise_()
    return student


def student_outputs(student: Denoiser, cond: Tensor, channels: int, noisiest: float) -> Tensor:
    """Run a student: (B, C_in, Y, X) in model units to (B, 2·channels, Y, X)."""
    x_t = torch.zeros_like(cond[:, :1]).expand(-1, channels, -1, -1)
    level = torch.full((1,), noisiest, dtype=torch.float64, device=cond.device)
    return student(x_t, cond, level)


def fingerprint(denoiser: Denoiser) -> str:
    """Return a hash of all weights."""
    digest = hashlib.sha256()
    for name, value in sorted(denoiser.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
