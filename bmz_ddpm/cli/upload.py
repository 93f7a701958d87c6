"""bmz-ddpm upload"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..upload.plan import Plan

TOKEN = "BIOIMAGEIO_TOKEN"


def upload(
    package: Annotated[
        Path, typer.Argument(help="Model package: a .zip, a folder or an rdf.yaml.")
    ],
    really: Annotated[
        bool, typer.Option("--send", help="Really send it; without, only show what would be sent.")
    ] = False,
    server: Annotated[
        str, typer.Option(help="Address of the artifact manager.")
    ] = "https://hypha.aicell.io",
) -> None:
    """Send a package to the Model Zoo as a draft for its reviewers; nothing is published.

    Without --send nothing leaves this computer. The login token comes from the environment
    variable BIOIMAGEIO_TOKEN; without it you are asked. Interrupted? Repeat the command.
    """
    from ..upload.client import ArtifactManager, server_address
    from ..upload.plan import make_plan
    from ..upload.report import to_text
    from ..upload.send import send

    server = server_address(server)
    plan = make_plan(package)
    typer.echo(to_text(plan, server))
    plan.require()
    if not really:
        typer.echo(f"\nNothing was sent. To send it: bmz-ddpm upload {package} --send")
        return
    with ArtifactManager(server, _token(server)) as manager:
        sent = send(plan, manager, lambda line: typer.echo(line, err=True))
    _say(plan, sent.draft, sent.page, sent.record)


def _say(plan: Plan, draft: str, page: str, record: str) -> None:
    typer.echo(f"\n{draft}: {len(plan.items)} files are stored intact; it waits for its reviewers.")
    typer.echo(page)
    if record != page:
        typer.echo(record)


def _token(server: str) -> str:
    from ..errors import UploadError

    token = os.environ.get(TOKEN, "").strip()
    if not token and sys.stdin.isatty():
        token = str(typer.prompt(f"Token for {server}", hide_input=True, err=True)).strip()
    if not token:
        raise UploadError(
            f"token: is missing, {server} wants to know who uploads",
            f"put your login token into the environment variable {TOKEN}",
        )
    return token
