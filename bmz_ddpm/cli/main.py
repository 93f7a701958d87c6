"""bmz-ddpm: parse, call one library function, print the paths it made."""

from __future__ import annotations

import sys

import typer

from .. import __version__
from ..errors import UserError
from .baseline import baseline
from .bench import bench
from .calibrate import calibrate
from .check import check
from .compare import compare
from .distill import distill
from .evaluate import evaluate
from .export import export
from .predict import predict
from .prepare import prepare
from .train import train
from .upload import upload

app = typer.Typer(
    name="bmz-ddpm",
    help="Diffusion denoisers for microscopy, from images to Fiji, ilastik and the Model Zoo.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"bmz-ddpm {__version__}")
        raise typer.Exit


@app.callback(epilog="Example: bmz-ddpm predict model.zip cells.tif --out denoised")
def root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Diffusion denoisers for microscopy, from images to Fiji, ilastik and the Model Zoo."""


app.command(epilog="Example: bmz-ddpm prepare raw/ --patch 256 --out prepared")(prepare)
app.command(epilog="Example: bmz-ddpm train pairs/ --out runs/cells")(train)
app.command(
    epilog="Example: bmz-ddpm distill pairs/ --checkpoint runs/cells/best.safetensors "
    "--out runs/student"
)(distill)
app.command(
    epilog="Example: bmz-ddpm evaluate pairs.csv --model cells.zip --split test --out scores/cells"
)(evaluate)
app.command(
    epilog="Example: bmz-ddpm calibrate best.safetensors held_out/ --split all --out calibration"
)(calibrate)
app.command(
    epilog="Example: bmz-ddpm export runs/cells/best.safetensors --about cells.toml --out cells.zip"
)(export)
app.command(epilog="Example: bmz-ddpm compare evaluations/ours evaluations/care --out report")(
    compare
)
app.command(epilog="Example: bmz-ddpm baseline pairs/ --method care --minutes 60 --out runs/care")(
    baseline
)
app.command(epilog="Example: bmz-ddpm bench runs/cells/best.safetensors --out speed")(bench)
app.command(epilog="Example: bmz-ddpm check cells.zip --for fiji --html report.html")(check)
app.command(epilog="Example: bmz-ddpm upload cells.zip --send")(upload)
app.command(epilog="Example: bmz-ddpm predict cells.zip raw.tif --out denoised")(predict)


def main() -> None:
    """Run the command line; a user's mistake ends in two lines and exit code 1."""
    try:
        app()
    except UserError as error:
        sys.stderr.write(f"error: {error.problem}.\nfix:   {error.fix}.\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted.\nfix:   repeat the command.\n")
        sys.exit(130)
