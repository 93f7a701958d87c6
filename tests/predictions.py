"""What the tests of predict share: images of every kind, and a model that needs no training."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
import zarr
from checks import EIGHT_BIT

from bmz_ddpm.config import TrainConfig
from bmz_ddpm.data.ome_zarr_write import add_levels, create_level, write_metadata
from bmz_ddpm.diffusion.assemble import SamplerSettings
from bmz_ddpm.package.load import Model
from bmz_ddpm.predict import run
from bmz_ddpm.predict.plan import Request
from bmz_ddpm.train.checkpoint import build_denoiser, describe_model, save_tensors

QUICK = SamplerSettings(1, 2, 0.0)
SIZES = {"t": 2, "z": 3, "c": 2, "y": 70, "x": 100}


def blur(image: np.ndarray) -> tuple[np.ndarray, ...]:
    """A backend that looks at its neighbours, three pixels away at most."""
    mean = sum(np.roll(image, (dy, dx), (2, 3)) for dy in (-3, 0, 3) for dx in (-3, 0, 3)) / 9
    return mean.astype(np.float32), np.abs(image - mean).astype(np.float32), 0 * image


MODEL = Model(blur, None, None, "onnx", (0.0, 255.0), 2, 1)


def request(out: Path, **more: Any) -> Request:
    return Request(**({"model": Path("model.zip"), "settings": QUICK, "out": out,
                       "tile": 96, "halo": 32, "chunk": 64} | more))  # fmt: skip


def predict(path: Path, wanted: Request, model: Model = MODEL, **more: Any) -> list[Path]:
    """Plan and denoise, as the command does."""
    return run.denoise_file(run.make_plan(path, wanted, model, "0" * 64), wanted, **more)


def counts(axes: str, dtype: str = "u2") -> np.ndarray:
    shape = [SIZES[a] for a in axes]
    return np.random.default_rng(0).uniform(1, 250, shape).astype(dtype)


def write_zarr(
    path: Path, values: np.ndarray, axes: str, version: str = "0.4", **attrs: Any
) -> Path:
    stored = "".join(a for a in "tczyx" if a in axes)
    values, axes = values.transpose([axes.index(a) for a in stored]), stored
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    create_level(group, 0, axes, values.shape, 32, values.dtype)[...] = values
    add_levels(group, axes, 32, smallest=64)
    known = {"pixel_size": (0.25, 0.1), "steps": {"z": 0.7, "t": 2.5}} | attrs
    count = values.shape[axes.index("c")] if "c" in axes else 1
    write_metadata(path, axes, known, path.name, version, list(range(count)), (0.0, 255.0))
    return path


def write_ome_tiff(path: Path, values: np.ndarray, axes: str, **more: Any) -> Path:
    count = values.shape[axes.index("c")] if "c" in axes else 1
    metadata: dict[str, Any] = {
        "axes": axes.upper(), "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 0.7,
        "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm", "PhysicalSizeZUnit": "µm",
        "TimeIncrement": 2.5, "TimeIncrementUnit": "s",
        "Channel": {"Name": ["DAPI", "GFP"][:count], "EmissionWavelength": [461, 509][:count],
                    "EmissionWavelengthUnit": ["nm"] * count},
    }  # fmt: skip
    tifffile.imwrite(path, values, metadata=metadata, ome=True, photometric="minisblack", **more)
    return path


def write_checkpoint(path: Path) -> Path:
    """Write an untrained network of a few channels, whose samples differ all the same."""
    torch.manual_seed(0)
    config = describe_model(TrainConfig(size="tiny", steps=1), 1, 1, EIGHT_BIT)
    small = {"channels": 4, "multipliers": [1, 2], "num_blocks": 1, "attention": False, "stem": 1}
    config = config.model_copy(update={"network": config.network | small})
    denoiser = build_denoiser(config)
    denoiser.out_gain.data.fill_(0.5)
    save_tensors(path, denoiser.state_dict(), {"model": config.model_dump(), "info": {}})
    return path


def digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents in a folder."""
    total = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        total.update(file.relative_to(path.parent).as_posix().encode() + file.read_bytes())
    return total.hexdigest()
