"""Typed settings, read from TOML or stored in a checkpoint; unknown keys are refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from .errors import ConfigError, did_you_mean


class Settings(BaseModel):
    """Values that cannot change, and no others than those named."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_T = TypeVar("_T", bound=Settings)


def _ascending(limits: tuple[float, float]) -> tuple[float, float]:
    if not 0 < limits[0] <= limits[1] < float("inf"):
        raise ValueError("must be two numbers above 0, the smaller first")
    return limits


Range = Annotated[tuple[float, float], AfterValidator(_ascending)]


class AugmentConfig(Settings):
    """How training patches are varied.

    Attributes
    ----------
    simulated : share of patches whose noise is drawn anew from the reference image with the
        noise model fitted to the training pairs; the others are real pairs.
    gain : range of the simulated gain, as a multiple of the fitted one (grey levels per
        photon): above 1 simulates dimmer acquisitions.
    zoom, rotate, brightness : ranges applied to the reference of simulated patches (factor,
        degrees, factor).
    synthetic : share of simulated patches whose clean image is a drawn structure instead of a
        training reference: a few references are soon learnt by heart.
    correlation : a pixel's noise repeats up to this share of its left neighbour's, as where a
        scanning detector is slower than the pixel clock; drawn evenly from 0 on.
    blur : largest sigma, in pixels, of a Gaussian filter on one simulated patch in four.
    flips : mirror and turn patches by quarters, all eight ways alike.
    filtered : share of real patches whose noisy image is smoothed with a Gaussian filter, and
        filter_sigma, its sigma in pixels (the paper's third augmentation).
    """

    simulated: float = Field(0.8, ge=0, le=1)
    gain: Range = (0.8, 8.0)
    zoom: Range = (0.6, 1.5)
    rotate: float = Field(180.0, ge=0, le=180)
    brightness: Range = (0.4, 2.5)
    synthetic: float = Field(0.0, ge=0, le=1)
    correlation: float = Field(0.0, ge=0, le=0.5)
    blur: float = Field(1.0, ge=0, le=5)
    flips: bool = True
    filtered: float = Field(0.0, ge=0, le=1)
    filter_sigma: float = Field(3.0, gt=0, le=5)


class TrainConfig(Settings):
    """Everything that defines a training run; a checkpoint's header may state only a part of it.

    Attributes
    ----------
    prediction : what the network returns: the noise, v, the clean image, or the velocity of a
        straight path between both ("flow");
    units : what the network calls 1: the standard deviation of the training patches
        ("standard"), or half of the intensity range ("range", as in the paper).
    size : network size; patch : side of the square training patch in pixels; steps : optimiser
        steps; match_intensity : fit gain and offset of each clean image to its noisy one, where
        images were rescaled one by one.
    crops : patches from "anywhere", or from a "grid" without overlap, each once per epoch;
        shuffle : in another order in every epoch, needed for "anywhere".
    noise_levels : evenly in log(SNR) between two steps ("log_snr"), evenly in alpha_bar
        ("alpha_bar"), the steps themselves ("discrete"), or only those that a sampler of
        validation_steps visits ("visited"); noisier : share from the noisier half of the steps;
        loss : mean squared ("mse") or absolute ("l1") error.
    annealing : one cosine over the run ("once"), or up and down in half-periods of cycle_steps
        ("cycles"); warmup : steps of linear rise, if the run is more than twice as long.
    ema : width of the power-function average as a share of the run (sigma_rel), 0 for none;
        snapshots : how often its parts are kept, so that another width can be had afterwards.
    validation_steps, validation_samples, validation_sampler : of the average that is validated;
        validation_crop : side of the centre that is validated, 0 for whole fields;
        validation_planes : first planes of every pair, 0 for all.
    precision : of the network's activations while training, "auto" for bfloat16 where the device
        computes it; weights and loss are float32; compile : use torch.compile;
        accumulate : parts that a batch is computed in, to save memory.
    """

    size: Literal["tiny", "small", "paper"] = "small"
    num_train_steps: int = Field(200, ge=2)
    schedule_offset: float = Field(8e-3, gt=0)
    prediction: Literal["eps", "v", "x0", "flow"] = "v"
    label: Literal["alpha_bar", "log_snr"] = "log_snr"
    units: Literal["standard", "range"] = "standard"
    steps: int = Field(20_000, ge=1)
    batch_size: int = Field(8, ge=1)
    patch: int = Field(128, ge=16, multiple_of=8)
    crops: Literal["anywhere", "grid"] = "anywhere"
    shuffle: bool = True
    learning_rate: float = Field(1e-2, gt=0, le=1)
    annealing: Literal["once", "cycles"] = "once"
    cycle_steps: int = Field(9000, ge=1)
    warmup: int = Field(100, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    loss: Literal["mse", "l1"] = "mse"
    ema: float = Field(0.08, ge=0, lt=0.28)
    snapshots: int = Field(8, ge=0)
    noise_levels: Literal["log_snr", "alpha_bar", "discrete", "visited"] = "log_snr"
    noisier: float = Field(0.5, ge=0, le=1)
    seed: int = Field(0, ge=0, lt=2**32)
    validate_every: int = Field(500, ge=1)
    validation_steps: int = Field(4, ge=1)
    validation_samples: int = Field(4, ge=1)
    validation_sampler: Literal["ddim", "ddpm"] = "ddim"
    validation_crop: int = Field(256, ge=0)
    validation_planes: int = Field(1, ge=0)
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    compile: bool = False
    accumulate: int = Field(1, ge=1)
    match_intensity: bool = False
    augment: AugmentConfig = AugmentConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.crops == "anywhere" and not self.shuffle:
            raise ValueError('shuffle = false needs crops = "grid"')
        if self.batch_size % self.accumulate:
            raise ValueError(f"accumulate = {self.accumulate} must divide batch_size")
        return self


class Intensity(Settings):
    """Fixed constants, learnt from the training images, between counts and model units.

    Attributes
    ----------
    input_offset, input_scale : model units = (counts − offset) / scale, of the microscope image.
    output_offset, output_scale : the same for the clean image.
    low, high : range of the clean image, in counts; the sampler clips to it.
    """

    input_offset: float
    input_scale: float = Field(gt=0)
    output_offset: float
    output_scale: float = Field(gt=0)
    low: float
    high: float

    @property
    def span(self) -> float:
        """Width of the output range, in counts."""
        return self.high - self.low


class Calibration(Settings):
    """Constants of the intervals of one sampler, and what is known about them.

    Attributes
    ----------
    sampler : settings that the intervals hold for: num_steps, num_samples, eta, spacing, mirror.
    guarantee, alpha, delta : what is promised; `bmz_ddpm.calibrate.promises` says it in words.
    spread, floor : w² = spread·std² + floor[0] + floor[1]·m + floor[2]·m², in counts², with m the
        mean as a share of the output range.
    below, above : the interval reaches from mean − below·w to mean + above·w.
    std_factor : error of the mean over std, as root mean squares over the calibration fields;
        None where there is no std.
    fit_fields, fields : fields of view that the form was fitted to, and that the width was
        calibrated on.
    coverage, worst_coverage, best_coverage : mean, smallest and largest share of a field's pixels
        inside; where left_out is true, each with a width from the other fields.
    length : mean length of the intervals, in counts.
    plain_coverage, plain_length : of mean ± z·std, with z of the normal distribution.
    scaled_length : of mean ± c·std, with c such that it covers as much; scaled_factor : c.
    match_intensity : whether clean images were brought to the gain and offset of the noisy ones.
    range_low, range_high : 0.1 and 99.9 percent points of the noisy images, least and largest, in
        counts; noise_low, noise_high : their noise levels.
    """

    sampler: dict[str, Any]
    guarantee: Literal["rcps", "crc", "field"]
    alpha: float = Field(gt=0, lt=1)
    delta: float = Field(gt=0, lt=1)
    spread: float = Field(ge=0)
    floor: tuple[float, float, float]
    below: float = Field(ge=0)
    above: float = Field(ge=0)
    std_factor: float | None
    fit_fields: int = Field(ge=1)
    fields: int = Field(ge=1)
    coverage: float
    worst_coverage: float
    best_coverage: float
    left_out: bool
    length: float
    plain_coverage: float
    plain_length: float
    scaled_length: float | None
    scaled_factor: float | None
    match_intensity: bool
    range_low: tuple[float, float]
    range_high: tuple[float, float]
    noise_low: float
    noise_high: float


class ModelConfig(Settings):
    """What a checkpoint needs to be rebuilt without its training run."""

    in_channels: int = Field(ge=1)
    out_channels: int = Field(ge=1)
    network: dict[str, Any]
    num_train_steps: int
    schedule_offset: float
    prediction: Literal["eps", "v", "x0", "flow"]
    label: Literal["alpha_bar", "log_snr"]
    intensity: Intensity
    calibrations: tuple[Calibration, ...] = ()


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raises `ConfigError`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})", "check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not a TOML file ({error})", "correct that line") from error


def load_train_config(path: Path, base: TrainConfig | None = None) -> TrainConfig:
    """Read a TOML file of `TrainConfig` settings; what it leaves out is taken from `base`.

    Raises
    ------
    ConfigError
        If the file is missing, not TOML, or has an unknown or impossible setting.
    """
    given = read_toml(path)
    if base and isinstance(given.get("augment"), dict):
        given["augment"] = base.augment.model_dump() | given["augment"]
    return make_train_config((base.model_dump() if base else {}) | given, str(path))


def make_train_config(values: dict[str, Any], source: str) -> TrainConfig:
    """Build a `TrainConfig`; `source` says in messages where the values come from."""
    return validated(TrainConfig, values, source)


def validated(model: type[_T], values: dict[str, Any], source: str) -> _T:
    """Build settings, naming the first wrong one in one line."""
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        place = first["loc"]
        name = ".".join(str(part) for part in place)
        if first["type"] == "extra_forbidden":
            known = list(_settings_at(model, place[:-1]).model_fields)
            hint = did_you_mean(str(place[-1]), known)
            raise ConfigError(
                f"{source}: unknown setting '{name}'{hint}", f"known are {', '.join(known)}"
            ) from error
        given = "is missing" if first["type"] == "missing" else f"= {first['input']!r}"
        what = f"{name} {given}: " if place else ""  # none: two settings that do not go together
        message = first["msg"].lower().removeprefix("value error, ")
        raise ConfigError(f"{source}: {what}{message}", "correct the value") from error


def _settings_at(model: type[BaseModel], place: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the settings class at a place like ("augment",) or ("authors", 0)."""
    for part in place:
        if isinstance(part, str):
            annotation = model.model_fields[part].annotation
            for candidate in (annotation, *get_args(annotation)):
                if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                    model = candidate
    return model
