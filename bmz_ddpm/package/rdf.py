"""rdf.yaml, in the form that every reader of the zoo accepts.

Written by hand and not with `bioimageio.spec`, which from 0.5.11 on stores `documentation` and
`covers` as mappings: older readers (the zoo's own runtime, ilastik) find that invalid, and in
Fiji such a model silently disappears.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from .. import __version__
from ..config import AboutConfig, Intensity
from ..diffusion.assemble import SamplerSettings
from ..export.architecture import CALLABLE
from ..export.onnx import INPUT, OPSET, OUTPUTS
from ..export.parity import ABSOLUTE, RELATIVE
from ..runtime.tiling import Tiling

FORMAT_VERSION = "0.5.10"
#: Fiji's JDLL orders weights by a hash of format and version; with 2.0.0 it takes TorchScript,
#: the only format it runs on a GPU. The file does load in libtorch 2.0.0.
PYTORCH_VERSION = "2.0.0"
DESCRIPTIONS = {
    "denoised": "mean of the samples, in the grey levels of the reference images",
    "std": "standard deviation over the samples, in grey levels (divide by 255 for the paper's)",
    "entropy": "entropy over the samples, in nats, of 256 equal bins of the output range",
}


@dataclass(frozen=True)
class Files:
    """Names and SHA-256 of the files in a package."""

    hashes: dict[str, str]

    def entry(self, name: str) -> dict[str, str]:
        """Return the rdf entry of a file."""
        return {"source": name, "sha256": self.hashes[name]}


def describe(
    about: AboutConfig,
    files: Files,
    tiling: Tiling,
    settings: SamplerSettings,
    architecture: dict[str, Any],
    intensity: Intensity,
    pixel_size: tuple[float, float] | None,
    measured: dict[str, Any],
) -> dict[str, Any]:
    """Return the content of rdf.yaml.

    Parameters
    ----------
    architecture : dict
        Keyword arguments of the architecture's class.
    intensity : Intensity
        Its range sets the tolerances.
    pixel_size : (y, x) in micrometre, or None
    measured : dict
        Whatever was measured at export; kept under ``config.bmz_ddpm``.
    """
    rdf: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "type": "model",
        # Fiji's JDLL crashes on a `config` block in a model without id; an upload gets its own
        "id": re.sub(r"[^a-z0-9]+", "-", about.name.lower()).strip("-") or "model",
        "name": about.name,
        "description": about.description,
        "version": about.version,
        "authors": [p.model_dump(exclude_none=True) for p in about.authors],
        "maintainers": [p.model_dump(exclude_none=True) for p in about.maintainers],
        "cite": [c.model_dump(exclude_none=True) for c in about.cite],
        "license": about.license,
        "tags": list(about.tags),
        "documentation": "README.md",
        "covers": ["cover.png"],
        "inputs": [_input(about, files, tiling, pixel_size)],
        "outputs": [_output(name, about, files, tiling, pixel_size) for name in OUTPUTS],
        "weights": _weights(files, architecture),
        "config": {
            "bioimageio": {"reproducibility_tolerance": _tolerances(intensity.span)},
            "bmz_ddpm": {
                "version": __version__,
                "tile": tiling.tile,
                "halo": tiling.halo,
                "intensity": intensity.model_dump(),
                "sampler": asdict(settings),
                "measured": measured,
            },
        },
    }
    return {key: value for key, value in rdf.items() if value != []}


def _space(axis: str, pixel_size: tuple[float, float] | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": axis, "type": "space"}
    if pixel_size:
        entry |= {"scale": pixel_size["yx".index(axis)], "unit": "micrometer"}
    return entry


def _input(
    about: AboutConfig, files: Files, tiling: Tiling, pixel_size: tuple[float, float] | None
) -> dict[str, Any]:
    return {
        "id": INPUT,
        "description": "noisy image, in the microscope's own grey levels",
        "axes": [
            {"type": "batch", "size": 1},
            {"type": "channel", "channel_names": list(about.channel)},
            _space("y", pixel_size) | {"size": tiling.tile},
            _space("x", pixel_size) | {"size": tiling.tile},
        ],
        "data": {"type": "float32"},
        "test_tensor": files.entry("test_raw.npy"),
        "sample_tensor": files.entry("sample_raw.tif"),
    }


def _output(
    name: str,
    about: AboutConfig,
    files: Files,
    tiling: Tiling,
    pixel_size: tuple[float, float] | None,
) -> dict[str, Any]:
    def space(axis: str) -> dict[str, Any]:
        size = {"size": {"tensor_id": INPUT, "axis_id": axis, "offset": 0}}
        return _space(axis, pixel_size) | size | {"halo": tiling.halo}

    return {
        "id": name,
        "description": DESCRIPTIONS[name],
        "axes": [
            {"type": "batch", "size": 1},
            {"type": "channel", "channel_names": list(about.channel)},
            space("y"),
            space("x"),
        ],
        "data": {"type": "float32"},
        "test_tensor": files.entry(f"test_{name}.npy"),
        "sample_tensor": files.entry(f"sample_{name}.tif"),
    }


def _weights(files: Files, architecture: dict[str, Any]) -> dict[str, Any]:
    return {
        "pytorch_state_dict": files.entry("state_dict.pth")
        | {
            "pytorch_version": PYTORCH_VERSION,
            "architecture": files.entry("architecture.py")
            | {"callable": CALLABLE, "kwargs": architecture},
        },
        "torchscript": files.entry("weights.pt")
        | {"pytorch_version": PYTORCH_VERSION, "parent": "pytorch_state_dict"},
        "onnx": files.entry("weights.onnx")
        | {"opset_version": OPSET, "parent": "pytorch_state_dict"},
    }


def _tolerances(output_scale: float) -> list[dict[str, Any]]:
    return [
        {
            "output_ids": ["denoised", "std"],
            "relative_tolerance": RELATIVE,
            "absolute_tolerance": ABSOLUTE * output_scale,
            "mismatched_elements_per_million": 0,
        },
        {  # a rounding difference moves a sample into the next 8-bit bin now and then;
            # ilastik 1.4.2 finds a package with more than 1000 per million invalid
            "output_ids": ["entropy"],
            "relative_tolerance": 1e-3,
            "absolute_tolerance": 1e-3,
            "mismatched_elements_per_million": 1000,
        },
    ]
