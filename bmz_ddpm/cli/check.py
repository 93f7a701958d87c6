"""bmz-ddpm check"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def check(
    package: Annotated[
        Path, typer.Argument(help="Any zoo package: a .zip, a folder or an rdf.yaml.")
    ],
    consumers: Annotated[
        list[str] | None,
        typer.Option(
            "--for",
            help="fiji, ilastik, core, qupath or zoo; may be repeated. They decide about the exit "
            "code; by default all, but ilastik and qupath only if there is one output.",
        ),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(
            help="Image whose tiles are shown, as YxX in pixels (512x701); may be repeated."
        ),
    ] = None,
    run: Annotated[
        bool, typer.Option("--run", help="Also run the weights with what is installed here.")
    ] = False,
    environments: Annotated[
        list[str] | None,
        typer.Option(
            "--env",
            help="Also run it in a separate environment with the versions of a program: zoo, "
            "ilastik, fiji or fiji-old; may be repeated. Made once, 3 to 6 GB each.",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="With --run: also run the weights there, such as cuda, and compare."),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Also write the report as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(help="Also write the report as a web page.")] = None,
) -> None:
    """Say whether a package runs in Fiji, ilastik, bioimageio.core, QuPath and the Model Zoo.

    Exit code 0 if it runs in all that count, else 1.
    """
    from ..check.page import to_html
    from ..check.report import to_json, to_text
    from ..check.verdict import SIZES, check_package
    from ..errors import ConfigError
    from ..files import refuse_unwritable, write_bytes

    if device and not run:
        raise ConfigError(f"--device {device}: nothing is run", "add --run")
    wanted = [_consumer(name) for name in consumers or ()]
    sizes = [_size(text) for text in size or ()]
    for path in (json, html):
        if path:
            refuse_unwritable(path)

    def say(line: str) -> None:
        sys.stderr.write(line + " …\n")

    report = check_package(package, wanted, sizes or SIZES, run, environments or (), device, say)
    typer.echo(to_text(report))
    for path, write in ((json, to_json), (html, to_html)):
        if path:
            write_bytes(path, write(report).encode())
            typer.echo(path)
    if not report.passed:
        raise typer.Exit(1)


def _consumer(name: str) -> str:
    from ..check.findings import CONSUMERS
    from ..errors import ConfigError, did_you_mean

    if name not in CONSUMERS:
        near = did_you_mean(name, CONSUMERS)
        raise ConfigError(f"--for {name}: unknown{near}", f"choose {', '.join(CONSUMERS)}")
    return name


def _size(text: str) -> tuple[int, int]:
    from ..errors import ConfigError

    parts = text.lower().split("x")
    if len(parts) != 2 or not all(p.isdecimal() and int(p) > 0 for p in parts):
        raise ConfigError(f"--size {text}: is no size", "write height x width, such as 512x701")
    return int(parts[0]), int(parts[1])
