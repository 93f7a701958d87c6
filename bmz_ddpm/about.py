"""What a package says about its model; read from TOML, unknown keys are refused."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field

from .config import Settings, read_toml, validated
from .errors import ConfigError


class Person(Settings):
    """An author or maintainer."""

    name: str
    affiliation: str | None = None
    github_user: str | None = None
    orcid: str | None = None


class Citation(Settings):
    """Something to cite, with a DOI or an address."""

    text: str
    doi: str | None = None
    url: str | None = None


class Speed(Settings):
    """How long a model took somewhere; the package tells it to its users.

    Attributes
    ----------
    machine, engine : where, and in what.
    seconds_per_megapixel : with what tiles compute twice.
    passes : through the network. Packages whose sampler takes another number do not tell this
        time; None: all do.
    """

    machine: str
    engine: str
    seconds_per_megapixel: float = Field(gt=0)
    passes: int | None = Field(None, ge=1)


class Validated(Settings):
    """How good a method was on images kept apart; the package tells it to its users.

    Attributes
    ----------
    data : which images, and of how many fields of view.
    method : e.g. "noisy", or "average of 15 samples".
    mae, psnr, psnr_fitted, ms_ssim : means over fields of view; PSNR in dB, fitted is after
        fitting gain and offset.
    spread_skill : spread over error of the samples, where there are several.
    """

    data: str
    method: str
    mae: float
    psnr: float
    psnr_fitted: float
    ms_ssim: float
    spread_skill: float | None = None


class AboutConfig(Settings):
    """What a package says about its model; read from a TOML file.

    Attributes
    ----------
    name : at most 54 of letters, digits, space and _+-().
    intensities : what grey levels the input has to have.
    image : noisy image for the cover, the test and the sample tensors; a path from the TOML file.
    reference : its clean image, for the measured validation; not stored in the package.
    image_credit : where the image comes from and its licence.
    pixel_size : (y, x) in micrometre, where the image's file does not say it.
    speed : measured times.
    bench : a bench.json of `bmz-ddpm bench`, whose times are added to those; a path from the
        TOML file.
    validation : measured quality on images that are not in the package.
    """

    name: str = Field(
        "Diffusion denoiser", min_length=5, max_length=54, pattern=r"^[A-Za-z0-9 _+()-]+$"
    )
    description: str = Field(
        "Conditional diffusion model that denoises microscopy images, with uncertainty.",
        min_length=1,
        max_length=512,
    )
    intended_use: str = "Images like those it was trained on, from the same kind of microscope."
    limits: str = "On other samples or settings, compare with a clean image before relying on it."
    intensities: str = (
        "Input must be in the microscope's own grey levels. Do not rescale or normalise it."
    )
    version: str = "0.1.0"
    license: str = "MIT"
    tags: tuple[str, ...] = ("denoising", "diffusion", "fluorescence-light-microscopy", "2d")
    authors: tuple[Person, ...] = (Person(name="unknown"),)
    maintainers: tuple[Person, ...] = ()
    cite: tuple[Citation, ...] = ()
    channel: tuple[str, ...] = ("intensity",)
    image: Path
    reference: Path | None = None
    image_credit: str = ""
    pixel_size: tuple[float, float] | None = None
    speed: tuple[Speed, ...] = ()
    bench: Path | None = None
    validation: tuple[Validated, ...] = ()


def load_about(path: Path) -> AboutConfig:
    """Read a TOML file of `AboutConfig`; its paths start from the file's folder.

    Raises
    ------
    ConfigError
    """
    about = validated(AboutConfig, read_toml(path), str(path))
    here = path.parent
    reference = here / about.reference if about.reference else None
    speed = about.speed + (speed_in(here / about.bench) if about.bench else ())
    changes = {"image": here / about.image, "reference": reference, "speed": speed}
    return about.model_copy(update=changes)


def speed_in(path: Path) -> tuple[Speed, ...]:
    """Return the times in a bench.json of `bmz-ddpm bench`: of whole samplers and of one pass.

    Raises
    ------
    ConfigError
        If it cannot be read or is something else.
    """
    try:
        measured = json.loads(path.read_text(encoding="utf-8"))
        machine, sampler = measured["machine"], measured["sampler"]
        many = sampler["steps"] * sampler["samples"]
        kept = (measured["tile"] - 2 * measured["halo"]) ** 2 / 1e6  # megapixels of a tile
        kept *= sampler["samples_per_pass"]
        single = {e: t["median"] / kept for e, t in measured["pass"].items()}
        place = machine["device"]
        if place == "cpu":
            place = f"{machine['cores']} CPU cores ({machine['processor']})"
        place = f"{place}, {machine['threads']} threads"
        names = {"eager": "PyTorch", "torchscript": "TorchScript", "onnx": "ONNX Runtime"}
        return tuple(
            Speed(
                machine=place,
                engine=names[engine],
                seconds_per_megapixel=float(f"{value:.3g}"),
                passes=passes,
            )
            for passes, times in ((many, measured["seconds_per_megapixel"]), (1, single))
            for engine, value in times.items()
            if engine in names
        )
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})", "check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path}: is not a result of bmz-ddpm bench", "name the bench.json that it wrote"
        ) from error
