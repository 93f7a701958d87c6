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
        parameters = inspect.signature(command, eval_str=True).parameters.values()
        place = next(p.name for p in parameters if p.annotation is group)
        own = [p for p in parameters if p.name != place]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            chosen = {option.name: given.pop(option.name) for option in options}
            command(**given, **{place: group(**chosen)})

        # typer reads both; an option without a default must not follow one that has it, and the
        # command's own arguments come first
        needed = [p for p in (*own, *options) if p.default is inspect.Parameter.empty]
        others = [p for p in (*options, *own) if p.default is not inspect.Parameter.empty]
        every = (*needed, *others)
        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in every]
        run.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in keyword}
        return run

    return decorate
