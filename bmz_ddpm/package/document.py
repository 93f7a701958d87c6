"""The README of a package: every number in it was measured or is a setting."""

from __future__ import annotations

import math
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from .. import __version__
from ..about import AboutConfig
from ..train.checkpoint import Checkpoint
from .intervals import interval_lines
from .job import Job, Measured
from .profiles import PROFILES, Profile
from .rdf import title


def write_document(job: Job, profile: Profile, file: str, measured: Measured) -> str:
    """Return the README as Markdown.

    Parameters
    ----------
    file : str
        Name of the package, as in the commands shown.
    """
    about, settings, tiling = job.about, job.settings, job.tiling
    intensity = job.checkpoint.config.intensity
    flops = measured.gflop_per_pass * settings.network_passes
    return _filled(
        "README.md",
        file=file,
        name=title(job, profile),
        description=about.description,
        consumers=_listed(list(profile.consumers.values())),
        sibling=_sibling(profile),
        how_it_works=_how_it_works(job),
        outputs=_outputs(job, profile),
        intended_use=about.intended_use,
        limits=about.limits,
        intensities=about.intensities,
        calibration=_calibration(measured.validation, about),
        low=f"{intensity.low:g}",
        high=f"{intensity.high:g}",
        tile=tiling.tile,
        halo=tiling.halo,
        how_to_run=_how_to_run(job, profile, file),
        cost=_count(settings.network_passes, "time"),
        gflop=f"{flops:,.0f}",
        overlap=f"{(tiling.tile / tiling.inner) ** 2:.1f}",
        speed=_speed(about, settings.network_passes),
        validation=(_validation(measured.validation, job) + _validated(about)).lstrip("\n"),
        parity=_parity(measured),
        training=_training(job.checkpoint),
        license=about.license,
        credit=f"- {about.image_credit}\n" if about.image_credit else "",
        cite="\n".join(_citations(about)),
        version=__version__,
    )


def _filled(template: str, **values: object) -> str:
    text = (files(__package__) / "templates" / template).read_text("utf-8")
    return Template(text).substitute(values)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _how_it_works(job: Job) -> str:
    settings = job.settings
    if not settings.one_pass:
        return _filled(
            "how_sampler.md",
            sampler=job.sampler_name,
            steps=_count(settings.num_steps, "step"),
            times=_count(settings.num_samples, "time"),
        ).rstrip()
    student = job.checkpoint.info.get("student", {})
    near = student.get("agreement")
    agreement = "How near it comes to the sampler was not measured."
    if near:
        gain = near["psnr_student"] - near["psnr_sampler"]
        agreement = (
            f"On {_count(near['images'], 'validation image')} its mean differs from the sampler's "
            f"by {near['difference']:.2%} of the range (root mean square), its PSNR by {gain:+.2f} "
            f"dB; the two std maps correlate by {near['std_correlation']:.2f} (two of the "
            f"sampler's own, with different seeds, by {near['std_repeat']:.2f})."
        )
    return _filled(
        "how_one_pass.md", samples=_count(settings.num_samples, "sample"), agreement=agreement
    ).rstrip()


def _sibling(profile: Profile) -> str:
    """Say where people with another program turn."""
    other = [name for p in PROFILES if p is not profile for name in p.consumers.values()]
    return f"For {_listed(other)} there is a package of its own with the same weights."


def _outputs(job: Job, profile: Profile) -> str:
    settings, intensity = job.settings, job.checkpoint.config.intensity
    span, nats = f"{intensity.span:g}", math.log(settings.num_samples)
    if profile.stacked:
        names = profile.outputs[0].channel_names(job.about.channel)
        return "\n".join(
            [
                f"One output with the channels {_listed(names)}, all from 0 to 1:",
                "",
                "| channel | meaning | back to grey levels or nats |",
                "|---|---|---|",
                f"| mean | mean of the samples | x {span} + {intensity.low:g} |",
                f"| std | their standard deviation (Eq. 15 of the paper) | x {span} |",
                f"| entropy | entropy over the samples (Eq. 16), on 256 bins | x {nats:.3f} nats |",
            ]
        )
    return "\n".join(
        [
            "| output | meaning | unit |",
            "|---|---|---|",
            "| denoised | mean of the samples | grey levels |",
            "| std | standard deviation over the samples (Eq. 15 of the paper, times "
            f"{span}) | grey levels |",
            "| entropy | entropy over the samples (Eq. 16), on 256 equal bins of the range | nats, "
            f"0 to {nats:.2f} |",
            *interval_lines(job, profile),
        ]
    )


def _parity(measured: Measured) -> str:
    """The table of differences, with a column more where there are intervals."""
    calibrated = any(p.interval is not None for p in measured.parities.values())
    more = (" lower, upper |", "---|") if calibrated else ("", "")
    head = "| format | denoised | std | pixels whose entropy differs |", "|---|---|---|---|"
    lines = [line + column for line, column in zip(head, more, strict=True)]
    for name, p in measured.parities.items():
        row = f"| {name} | {p.denoised:.1e} | {p.std:.1e} | {p.entropy:.3%} |"
        lines.append(row if p.interval is None else f"{row} {p.interval:.1e} |")
    return "\n".join(lines)


def _how_to_run(job: Job, profile: Profile, file: str) -> str:
    return _filled(
        f"run_{profile.name}.md",
        file=file,
        stem=Path(file).stem,
        smallest=math.ceil(job.tiling.tile / 3),
        channels=_listed(profile.outputs[0].channel_names(job.about.channel)),
    ).rstrip()


def _speed(about: AboutConfig, passes: int) -> str:
    told = [s for s in about.speed if s.passes in (None, passes)]
    if not told:
        return "Not timed."
    rows = [f"| {s.machine} | {s.engine} | {s.seconds_per_megapixel:g} |" for s in told]
    return "\n".join(
        ["", "| machine | engine | seconds per megapixel, tiles included |", "|---|---|---|", *rows]
    )


def _citations(about: AboutConfig) -> list[str]:
    return [
        f"- Cite: {c.text.rstrip('.')}. " + (f"doi:{c.doi}" if c.doi else c.url or "")
        for c in about.cite
    ]


def _calibration(row: dict[str, Any] | None, about: AboutConfig) -> str:
    known = [v.spread_skill for v in about.validation if v.spread_skill]
    ratio = row["spread_over_skill"] if row else known[-1] if known else math.nan
    if not math.isfinite(ratio):
        return "The std map has not been compared with real errors."
    where = "field" if row else "images"
    text = f"On the validation {where} the std map was {ratio:.2f} times the real error"
    if ratio < 1:
        return f"{text}: it is over-confident by {1 / ratio:.1f} times."
    return f"{text}."


def _validation(row: dict[str, Any] | None, job: Job) -> str:
    if row is None:
        none = "Not measured: the package was exported without a reference image."
        return "" if job.about.validation else none

    def cells(name: str) -> str:
        quality = row[f"{name}_ms_ssim"]
        shown = "n/a" if quality is None else f"{quality:.3f}"
        numbers = (row[f"{name}_{k}"] for k in ("mae", "psnr", "fitted_psnr"))
        return " | ".join([*(f"{v:.2f}" for v in numbers), shown])

    return "\n".join(
        [
            "One field that was not used in training, against its clean reference:",
            "",
            "| | MAE (grey levels) | PSNR (dB, peak 255) | PSNR after fitting gain and offset "
            "| MS-SSIM |",
            "|---|---|---|---|---|",
            f"| noisy | {cells('raw')} |",
            f"| best Gaussian blur (tuned on the truth) | {cells('blur')} |",
            f"| denoised, {job.sampler_name} | {cells('denoised')} |",
        ]
    )


def _validated(about: AboutConfig) -> str:
    """Tables of quality measured elsewhere, one for each set of images."""
    text = ""
    for data in dict.fromkeys(v.data for v in about.validation):
        rows = [
            f"| {v.method} | {v.mae:.2f} | {v.psnr:.2f} | {v.psnr_fitted:.2f} | {v.ms_ssim:.3f} |"
            for v in about.validation
            if v.data == data
        ]
        head = "| | MAE | PSNR (dB) | PSNR after fitting gain and offset | MS-SSIM |"
        text += "\n".join(
            [
                "",
                "",
                f"{data}, means over fields of view:",
                "",
                head,
                "|---|---|---|---|---|",
                *rows,
            ]
        )
    return text


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
