"""The README of a package: every number in it was measured or is a setting."""

from __future__ import annotations

import math
from importlib.resources import files
from string import Template
from typing import Any

from .. import __version__
from ..config import AboutConfig
from ..diffusion.assemble import SamplerSettings
from ..export.parity import Parity
from ..runtime.tiling import Tiling
from ..train.checkpoint import Checkpoint


def write_document(
    file: str,
    about: AboutConfig,
    checkpoint: Checkpoint,
    tiling: Tiling,
    settings: SamplerSettings,
    parities: dict[str, Parity],
    validation: dict[str, Any] | None,
) -> str:
    """Return the README as Markdown.

    Parameters
    ----------
    file : str
        Name of the package, as in the commands shown.
    validation : dict, optional
        From `tensors.measure`, with "spread_over_skill".
    """
    intensity = checkpoint.config.intensity
    template = Template((files(__package__) / "templates" / "README.md").read_text("utf-8"))
    return template.substitute(
        file=file,
        name=about.name,
        description=about.description,
        num_steps=settings.num_steps,
        num_samples=settings.num_samples,
        output_scale=f"{intensity.span:g}",
        max_entropy=f"{math.log(settings.num_samples):.2f}",
        intended_use=about.intended_use,
        limits=about.limits,
        low=f"{intensity.low:g}",
        high=f"{intensity.high:g}",
        tile=tiling.tile,
        halo=tiling.halo,
        validation=_validation(validation, settings),
        parity="\n".join(
            f"| {name} | {p.denoised:.1e} | {p.std:.1e} | {p.entropy:.3%} |"
            for name, p in parities.items()
        ),
        training=_training(checkpoint),
        license=about.license,
        image_credit=about.image_credit,
        version=__version__,
    )


def _validation(row: dict[str, Any] | None, settings: SamplerSettings) -> str:
    if row is None:
        return "Not measured: the package was exported without a reference image."

    def cells(name: str) -> str:
        quality = row[f"{name}_ms_ssim"]
        shown = "n/a" if quality is None else f"{quality:.3f}"
        return f"{row[f'{name}_mae']:.2f} | {row[f'{name}_psnr']:.2f} | {shown}"

    ratio = row["spread_over_skill"]
    calibration = (
        f"Spread/skill ratio {ratio:.2f}"
        + (f": the std map is over-confident by {1 / ratio:.1f} times." if ratio < 1 else ".")
        if math.isfinite(ratio)
        else "One sample has no spread."
    )
    return "\n".join(
        [
            "One field that was not used in training, against its clean reference:",
            "",
            "| | MAE (grey levels) | PSNR (dB, peak 255) | MS-SSIM |",
            "|---|---|---|---|",
            f"| noisy | {cells('raw')} |",
            f"| best Gaussian blur (tuned on the truth) | {cells('blur')} |",
            f"| denoised, {settings.num_steps} steps x {settings.num_samples} samples "
            f"| {cells('denoised')} |",
            "",
            calibration,
        ]
    )


def _training(checkpoint: Checkpoint) -> str:
    info = checkpoint.info
    train = info.get("train", {})
    if not train:
        return "Not recorded in the checkpoint."
    mae = info.get("validation_mae")
    best = f", mean absolute error on the validation fields {mae:.2f} grey levels" if mae else ""
    return (
        f"{info.get('step')} steps of {train['batch_size']} patches of {train['patch']} pixels, "
        f"network size '{train['size']}', prediction of {train['prediction']}{best}."
    )
