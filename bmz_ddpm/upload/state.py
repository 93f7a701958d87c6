"""What an upload remembers between two runs: a small file beside the package, without secrets."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import DataError, UploadError
from ..files import write_bytes


@dataclass
class State:
    """Progress of one package on one server.

    Attributes
    ----------
    server, key : str
        Whose draft it is: another server or another content means another draft.
    asked : bool
        True from just before the server is asked for a draft; so a run that was killed before
        it heard the answer knows that a draft may be there.
    draft : str or None
        Its id.
    """

    server: str
    key: str
    asked: bool = False
    draft: str | None = None


def state_path(root: Path) -> Path:
    """Return the file that belongs to a package: ``model.zip.upload.json`` for model.zip."""
    return root.with_name(f"{root.name}.upload.json")


def load_state(root: Path, server: str, key: str) -> tuple[State, str | None]:
    """Read what an earlier run left.

    Returns
    -------
    state : State
        An empty one if there is none, or none that can be read: the server is then searched.
    earlier : str or None
        The draft of an earlier content of the same package on the same server.
    """
    try:
        kept = json.loads(state_path(root).read_text(encoding="utf-8"))
        state = State(**kept)
    except (OSError, ValueError, TypeError):
        return State(server, key), None
    if state.server != server:
        return State(server, key), None
    if state.key != key:
        return State(server, key), state.draft
    return state, None


def save_state(root: Path, state: State) -> None:
    """Write it, complete or not at all.

    Raises
    ------
    UploadError
        If the folder of the package cannot be written to.
    """
    text = json.dumps(asdict(state), indent=2) + "\n"
    try:
        write_bytes(state_path(root), text.encode())
    except DataError as error:
        raise UploadError(
            f"{error.problem}, an upload is remembered beside its package",
            "copy the package to a folder that you can write to",
        ) from error
