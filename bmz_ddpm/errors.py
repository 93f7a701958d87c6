"""What can go wrong, as one tree.

::

    Exception
    └── UserError                one line + fix, exit code 1: somebody can mend it
        ├── ConfigError          an unknown or impossible setting
        ├── DataError            an image, a pair, a folder
        ├── CheckpointError      a checkpoint that is not ours, or does not fit
        ├── ExportError          formats that disagree, a package that cannot be written
        ├── UploadError          a package, a server or a token with which nothing can be sent
        ├── MissingDependency    an optional package is not installed
        └── EnvironmentUnusable  a separate Python environment that cannot be made or used

Everything else that is raised is a bug and keeps its full traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "EnvironmentUnusable",
    "ExportError",
    "MissingDependency",
    "UploadError",
    "UserError",
    "did_you_mean",
]


class UserError(Exception):
    """A mistake that the user can mend.

    Parameters
    ----------
    problem : str
        "thing: value, rule", without a full stop at the end.
    fix : str
        What to do about it.
    """

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(f"{problem}. Fix: {fix}")
        self.problem = problem
        self.fix = fix

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive the way from a worker process, whatever the arguments of the subclass."""
        return _rebuilt, (type(self), self.problem, self.fix)


def _rebuilt(kind: type[UserError], problem: str, fix: str) -> UserError:
    error = kind.__new__(kind)
    UserError.__init__(error, problem, fix)
    return error


class ConfigError(UserError):
    """A setting that does not exist or cannot work."""


class DataError(UserError):
    """An image, a pair of images or a folder that cannot be used."""


class CheckpointError(UserError):
    """A file that is not one of our checkpoints, or is damaged."""


class ExportError(UserError):
    """A model that cannot be written, or whose formats disagree."""


class UploadError(UserError):
    """A package that the zoo would not take, or a server or token that does not let us send it."""


class MissingDependency(UserError):
    """An optional package that this job needs is not installed."""

    def __init__(self, module: str, extra: str, job: str, fix: str = "") -> None:
        super().__init__(
            f"{job} needs {module}, which is not installed",
            fix or f"pip install 'bmz-ddpm[{extra}]'",
        )


class EnvironmentUnusable(UserError):
    """A separate Python environment that cannot be made or used."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the nearest known word, or ``""``."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{near[0]}'?)" if near else ""
