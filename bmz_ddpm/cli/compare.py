"""bmz-ddpm compare"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .options import Out, Seed


def compare(
    evaluations: Annotated[
        list[str],
        typer.Argument(
            help="Folders that `bmz-ddpm evaluate` wrote, your own method first. "
            "NAME=FOLDER gives a method another name."
        ),
    ],
    out: Out,
    against: Annotated[
        str | None,
        typer.Option(
            help="Method to which all others are compared; by default the best of each measure."
        ),
    ] = None,
    pictures: Annotated[
        int,
        typer.Option(min=0, help="Images to show: the median one, the best, the worst, more."),
    ] = 4,
    seed: Seed = 0,
) -> None:
    """Compare methods: tables, statistics and figures as one web page, CSV and JSON.

    Only images that all methods have are compared. An older report in --out is replaced.
    """
    from ..compare.report import write_report
    from ..compare.words import averaging_lines, verdict

    def say(line: str) -> None:
        sys.stderr.write(line + "\n")

    comparison, paths = write_report(
        evaluations, out, against, pictures, seed, lambda line: say(line + " …")
    )
    for line in (*comparison.notes, *verdict(comparison), *averaging_lines(comparison)):
        say(line)
    for path in paths:
        typer.echo(path)
