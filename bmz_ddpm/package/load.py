"""Open any finished model: package, checkpoint, TorchScript or ONNX file."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from ..config import Calibration
from ..diffusion.assemble import SamplerSettings
from ..diffusion.interval import CalibratedOnePass, CalibratedSampler
from ..diffusion.one_pass import OnePass, StackedOnePass
from ..diffusion.sampler import DiffusionSampler, StackedSampler
from ..errors import CheckpointError, ConfigError, MissingDependency
from ..export.fastest import fastest_backend
from ..runtime.backends import (
    OUTPUTS,
    Backend,
    onnx_backend,
    torchscript_backend,
    unstacked,
)
from ..runtime.position import PlacedBackend
from ..runtime.tiling import Tiling
from ..train.checkpoint import Checkpoint
from .rdf import WEIGHTS_FILES

FORMATS = ("onnx", "torchscript", "torch")
#: Networks in packages that this tool can run from their source.
SAMPLERS = {
    c.__name__: c
    for c in (
        DiffusionSampler,
        StackedSampler,
        CalibratedSampler,
        OnePass,
        StackedOnePass,
        CalibratedOnePass,
    )
}


@dataclass(frozen=True)
class Model:
    """A model ready to run.

    Attributes
    ----------
    backend : Backend
    tiling : Tiling or None
        What the package declares; None for a bare file.
    in_channels : int or None
        None where the file does not say.
    engine : str
        "eager", "torchscript", "onnx" or "torch".
    grey_levels : (low, high) that the results span, or None where the file does not say.
    num_samples : int or None
        Samples that it averages; None where the file does not say.
    num_steps : int or None
        Network passes per sample; None where the file does not say.
    calibration : Calibration or None
        Of its intervals, where it gives any.
    placed : callable or None
        Returns a backend that can key the noise on places; None where there is none.
    """

    backend: Backend
    tiling: Tiling | None
    in_channels: int | None
    engine: str
    grey_levels: tuple[float, float] | None = None
    num_samples: int | None = None
    num_steps: int | None = None
    calibration: Calibration | None = None
    placed: Callable[[], PlacedBackend] | None = None


def load_model(
    path: Path, settings: SamplerSettings, engine: str = "auto", device: str = "cpu"
) -> Model:
    """Open a model.

    Parameters
    ----------
    path : Path
        Package (.zip, a folder with rdf.yaml, or the rdf.yaml), checkpoint (.safetensors),
        .pt or .onnx.
    settings : SamplerSettings
        Used for a checkpoint; in all others the sampler is part of the file.
    engine : "auto", "onnx", "torchscript" or "torch"
        For packages; "auto" takes onnx, the fastest on a CPU, where onnxruntime is installed.
        Only "torch" can key the noise on places (`runtime.position`), as checkpoints can.
    device : "cpu" or "cuda"

    Raises
    ------
    UserError
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"{path}: does not exist", "name a model")
    if path.suffix == ".safetensors":
        checkpoint = Checkpoint.load(path)
        config = checkpoint.config
        module = checkpoint.module(settings)
        backend: Backend
        if engine == "torch":
            backend, used = PlacedBackend(module, device), "eager"
        else:
            backend, used = fastest_backend(module, device, settings.samples_per_pass == 0)
        return Model(
            backend,
            None,
            config.in_channels,
            used,
            (config.intensity.low, config.intensity.high),
            settings.num_samples,
            settings.num_steps,
            checkpoint.calibration(settings),
            lambda: PlacedBackend(module(), device),
        )
    if path.suffix == ".pt":
        return Model(_three(torchscript_backend(path, device), path), None, None, "torchscript")
    if path.suffix == ".onnx":
        return Model(onnx_backend(path, device), None, None, "onnx")
    if path.suffix == ".zip":
        return _from_zip(path, engine, device)
    folder = path if path.is_dir() else path.parent
    if (folder / "rdf.yaml").is_file() and (path.is_dir() or path.name == "rdf.yaml"):
        return _from_folder(folder, engine, device)
    raise CheckpointError(
        f"{path}: is no model", "name a package (.zip), a .safetensors, a .pt or an .onnx file"
    )


def _from_zip(path: Path, engine: str, device: str) -> Model:
    with tempfile.TemporaryDirectory(prefix="bmz-ddpm-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)
        except (zipfile.BadZipFile, OSError) as error:
            raise CheckpointError(
                f"{path}: is not a readable zip file ({error})", "is the file complete?"
            ) from error
        if not (Path(folder) / "rdf.yaml").is_file():
            raise CheckpointError(f"{path}: holds no rdf.yaml", "name a model package")
        return _from_folder(Path(folder), engine, device)


def _from_folder(folder: Path, engine: str, device: str) -> Model:
    rdf = yaml.safe_load((folder / "rdf.yaml").read_text(encoding="utf-8"))
    ours: dict[str, Any] | None = (rdf.get("config") or {}).get("bmz_ddpm")
    if ours is None:
        raise CheckpointError(
            f"{rdf.get('name', 'the package')}: was not built by bmz-ddpm",
            "run it with: bioimageio predict",
        )
    tiling = Tiling(ours["tile"], ours["halo"])
    channels = next(a for a in rdf["inputs"][0]["axes"] if a["type"] == "channel")
    count = len(channels["channel_names"])
    ends = ours["intensity"]["low"], ours["intensity"]["high"]
    samples, steps = ours["sampler"]["num_samples"], ours["sampler"]["num_steps"]
    backend, used = _backend(folder, rdf, engine, device)
    if len(rdf["outputs"]) == 1 and used != "torch":
        backend = unstacked(backend, *ends, samples)
    calibration = Calibration(**ours["calibration"]) if "calibration" in ours else None
    return Model(backend, tiling, count, used, ends, samples, steps, calibration)


def _backend(folder: Path, rdf: dict[str, Any], engine: str, device: str) -> tuple[Backend, str]:
    """Load the weights that were asked for, or the fastest that can be loaded."""
    if engine not in ("auto", *FORMATS):
        raise ConfigError(f"--engine {engine}: unknown", f"choose auto, {' or '.join(FORMATS)}")
    if engine == "torch":
        return _from_source(folder, rdf, device), engine
    if engine == "onnx" and "onnx" not in rdf["weights"]:
        raise ConfigError(
            "--engine onnx: the package has no ONNX weights", "choose auto or torchscript"
        )
    if engine != "torchscript" and "onnx" in rdf["weights"]:
        try:
            return onnx_backend(folder / WEIGHTS_FILES["onnx"], device), "onnx"
        except MissingDependency:
            if engine == "onnx":
                raise
    return torchscript_backend(folder / WEIGHTS_FILES["torchscript"], device), "torchscript"


def _from_source(folder: Path, rdf: dict[str, Any], device: str) -> Backend:
    """Run the package's weights in our own classes, of which its architecture file is a copy."""
    entry = rdf["weights"].get("pytorch_state_dict", {}).get("architecture", {})
    kind = SAMPLERS.get(entry.get("callable", ""))
    if kind is None:
        raise ConfigError(
            f"--engine torch: the package's network '{entry.get('callable', '')}' is not known, "
            f"expected {' or '.join(SAMPLERS)}",
            "choose auto, onnx or torchscript",
        )
    module = kind(**entry["kwargs"])
    path = folder / WEIGHTS_FILES["pytorch_state_dict"]
    try:
        module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises whatever a damaged file makes it do
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path.name}: does not hold the package's weights ({reason})",
            "is the package complete? export it again",
        ) from error
    return PlacedBackend(
        module.sampler if isinstance(module, StackedSampler | StackedOnePass) else module, device
    )


def _three(backend: Backend, path: Path) -> Backend:
    """Refuse bare weights of the profile with one output: only the package knows its range."""

    def run(image: np.ndarray) -> tuple[np.ndarray, ...]:
        outputs = backend(image)
        if len(outputs) < len(OUTPUTS):
            raise CheckpointError(
                f"{path}: gives {len(outputs)} output, {len(OUTPUTS)} are needed",
                "name the package that it is from",
            )
        return outputs

    return run
