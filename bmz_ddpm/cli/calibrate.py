"""bmz-ddpm calibrate"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .data_options import Images, takes_images
from .options import (
    HALO,
    TILE,
    Device,
    Halo,
    MatchIntensity,
    Out,
    Predictions,
    Split,
    TileOrWhole,
)
from .progress import ProgressLine
from .sampler_options import Sampling, takes_sampling

if TYPE_CHECKING:
    from ..config import Calibration
    from ..data.pairs import Pair
    from ..diffusion.assemble import SamplerSettings
    from ..train.checkpoint import Checkpoint


@takes_images
@takes_sampling
def calibrate(
    checkpoint: Annotated[Path, typer.Argument(help="The best.safetensors of a training run.")],
    images: Images,
    sampling: Sampling,
    out: Out = Path("calibration"),
    guarantee: Annotated[
        Literal["field", "crc", "rcps"],
        typer.Option(
            help="What is promised. field: with probability 1 - delta a new field misses at most "
            "alpha of its pixels (needs 1/delta - 1 fields); crc: alpha on average (needs "
            "1/alpha - 1, for short intervals 50); rcps: the same, with confidence 1 - delta over "
            "the choice of your fields (needs 22, for short intervals hundreds)."
        ),
    ] = "field",
    alpha: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="Share of pixels that may be missed.")
    ] = 0.1,
    delta: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="Risk of rcps and field; not used by crc.")
    ] = 0.1,
    fit: Annotated[
        int | None,
        typer.Option(min=1, help="Fields to fit the form of the intervals to. Default: a quarter."),
    ] = None,
    predictions: Predictions = None,
    split: Split = "val",
    match_intensity: MatchIntensity = False,
    tile: TileOrWhole = None,
    halo: Halo = HALO,
    device: Device = "cpu",
) -> None:
    """Learn intervals that cover a stated share of the pixels, from fields not trained on.

    Writes into the folder --out: calibrated.safetensors, the checkpoint with the intervals in its
    header (export and predict then give lower and upper too), calibration.json, fields.csv and
    predictions/. The intervals hold for these sampler options only; repeat with others, and with
    calibrated.safetensors as CHECKPOINT, to add theirs. With --predictions nothing is computed
    again: give the sampler options those predictions were made with. Repeat to resume. All in grey
    levels.
    """
    from ..calibrate.fields import Fields, by_field, divided, refuse_other_sampler
    from ..calibrate.promises import refuse_too_few
    from ..calibrate.run import CHECKPOINT, Promise, write_results
    from ..calibrate.run import calibrate as run
    from ..data.pairs import SPLITS
    from ..evaluate.methods import from_folder
    from ..train.checkpoint import Checkpoint, stored_type

    settings = sampling.settings()
    loaded = Checkpoint.load(checkpoint)
    found = images.find(SPLITS if split == "all" else (split,), match=match_intensity)
    _, rest = divided(list(by_field(found)), fit, settings.seed)
    refuse_too_few(len(rest), guarantee, alpha, delta)  # before the long work
    if predictions is not None:
        refuse_other_sampler(predictions, settings)
    source = predictions or _predicted(
        found, checkpoint, loaded, settings, (tile, halo), out, device
    )
    ends = loaded.config.intensity.low, loaded.config.intensity.high
    promise = Promise(guarantee, alpha, delta)
    fields = Fields(by_field(found), from_folder(source), match_intensity)
    made, rows = run(fields, promise, settings.kind, ends, fit, settings.seed)
    paths = write_results(out, made, rows)
    loaded.with_calibration(made).save(out / CHECKPOINT, stored_type(checkpoint))
    for path in (out / CHECKPOINT, *paths):
        typer.echo(path)
    _say(made)


def _predicted(
    pairs: list[Pair],
    path: Path,
    checkpoint: Checkpoint,
    settings: SamplerSettings,
    tiles: tuple[int | None, int],
    out: Path,
    device: str,
) -> Path:
    """Predict what is not finished; return the folder."""
    from ..calibrate.fields import by_field, predict_all
    from ..evaluate.journal import JOURNAL, Journal, fingerprint
    from ..evaluate.methods import from_backend
    from ..runtime.backends import torch_backend
    from ..runtime.tiling import Tiling

    tile, halo = tiles
    known = settings.kind | {"seed": settings.seed, "tile": tile, "halo": halo}
    journal = Journal(out / JOURNAL, known | {"model_sha256": fingerprint(path)})
    backend = torch_backend(checkpoint.sampler(settings), device)
    tiling = None if tile == 0 else Tiling(tile or TILE, halo)
    method = from_backend(
        backend, tiling, halo, checkpoint.config.in_channels, settings.num_samples
    )
    line = ProgressLine("image")
    predict_all(by_field(pairs), method, journal, out / "predictions", line.show)
    return out / "predictions"


def _say(found: Calibration) -> None:
    from ..calibrate.promises import in_words

    how = "each with a width from the other fields" if found.left_out else "of these very fields"
    lines = [
        f"{in_words(found.guarantee, found.alpha, found.delta)}.",
        f"{found.fit_fields} fields of view for the form, {found.fields} for the width.",
        f"coverage {found.coverage:.1%} ({found.worst_coverage:.1%} to {found.best_coverage:.1%} "
        f"by field, {how}), mean length {found.length:.4g} grey levels.",
        f"before: mean ± z·std covered {found.plain_coverage:.1%}, length "
        f"{found.plain_length:.4g}"
        + (
            "."
            if found.scaled_length is None
            else "; a multiple of std that covers as much as "
            f"now would be {found.scaled_length:.4g} long."
        ),
    ]
    if found.std_factor is not None:
        lines.append(f"the error is {found.std_factor:.2f} times the std.")
    sys.stderr.write("\n".join(lines) + "\n")
