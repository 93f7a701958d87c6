"""Options that several verbs share as one dataclass."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

Command = Callable[..., None]


def takes(group: type) -> Callable[[Command], Command]:
    """Give a command the fields of a dataclass as options; it gets them as one parameter.

    Parameters
    ----------
    group : dataclass
        Its fields are annotated as typer wants it. The command has a parameter of this type.
    """
    hints = get_type_hints(group, include_extras=True)
    options = [
        parameter.replace(annotation=hints[name])
        for name, parameter in inspect.signature(group).parameters.items()
    ]

    def decorate(command: Command) -> Command:
        parameters = list(inspect.signature(command, eval_str=True).parameters.values())
        place = next(p.name for p in parameters if p.annotation is group)
        # the group's fields stand where the group stands
        listed = [q for p in parameters for q in (options if p.name == place else [p])]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            chosen = {option.name: given.pop(option.name) for option in options}
            command(**given, **{place: group(**chosen)})

        # typer reads both; an option without a default must not follow one that has it
        every = sorted(listed, key=lambda p: p.default is not inspect.Parameter.empty)
        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in every]
        run.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in keyword}
        return run

    return decorate
