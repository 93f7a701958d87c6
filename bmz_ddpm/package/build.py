"""From a checkpoint to packages: convert, compare, measure, describe, zip."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
import yaml

from ..diffusion.assemble import with_intervals
from ..diffusion.one_pass import OnePass, StackedOnePass
from ..diffusion.sampler import DiffusionSampler, StackedSampler
from ..errors import ExportError
from ..evaluate.metrics import spread_over_skill
from ..export.architecture import architecture_source
from ..export.onnx import save_onnx
from ..export.parity import Parity, require_agreement
from ..export.torchscript import Module, save_torchscript, to_torchscript
from ..files import refuse_unwritable, write_bytes
from ..runtime.backends import (
    OUTPUTS,
    Backend,
    onnx_backend,
    torch_backend,
    torchscript_backend,
    unstacked,
)
from ..runtime.predictor import denoise
from .cover import cover_png, uncertainty_png
from .document import write_document
from .job import Job, Measured
from .profiles import CORE, Profile
from .rdf import COVERS, WEIGHTS_FILES, Files, describe
from .tensors import Field, central_tile, load_field, measure, tensor_files

#: Called with one line per stage.
Report = Callable[[str], None]


def export_packages(
    job: Job, targets: dict[Profile, Path], report: Report = lambda _: None
) -> dict[Path, dict[str, Parity]]:
    """Write one BioImage Model Zoo package per profile.

    Every weights format is run on the test tensor and compared with eager; if one differs,
    nothing is written.

    Parameters
    ----------
    targets : dict
        Profile to its .zip file; all appear only when all are complete.

    Returns
    -------
    dict
        File to the largest differences of each of its formats from eager.

    Raises
    ------
    UserError
        If an image cannot be used, formats differ, or a file cannot be written.
    """
    for out in targets.values():
        if out.suffix != ".zip":
            raise ExportError(f"{out}: a package's name ends in .zip", "add .zip to --out")
        refuse_unwritable(out)
    field = load_field(job.about, job.checkpoint.config.in_channels, job.tiling)
    sampler = job.checkpoint.sampler(job.settings)
    test = central_tile(field, job.tiling)
    report("denoising the test tensor with the training code")
    eager = torch_backend(_for_profile(sampler, job, CORE))(test)
    show: dict[str, Any] = {}
    made, agreed = {}, {}
    for profile, out in targets.items():
        with tempfile.TemporaryDirectory(prefix="bmz-ddpm-") as name:
            folder = Path(name)
            module = _for_profile(sampler, job, profile)
            report(f"{out.name}: converting to {', '.join(profile.formats)}")
            formats = _write_weights(module, job, profile, folder)
            report(f"{out.name}: comparing the formats with eager")
            span = job.checkpoint.config.intensity.span
            names = [o.id for o in job.outputs(profile)]
            reference = eager[: len(OUTPUTS)] if profile.stacked else eager
            agreed[out] = require_agreement(reference, test, formats, span)
            outputs = torch_backend(module)(test) if profile.stacked else eager
            if not show:
                report("denoising the whole field for the cover and the validation")
                fast = formats.get("onnx", formats["torchscript"])
                show = _show(field, fast, job)
            contents = {p.name: p.read_bytes() for p in sorted(folder.iterdir())}
        contents |= tensor_files(test, dict(zip(names, outputs, strict=True))) | show["pictures"]
        measured = Measured(agreed[out], show["validation"], gflop_per_pass(sampler))
        contents["README.md"] = write_document(job, profile, out.name, measured).encode()
        contents["rdf.yaml"] = _rdf(job, profile, contents, field, measured)
        report(f"{out.name}: validating")
        validate(contents)
        made[out] = _zipped(contents)
    for out, data in made.items():
        write_bytes(out, data)
    return agreed


def _for_profile(sampler: DiffusionSampler | OnePass, job: Job, profile: Profile) -> Module:
    if job.calibration is not None and job.has_intervals(profile):
        return with_intervals(sampler, job.calibration, job.checkpoint.config.intensity)
    if not profile.stacked:
        return sampler
    kind, kwargs = job.architecture(profile)
    stacked = kind(**kwargs)
    assert isinstance(stacked, StackedSampler | StackedOnePass)
    stacked.sampler.load_state_dict(sampler.state_dict())
    return stacked


def _rdf(
    job: Job, profile: Profile, contents: dict[str, bytes], field: Field, measured: Measured
) -> bytes:
    files = Files({name: hashlib.sha256(data).hexdigest() for name, data in contents.items()})
    rdf = describe(job, profile, files, field.pixel_size, measured)
    return yaml.safe_dump(rdf, sort_keys=False, allow_unicode=True).encode()


def _write_weights(module: Module, job: Job, profile: Profile, folder: Path) -> dict[str, Backend]:
    """Write all formats, and load each as its users will."""
    source = architecture_source()
    files = {name: folder / WEIGHTS_FILES[name] for name in profile.formats}
    (folder / "architecture.py").write_text(source, encoding="utf-8")
    torch.save(module.state_dict(), files["pytorch_state_dict"])
    scripted = to_torchscript(module)
    save_torchscript(scripted, files["torchscript"])

    namespace: dict[str, Any] = {"__name__": "architecture"}
    exec(compile(source, "architecture.py", "exec"), namespace)
    kind, kwargs = job.architecture(profile)
    rebuilt = namespace[kind.__name__](**kwargs)
    rebuilt.load_state_dict(torch.load(files["pytorch_state_dict"], weights_only=True))
    formats = {
        "pytorch_state_dict": torch_backend(rebuilt),
        "torchscript": torchscript_backend(files["torchscript"]),
    }
    if "onnx" in files:
        names = tuple(o.id for o in job.outputs(profile))
        save_onnx(scripted, job.checkpoint.config.in_channels, files["onnx"], names)
        formats["onnx"] = onnx_backend(files["onnx"])
    if profile.stacked:
        ends = job.checkpoint.config.intensity
        samples = job.settings.num_samples
        return {k: unstacked(b, ends.low, ends.high, samples) for k, b in formats.items()}
    return formats


def gflop_per_pass(sampler: DiffusionSampler | OnePass) -> float:
    """Return the billion floating-point operations of one network pass over a megapixel.

    Counted, not estimated: a multiplication and an addition are two.
    """
    from torch.utils.flop_counter import FlopCounterMode

    side = 128
    image = torch.zeros(1, sampler.in_channels, side, side)
    x_t = torch.zeros(1, sampler.out_channels, side, side)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        sampler.unet(x_t, image, sampler.modulation[:1])
    return counter.get_total_flops() / side**2 * 1e6 / 1e9


def _show(field: Field, backend: Backend, job: Job) -> dict[str, Any]:
    """Denoise the field; return the pictures and, with a reference, the validation."""
    import xarray as xr

    image = xr.DataArray(field.raw, dims=("c", "y", "x"))
    result = denoise(image, backend, job.tiling)
    denoised, std, entropy = (result[n].values for n in ("denoised", "std", "entropy"))
    size = field.pixel_size[1] if field.pixel_size else None
    planes = (field.raw[0], denoised[0], std[0], entropy[0])
    pictures = dict(zip(COVERS, (cover_png(planes, size), uncertainty_png(planes)), strict=True))
    validation: dict[str, Any] | None = None
    if field.truth is not None:
        validation = dict(measure(field.truth, field.raw, denoised))
        ratio = spread_over_skill(field.truth, denoised, std, job.settings.num_samples)
        validation["spread_over_skill"] = ratio
    return {"pictures": pictures, "validation": validation}


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


def targets_of(profiles: list[Profile], out: Path) -> dict[Profile, Path]:
    """Return each profile's file: `out`, and with several ``NAME-ilastik.zip`` beside it."""
    if len(profiles) == 1:
        return {profiles[0]: out}
    ending = {p: "" if p is CORE else f"-{p.name}" for p in profiles}
    return {p: out.with_name(f"{out.stem}{end}{out.suffix}") for p, end in ending.items()}
