"""From a checkpoint to a package: convert, compare, measure, describe, zip."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
import yaml

from ..config import AboutConfig
from ..diffusion.assemble import SamplerSettings
from ..diffusion.sampler import DiffusionSampler
from ..errors import ExportError
from ..evaluate.metrics import spread_over_skill
from ..export.architecture import CALLABLE, architecture_source
from ..export.onnx import save_onnx
from ..export.parity import Parity, require_agreement
from ..export.torchscript import save_torchscript, to_torchscript
from ..files import refuse_unwritable, write_bytes
from ..runtime.backends import Backend, onnx_backend, torch_backend, torchscript_backend
from ..runtime.predictor import denoise
from ..runtime.tiling import Tiling
from ..train.checkpoint import Checkpoint
from .cover import cover_png
from .document import write_document
from .rdf import Files, describe
from .tensors import Field, central_tile, load_field, measure, tensor_files

#: Called with one line per stage.
Report = Callable[[str], None]


def export_package(
    checkpoint: Checkpoint,
    about: AboutConfig,
    settings: SamplerSettings,
    tiling: Tiling,
    out: Path,
    report: Report = lambda _: None,
) -> dict[str, Parity]:
    """Write a BioImage Model Zoo package with three weights formats.

    Every format is run on the test tensor and compared with eager; if one differs, nothing is
    written.

    Parameters
    ----------
    out : Path
        The .zip file; it appears only when it is complete.

    Returns
    -------
    dict of Parity
        Largest differences of each format from eager.

    Raises
    ------
    UserError
        If an image cannot be used, formats differ, or the file cannot be written.
    """
    if out.suffix != ".zip":
        raise ExportError(f"{out}: a package's name ends in .zip", "add .zip to --out")
    refuse_unwritable(out)
    field = load_field(about, checkpoint.config.in_channels, tiling)
    sampler = checkpoint.sampler(settings)
    kwargs = _architecture_kwargs(checkpoint, settings)
    with tempfile.TemporaryDirectory(prefix="bmz-ddpm-") as name:
        folder = Path(name)
        report("converting to pytorch_state_dict, torchscript and onnx")
        formats = _write_weights(sampler, kwargs, folder)
        report("comparing the formats with eager")
        test = central_tile(field, tiling)
        scale = checkpoint.config.intensity.span
        outputs, parities = require_agreement(test, torch_backend(sampler), formats, scale)
        report("denoising the whole field for the cover and the validation")
        cover, validation = _show(field, formats["onnx"], tiling, settings)
        contents = {p.name: p.read_bytes() for p in sorted(folder.iterdir())}
    contents |= tensor_files(test, outputs)
    contents["cover.png"] = cover
    document = write_document(out.name, about, checkpoint, tiling, settings, parities, validation)
    contents["README.md"] = document.encode()
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    measured = {
        "difference_from_eager": {k: asdict(v) for k, v in parities.items()},
        "validation": validation,
    }
    rdf = describe(
        about,
        Files(hashes),
        tiling,
        settings,
        kwargs,
        checkpoint.config.intensity,
        field.pixel_size,
        measured,
    )
    contents["rdf.yaml"] = yaml.safe_dump(rdf, sort_keys=False, allow_unicode=True).encode()
    report("validating and writing")
    validate(contents)
    write_bytes(out, _zipped(contents))
    return parities


def _architecture_kwargs(checkpoint: Checkpoint, settings: SamplerSettings) -> dict[str, Any]:
    return {
        "in_channels": checkpoint.config.in_channels,
        "out_channels": checkpoint.config.out_channels,
        "network": {**checkpoint.config.network, "dropout": 0.0},
        "num_steps": settings.num_steps,
        "num_samples": settings.num_samples,
        "samples_per_pass": settings.batched,
    }


def _write_weights(
    sampler: DiffusionSampler, kwargs: dict[str, Any], folder: Path
) -> dict[str, Backend]:
    """Write all formats, and load each as its users will."""
    source = architecture_source()
    (folder / "architecture.py").write_text(source, encoding="utf-8")
    torch.save(sampler.state_dict(), folder / "state_dict.pth")
    scripted = to_torchscript(sampler)
    save_torchscript(scripted, folder / "weights.pt")
    save_onnx(scripted, kwargs["in_channels"], folder / "weights.onnx")

    namespace: dict[str, Any] = {"__name__": "architecture"}
    exec(compile(source, "architecture.py", "exec"), namespace)
    rebuilt = namespace[CALLABLE](**kwargs)
    rebuilt.load_state_dict(torch.load(folder / "state_dict.pth", weights_only=True))
    return {
        "pytorch_state_dict": torch_backend(rebuilt),
        "torchscript": torchscript_backend(folder / "weights.pt"),
        "onnx": onnx_backend(folder / "weights.onnx"),
    }


def _show(
    field: Field, backend: Backend, tiling: Tiling, settings: SamplerSettings
) -> tuple[bytes, dict[str, Any] | None]:
    """Denoise the field; return the cover and, with a reference, the validation."""
    import xarray as xr

    image = xr.DataArray(field.raw, dims=("c", "y", "x"))
    result = denoise(image, backend, tiling)
    denoised, std = result["denoised"].values, result["std"].values  # (C, Y, X)
    size = field.pixel_size[1] if field.pixel_size else None
    cover = cover_png(field.raw[0], denoised[0], std[0], size)
    if field.truth is None:
        return cover, None
    validation: dict[str, Any] = dict(measure(field.truth, field.raw, denoised))
    ratio = spread_over_skill(field.truth, denoised, std, settings.num_samples)
    validation["spread_over_skill"] = ratio
    return cover, validation


def _zipped(contents: dict[str, bytes]) -> bytes:
    """Zip deterministically: sorted, with fixed times."""
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, contents[name])
    return stream.getvalue()


def validate(contents: dict[str, bytes]) -> None:
    """Check the format of a package with bioimageio.spec, without any network.

    Parameters
    ----------
    contents : dict
        File name to content.

    Raises
    ------
    ExportError
        Names the first rule that is broken.
    """
    from bioimageio.spec import InvalidDescr, ValidationContext, load_description

    with tempfile.TemporaryDirectory(prefix="bmz-ddpm-") as name:
        for file, data in contents.items():
            (Path(name) / file).write_bytes(data)
        with ValidationContext(perform_io_checks=False):
            description = load_description(Path(name) / "rdf.yaml")
    if isinstance(description, InvalidDescr):
        raise ExportError(
            f"rdf.yaml: {' '.join(description.validation_summary.format().split())[:600]}",
            "correct the setting it names in --about",
        )
