"""bmz-ddpm evaluate"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import ConfigError, UserError
from .data_options import Images, takes_images
from .options import (
    HALO,
    TILE,
    Align,
    AveragingCurve,
    Baseline,
    Device,
    Engine,
    Halo,
    KeepImages,
    MatchIntensity,
    MethodName,
    Out,
    Peak,
    Predictions,
    Rescale,
    Scored,
    Split,
    TileOrWhole,
)
from .progress import ProgressLine
from .sampler_options import Sampling, sampler_name, takes_sampling

if TYPE_CHECKING:
    from ..data.pairs import Pair
    from ..diffusion.assemble import SamplerSettings
    from ..evaluate.methods import Method
    from ..evaluate.run import Evaluation, Scoring


@takes_images
@takes_sampling
def evaluate(
    images: Images,
    sampling: Sampling,
    model: Scored = None,
    predictions: Predictions = None,
    baseline: Baseline = None,
    out: Out = Path("evaluation"),
    name: MethodName = "",
    split: Split = "val",
    peak: Peak = None,
    align: Align = False,
    match_intensity: MatchIntensity = False,
    rescale: Rescale = False,
    keep: KeepImages = True,
    averaging_curve: AveragingCurve = False,
    engine: Engine = "auto",
    tile: TileOrWhole = None,
    halo: Halo = HALO,
    device: Device = "cpu",
) -> None:
    """Score a method on pairs of noisy and clean images, and print the medians.

    Writes into the folder --out: metrics.csv (one row per image, plane and measure),
    evaluation.json and predictions/NAME.tif. Repeat the command to resume. One of --model,
    --predictions and --baseline says what is scored. Every plane of a stack counts as an image.
    The resolution is in micrometre (or pixels), PSNR in dB, MAE and CRPS in grey levels; the other
    measures have no unit.
    """
    if sum(source is not None for source in (model, predictions, baseline)) != 1:
        raise ConfigError(
            "bmz-ddpm evaluate: needs one of --model, --predictions and --baseline",
            "e.g. --model cells.zip",
        )
    from ..data.pairs import SPLITS
    from ..evaluate.images import distribution, peak_of
    from ..evaluate.run import Scoring

    found = images.find(SPLITS if split == "all" else (split,), match=match_intensity)
    top = peak_of(found, peak)
    notes = [] if peak else [f"peak {top:g}: the largest value of the clean images' pixel type"]
    aim = None
    if rescale:
        aim = distribution(images.find(SPLITS), match_intensity)
        notes.append(
            f"predictions were brought linearly to mean {aim[0]:.4g} and standard deviation "
            f"{aim[1]:.4g}, those of the clean training images"
        )
    scoring = Scoring(top, align, match_intensity, aim, keep)
    settings = sampling.settings()
    run = {"engine": engine, "tile": tile, "halo": halo, "device": device}
    evaluation, curve = _who(
        model, predictions, baseline, name, top, settings, run, averaging_curve, notes
    )
    evaluation.settings["split"] = split
    _run(found, evaluation, scoring, out, curve)


def _who(  # what is scored, and how its averaging curve is drawn
    model: Path | None,
    predictions: Path | None,
    baseline: Any,
    name: str,
    peak: float,
    settings: SamplerSettings,
    run: dict[str, Any],
    curve: bool,
    notes: list[str],
) -> tuple[Evaluation, Method | None]:
    from ..evaluate.methods import from_baseline, from_folder
    from ..evaluate.run import Evaluation

    if curve and (model is None or model.suffix != ".safetensors"):
        raise ConfigError(
            "--averaging-curve: needs the single samples, which only a checkpoint gives",
            "name a checkpoint: --model best.safetensors",
        )
    if predictions is not None:
        folder = str(predictions)
        method = from_folder(predictions)
        return Evaluation(
            name or predictions.name, method, None, {"predictions": folder}, notes
        ), None
    if baseline is not None:
        method = from_baseline(baseline, peak)
        return Evaluation(name or baseline, method, None, {"baseline": baseline}, notes), None
    assert model is not None
    return _model(model, name, settings, run, curve, notes)


def _model(
    path: Path,
    name: str,
    settings: SamplerSettings,
    run: dict[str, Any],
    curve: bool,
    notes: list[str],
) -> tuple[Evaluation, Method | None]:
    from dataclasses import replace

    from ..diffusion.profiles import profile_name
    from ..evaluate.averaging_curve import COUNTS
    from ..evaluate.journal import fingerprint
    from ..evaluate.methods import from_backend, recording
    from ..evaluate.run import Evaluation
    from ..package.load import load_model
    from ..runtime.backends import torch_backend
    from ..runtime.tiling import Tiling
    from ..train.checkpoint import Checkpoint

    def tiles(default: Tiling | None) -> Tiling | None:
        if run["tile"] is None:
            return default or Tiling(TILE, run["halo"])
        return Tiling(run["tile"], run["halo"]) if run["tile"] else None

    def drawn(count: int) -> Method:
        module = checkpoint.sampler(replace(settings, num_samples=count))
        samples = not settings.one_pass  # the student draws none
        backend = (recording if samples else torch_backend)(module, run["device"])
        channels = checkpoint.config.in_channels
        return from_backend(backend, tiles(None), run["halo"], channels, count, recorded=samples)

    known: dict[str, Any] = {k: run[k] for k in ("engine", "tile", "halo")}
    if path.suffix == ".safetensors":
        checkpoint = Checkpoint.load(path)
        method = drawn(settings.num_samples)
        known |= {"profile": profile_name(settings), "samples": settings.num_samples}
        if not settings.one_pass:
            known |= {"sampler": sampler_name(settings), "steps": settings.num_steps}
            known |= {"spacing": settings.spacing}
            known |= {"mirror": settings.mirror, "seed": settings.seed}
    else:
        loaded = load_model(path, settings, run["engine"], run["device"])
        method = from_backend(
            loaded.backend,
            tiles(loaded.tiling),
            run["halo"],
            loaded.in_channels,
            loaded.num_samples,
        )
        known |= {"engine": loaded.engine, "sampler": "fixed", "samples": loaded.num_samples}
    about = {"name": path.name, "sha256": fingerprint(path)}
    evaluation = Evaluation(name or path.stem, method, about, known, notes)
    return evaluation, drawn(max(COUNTS)) if curve else None


def _run(
    pairs: list[Pair],
    evaluation: Evaluation,
    scoring: Scoring,
    out: Path,
    curve: Method | None,
) -> None:
    from ..evaluate import run as runner
    from ..evaluate.averaging_curve import averaging_curve
    from ..evaluate.journal import REPORT, TABLE

    line = ProgressLine("image")

    def show(number: int, total: int, name: str, error: UserError | None) -> None:
        if error is None:
            line.show(number, total, name)
        else:
            sys.stderr.write(f"error: {name}: {error.problem}.\nfix:   {error.fix}.\n")

    def broken(name: str, error: UserError) -> None:
        sys.stderr.write(f"error: {name}: {error.problem}.\n")

    failed = runner.evaluate(pairs, evaluation, scoring, out, show)
    if (out / TABLE).exists():
        typer.echo(out / TABLE)
    typer.echo(out / REPORT)
    if curve is not None:
        fit = averaging_curve(pairs, curve, out, peak=scoring.peak, failed=broken)
        typer.echo(out / "averaging.csv")
        if fit is not None:
            sys.stderr.write(
                f"averaging 15 samples gains {fit.gain_db:.2f} dB; spread/error "
                f"{fit.spread_over_error:.2f}: std maps are over-confident by "
                f"{fit.overconfidence:.2f}\n"
            )
    if (out / TABLE).exists():
        _print_medians(out / TABLE, evaluation.name, evaluation.settings["split"])
    if failed:
        sys.stderr.write(f"{len(failed)} of {len(pairs)} images could not be scored.\n")
        raise typer.Exit(1)


def _print_medians(table: Path, name: str, split: str) -> None:
    from ..evaluate.results import medians

    sys.stderr.write(f"{name}: medians of the images (split {split})\n")
    for metric, (value, images, fields) in medians(table).items():
        shown = f"{value:10.4g}" if images else f"{'n/a':>10}"
        sys.stderr.write(f"{metric:18}{shown}   {images} images of {fields} fields\n")
