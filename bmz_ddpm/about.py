"""What a package says about its model; read from TOML, unknown keys are refused."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from .config import Settings, read_toml, validated


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
    """How long a model took somewhere; the package tells it to its users."""

    machine: str
    engine: str
    seconds_per_megapixel: float = Field(gt=0)


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
    speed : measured times; packaging/benchmarks/cost.py prints them.
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
    return about.model_copy(update={"image": here / about.image, "reference": reference})
