"""bmz-ddpm prepare"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .data_options import Images, takes_images
from .options import Out
from .progress import ProgressLine

if TYPE_CHECKING:
    from ..prepare.run import Prepared

Register = Annotated[
    Literal["rigid", "shift", "none"],
    typer.Option(help="How the clean image may be moved; rigid: shift and rotation."),
]
RegisterChannel = Annotated[
    int | None,
    typer.Option(min=1, help="Channel to register on, from 1. Default: the mean of all."),
]
MaxShift = Annotated[
    float | None,
    typer.Option(
        min=0, help="Largest shift in pixels. Default: a tenth of the image's smaller side."
    ),
]
MaxRotation = Annotated[float, typer.Option(min=0, max=180, help="Largest rotation in degrees.")]


@takes_images
def prepare(
    images: Images,
    out: Out = Path("prepared"),
    register: Register = "rigid",
    register_channel: RegisterChannel = None,
    max_shift: MaxShift = None,
    max_rotation: MaxRotation = 5.0,
    min_similarity: Annotated[
        float,
        typer.Option(min=-1, max=1, help="Smallest correlation of what the two images show."),
    ] = 0.35,
    min_overlap: Annotated[
        float,
        typer.Option(min=0, max=1, help="Smallest share of the noisy image that has clean data."),
    ] = 0.7,
    patch: Annotated[
        int | None,
        typer.Option(min=16, help="Cut patches of this side in pixels. Default: whole images."),
    ] = None,
    overlap: Annotated[int, typer.Option(min=0, help="Pixels that patches share.")] = 0,
    min_valid: Annotated[
        float,
        typer.Option(min=0, max=1, help="Patches with a smaller share of clean data are left out."),
    ] = 0.5,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print settings and pairs, then stop.")
    ] = False,
) -> None:
    """Register pairs, reject those that do not fit, cut patches, and show it all on one sheet.

    Writes into the new folder --out: low/, high/ and mask/ (0 where there is no clean data),
    pairs.csv for bmz-ddpm train, shifts.csv, rejected.csv, summary.json and contact_sheet.png.
    The noisy images are not changed. Exit code 1 if all pairs were rejected.
    """
    import json
    from dataclasses import asdict

    from ..data.pairs import SPLITS
    from ..prepare.run import prepare as run
    from ..prepare.settings import PrepareSettings
    from ..prepare.store import refuse_used

    settings = PrepareSettings(
        register, register_channel, max_shift, max_rotation, min_similarity, min_overlap,
        patch, overlap, min_valid,
    )  # fmt: skip
    refuse_used(out)
    found = images.find(SPLITS)
    if dry_run:
        typer.echo(json.dumps(asdict(settings), indent=2))
        for pair in found:
            typer.echo(f"{pair.split}\t{pair.fov}\t{pair.low}\t{pair.high}")
        return
    line = ProgressLine("pair")
    _say(run(found, settings, out, line.show), out)


def _say(done: Prepared, out: Path) -> None:
    from ..errors import DataError

    for finding in done.rejected:
        sys.stderr.write(f"rejected: {finding.pair.low}: {finding.reason}\n")
    kept = len(done.findings) - len(done.rejected)
    if not kept:
        raise DataError(
            f"all {len(done.findings)} pairs were rejected, {out} holds only the report",
            f"look at {out / 'rejected.csv'} and the contact sheet beside it",
        )
    left_out = f", {done.left_out} patches without enough clean data" if done.left_out else ""
    sys.stderr.write(
        f"{kept} of {len(done.findings)} pairs prepared, {done.images} images{left_out}\n"
    )
    if done.warning:
        sys.stderr.write(f"warning: {done.warning.problem}; training would refuse this.\n")
    for path in done.files:
        typer.echo(path)
