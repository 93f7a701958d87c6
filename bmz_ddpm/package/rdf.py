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
from ..about import AboutConfig
from ..diffusion.profiles import profile_name
from ..export.onnx import INPUT, OPSET
from ..export.parity import ABSOLUTE, ENTROPY_SHARE, RELATIVE
from ..runtime.backends import INTERVAL
from ..runtime.tiling import Tiling
from .job import Job, Measured
from .profiles import CORE, Output, Profile

FORMAT_VERSION = "0.5.10"
#: Fiji's JDLL orders weights by a hash of format and version; with 2.0.0 it takes TorchScript,
#: the only format it runs on a GPU. The file does load in libtorch 2.0.0.
PYTORCH_VERSION = "2.0.0"
#: Weights entries and their files.
WEIGHTS_FILES = {
    "pytorch_state_dict": "state_dict.pth",
    "torchscript": "weights.pt",
    "onnx": "weights.onnx",
}
#: The sampler that a package's name does not mention.
USUAL = "balanced"
#: Covers that a package carries, the first one being its face.
COVERS = ("cover.png", "uncertainty.png")


@dataclass(frozen=True)
class Files:
    """Names and SHA-256 of the files in a package."""

    hashes: dict[str, str]

    def entry(self, name: str) -> dict[str, str]:
        """Return the rdf entry of a file."""
        return {"source": name, "sha256": self.hashes[name]}


def title(job: Job, profile: Profile) -> str:
    """Return the name of the package, which tells programs and samplers apart."""
    marks = [] if profile is CORE else [profile.name]
    if profile_name(job.settings) not in (None, USUAL):
        marks.append(job.sampler_name)
    return f"{job.about.name} ({' '.join(marks)})" if marks else job.about.name


def describe(
    job: Job,
    profile: Profile,
    files: Files,
    pixel_size: tuple[float, float] | None,
    measured: Measured,
) -> dict[str, Any]:
    """Return the content of rdf.yaml.

    Parameters
    ----------
    profile : Profile
        Which programs it is for.
    pixel_size : (y, x) in micrometre, or None
    measured : Measured
        Kept under ``config.bmz_ddpm``.
    """
    about, tiling, intensity = job.about, job.tiling, job.checkpoint.config.intensity
    calibration = job.calibration if job.has_intervals(profile) else None
    rdf: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "type": "model",
        # Fiji's JDLL crashes on a `config` block in a model without id; an upload gets its own
        "id": re.sub(r"[^a-z0-9]+", "-", title(job, profile).lower()).strip("-") or "model",
        "name": title(job, profile),
        "description": about.description,
        "version": about.version,
        "authors": [p.model_dump(exclude_none=True) for p in about.authors],
        "maintainers": [p.model_dump(exclude_none=True) for p in about.maintainers],
        "cite": [c.model_dump(exclude_none=True) for c in about.cite],
        "license": about.license,
        "tags": list(about.tags),
        "documentation": "README.md",
        "covers": list(COVERS),
        "inputs": [_input(about, files, tiling, pixel_size)],
        "outputs": [_output(o, about, files, tiling, pixel_size) for o in job.outputs(profile)],
        "weights": _weights(job, profile, files),
        "config": {
            "bioimageio": {
                "reproducibility_tolerance": tolerances(
                    profile, intensity.span, job.has_intervals(profile)
                )
            },
            "bmz_ddpm": {
                "version": __version__,
                "profile": profile.name,
                "consumers": list(profile.consumers),
                "tile": tiling.tile,
                "halo": tiling.halo,
                "intensity": intensity.model_dump(),
                "sampler": {"name": job.sampler_name} | asdict(job.settings),
                "measured": measured.as_dict(),
            }
            | ({"calibration": calibration.model_dump(mode="json")} if calibration else {}),
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
    output: Output,
    about: AboutConfig,
    files: Files,
    tiling: Tiling,
    pixel_size: tuple[float, float] | None,
) -> dict[str, Any]:
    def space(axis: str) -> dict[str, Any]:
        size = {"size": {"tensor_id": INPUT, "axis_id": axis, "offset": 0}}
        return _space(axis, pixel_size) | size | {"halo": tiling.halo}

    return {
        "id": output.id,
        "description": output.description,
        "axes": [
            {"type": "batch", "size": 1},
            {"type": "channel", "channel_names": output.channel_names(about.channel)},
            space("y"),
            space("x"),
        ],
        "data": {"type": "float32"},
        "test_tensor": files.entry(f"test_{output.id}.npy"),
        "sample_tensor": files.entry(f"sample_{output.id}.tif"),
    }


def _weights(job: Job, profile: Profile, files: Files) -> dict[str, Any]:
    kind, kwargs = job.architecture(profile)
    entries: dict[str, dict[str, Any]] = {
        "pytorch_state_dict": {
            "pytorch_version": PYTORCH_VERSION,
            "architecture": files.entry("architecture.py")
            | {"callable": kind.__name__, "kwargs": kwargs},
        },
        "torchscript": {"pytorch_version": PYTORCH_VERSION, "parent": "pytorch_state_dict"},
        "onnx": {"opset_version": OPSET, "parent": "pytorch_state_dict"},
    }
    return {name: files.entry(WEIGHTS_FILES[name]) | entries[name] for name in profile.formats}


def tolerances(
    profile: Profile, output_scale: float, intervals: bool = False
) -> list[dict[str, Any]]:
    """Return by how much the outputs of an engine may differ from the test tensors."""
    # a rounding difference moves a sample into the next 8-bit bin now and then, and the entropy
    # of that pixel jumps; ilastik 1.4.2 finds packages invalid that allow more than 1000
    jumps = round(ENTROPY_SHARE * 1e6)
    if profile.stacked:
        return [_tolerance(["result"], RELATIVE, ABSOLUTE, jumps // 3)]  # one channel in three
    counts = ["denoised", "std", *(INTERVAL if intervals else ())]
    return [
        _tolerance(counts, RELATIVE, ABSOLUTE * output_scale, 0),
        _tolerance(["entropy"], 1e-3, 1e-3, jumps),
    ]


def _tolerance(
    outputs: list[str], relative: float, absolute: float, mismatched: int
) -> dict[str, Any]:
    return {
        "output_ids": outputs,
        "relative_tolerance": relative,
        "absolute_tolerance": absolute,
        "mismatched_elements_per_million": mismatched,
    }
