"""What is measured: a sampler in every format, and its network alone."""

from __future__ import annotations

import tempfile
import warnings
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..diffusion.assemble import SamplerSettings
from ..diffusion.sampler import DiffusionSampler
from ..errors import CheckpointError
from ..export.onnx import OPSET, save_onnx
from ..export.torchscript import save_torchscript, to_torchscript
from ..package.rdf import WEIGHTS_FILES
from ..train.checkpoint import Checkpoint


@dataclass(frozen=True)
class Subject:
    """A sampler to measure.

    Attributes
    ----------
    sampler : DiffusionSampler or None
        Eager; a package holds none.
    scripted : ScriptModule
    files : dict of Path
        "torchscript" and, where there is one, "onnx".
    checkpoint : Checkpoint or None
        From which samplers of other lengths can be made; a package has one length.
    steps, samples, per_pass : int
    """

    sampler: DiffusionSampler | None
    scripted: Any
    files: dict[str, Path]
    checkpoint: Checkpoint | None
    steps: int
    samples: int
    per_pass: int

    @property
    def passes(self) -> int:
        """Passes through the network per sample and image: steps times samples."""
        return self.steps * self.samples

    @property
    def in_channels(self) -> int:
        """Channels of the microscope image."""
        return int(self.scripted.noise.channel_words.shape[1])

    @property
    def out_channels(self) -> int:
        """Channels of the clean image."""
        return int(self.scripted.out_channels)

    def scripted_on(self, device: str) -> Any:
        """Return the TorchScript sampler on a device."""
        if device == "cpu":
            return self.scripted
        return unwrapped(torch.jit.load(str(self.files["torchscript"]), map_location=device))

    def bare_inputs(self, side: int, batch: int = 1) -> tuple[Tensor, Tensor, Tensor]:
        """Return x_t, condition and modulation of one pass over a square tile."""
        random = torch.Generator().manual_seed(0)
        x_t = torch.randn(batch, self.out_channels, side, side, generator=random)
        cond = torch.randn(batch, self.in_channels, side, side, generator=random)
        return x_t, cond, self.scripted.modulation[:1].clone()


def open_subject(path: Path, settings: SamplerSettings, folder: Path) -> Subject:
    """Read a checkpoint or a package.

    Parameters
    ----------
    path : Path
    settings : SamplerSettings
        For a checkpoint.
    folder : Path
        Place for files.

    Raises
    ------
    CheckpointError
        If it is neither.
    """
    if path.suffix == ".safetensors":
        return exported(Checkpoint.load(path), settings, folder)
    if path.suffix == ".zip" and path.is_file():
        try:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)
        except (zipfile.BadZipFile, OSError) as error:
            raise CheckpointError(
                f"{path}: is not a readable zip file ({error})", "is the file complete?"
            ) from error
        return _from_package(path, folder)
    if (path / "rdf.yaml").is_file():
        return _from_package(path, path)
    raise CheckpointError(
        f"{path}: is neither a checkpoint nor a package", "name a .safetensors or a .zip file"
    )


def exported(checkpoint: Checkpoint, settings: SamplerSettings, folder: Path) -> Subject:
    """Write a checkpoint's sampler as TorchScript and ONNX."""
    folder.mkdir(parents=True, exist_ok=True)
    sampler = checkpoint.sampler(settings)
    assert isinstance(sampler, DiffusionSampler)  # `bench` refuses the student
    scripted = to_torchscript(sampler)
    files = {n: folder / WEIGHTS_FILES[n] for n in ("torchscript", "onnx")}
    save_torchscript(scripted, files["torchscript"])
    save_onnx(scripted, checkpoint.config.in_channels, files["onnx"])
    return Subject(
        sampler,
        scripted,
        files,
        checkpoint,
        settings.num_steps,
        settings.num_samples,
        settings.batched,
    )


def with_length(subject: Subject, settings: SamplerSettings, folder: Path) -> Subject:
    """Return the same model with another sampler.

    Raises
    ------
    CheckpointError
        If it came from a package.
    """
    if subject.checkpoint is None:
        raise CheckpointError("a package has one sampler", "bench the checkpoint")
    return exported(subject.checkpoint, settings, folder)


def _from_package(path: Path, folder: Path) -> Subject:
    files = {n: folder / WEIGHTS_FILES[n] for n in ("torchscript", "onnx")}
    if not files["torchscript"].is_file():
        raise CheckpointError(
            f"{path}: holds no {WEIGHTS_FILES['torchscript']}", "name a package of bmz-ddpm"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = torch.jit.load(str(files["torchscript"]), map_location="cpu")
    scripted = unwrapped(whole)
    per_pass = int(scripted.draws.shape[1])
    return Subject(
        None,
        scripted,
        {n: p for n, p in files.items() if p.is_file()},
        None,
        int(scripted.coefficients.shape[0]),
        int(scripted.draws.numel()),
        per_pass,
    )


def unwrapped(scripted: Any) -> Any:
    """Return the sampler itself; a single output, or intervals, are wrapped around it."""
    while hasattr(scripted, "sampler"):
        scripted = scripted.sampler
    return scripted


def network_onnx(network: nn.Module, inputs: tuple[Tensor, ...], path: Path) -> Path:
    """Write a network alone as ONNX, for the same runtime as the whole sampler."""
    names = [f"input{i}" for i in range(len(inputs))]
    sizes = {n: {0: "b", 2: "y", 3: "x"} for n, t in zip(names, inputs, strict=True) if t.dim() > 2}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if not isinstance(network, torch.jit.ScriptModule):
            network = torch.jit.trace(network, inputs, check_trace=False)
        torch.onnx.export(
            network, inputs, str(path), opset_version=OPSET, dynamo=False, input_names=names,
            output_names=["output"], dynamic_axes={**sizes, "output": {0: "b", 2: "y", 3: "x"}},
        )  # fmt: skip
    return path


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that disappears."""
    return tempfile.TemporaryDirectory(prefix="bmz-ddpm-bench-")


def shorter(settings: SamplerSettings, steps: int, samples: int) -> SamplerSettings:
    """Return the same settings with another number of steps and samples."""
    return replace(settings, num_steps=steps, num_samples=samples)
