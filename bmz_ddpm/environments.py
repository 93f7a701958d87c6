"""Separate Python environments with pinned packages: made once, kept, and run from here.

The pins are a requirements file whose first comments say which Python it needs and how much disk.
What follows the comment ``# without their dependencies:`` is installed as it stands, for lists
that are complete and whose packages contradict each other.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import EnvironmentUnusable

#: Environment variable that names another place for the environments.
PLACE = "BMZ_DDPM_ENVIRONMENTS"
#: In a file of pins, before what pip shall install with --no-deps.
ALONE = "# without their dependencies:"
#: Variables with which one Python leads another one astray.
_MISLEADING = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Pins:
    """What an environment consists of.

    Attributes
    ----------
    name : str
    python : str
        "3.10".
    disk : str
        What it takes on the disk.
    requirements : tuple of str
    alone : tuple of str
        Requirements that are installed without their dependencies.
    """

    name: str
    python: str
    disk: str
    requirements: tuple[str, ...]
    alone: tuple[str, ...] = ()


def parse_pins(name: str, text: str) -> tuple[Pins, dict[str, str]]:
    """Read a file of pins.

    Returns
    -------
    Pins
    dict
        Its first comments, ``# key: value``.
    """
    head = dict(re.findall(r"^# (\w+): (.*)$", text, flags=re.M))
    parts = []
    for part in text.split(ALONE, 1):
        lines = part.splitlines()
        parts.append(tuple(line for line in lines if line and not line.startswith("#")))
    pins = Pins(
        name=name,
        python=head["python"],
        disk=head["disk"],
        requirements=parts[0],
        alone=parts[1] if len(parts) > 1 else (),
    )
    return pins, head


def cache_folder() -> Path:
    """Return where environments are kept: $BMZ_DDPM_ENVIRONMENTS, or the user's cache folder."""
    if os.environ.get(PLACE):
        return Path(os.environ[PLACE])
    import platformdirs

    return platformdirs.user_cache_path("bmz-ddpm") / "environments"


def python_in(folder: Path) -> Path:
    """Return the interpreter of a virtual environment.

    Only this one is used: the scripts beside it know the folder's name while it was made.
    """
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def ready_environment(pins: Pins, say: Say) -> Path:
    """Return the interpreter of an environment, which is made if it is not there.

    Raises
    ------
    EnvironmentUnusable
        If it cannot be made.
    """
    folder = cache_folder() / pins.name
    if not python_in(folder).exists():
        _make(pins, folder, say)
    return python_in(folder)


def find_python(version: str) -> str:
    """Return an interpreter of this version, such as "3.10".

    Raises
    ------
    EnvironmentUnusable
        If none answers to pythonX.Y.
    """
    for name in (sys.executable, f"python{version}", "python3", "python"):
        path = shutil.which(name)
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        if path and run_command([path, "-c", code]).stdout.strip() == version:
            return path
    raise EnvironmentUnusable(
        f"python{version}: was not found", f"install Python {version} so that it is on the PATH"
    )


def _make(pins: Pins, folder: Path, say: Say) -> None:
    """Make it under another name, so that half an environment is never taken for a whole."""
    python = find_python(pins.python)
    say(
        f"making the environment {pins.name} in {folder} ({pins.disk}, several minutes): "
        f"Python {pins.python}, {', '.join(pins.requirements + pins.alone)}"
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{pins.name}.", suffix=".part", dir=folder.parent))
    except OSError as error:
        raise EnvironmentUnusable(
            f"{folder.parent}: cannot be written ({error.strerror})",
            f"set {PLACE} to a folder with room",
        ) from error
    try:
        _require_done(pins, run_command([python, "-m", "venv", str(part)]))
        inside = [str(python_in(part)), "-m", "pip", "--disable-pip-version-check"]
        install = [*inside, "install", "--quiet"]
        _require_done(pins, run_command([*install, *pins.requirements]))
        if pins.alone:
            _require_done(pins, run_command([*install, "--no-deps", *pins.alone]))
        if not python_in(folder).exists():  # unless another process was faster
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(part, folder)
    except OSError as error:
        raise EnvironmentUnusable(
            f"{folder}: cannot be written ({error.strerror})", "free some space, then repeat"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def run_command(
    words: list[str], folder: Path | None = None, patience: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program without the variables with which one Python leads another one astray."""
    environment = {k: v for k, v in os.environ.items() if k not in _MISLEADING}
    environment |= {"PYTHONNOUSERSITE": "1"}
    return subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=patience
    )


def _require_done(pins: Pins, done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        raise EnvironmentUnusable(
            f"environment {pins.name}: could not be made ({last_line(done)})",
            "is the package index reachable, and is there room? Then repeat",
        )


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the line that says most: the last ERROR of pip, or the last of all."""
    lines = [line for line in (done.stderr or done.stdout or "").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or [f"exit code {done.returncode}"])[-1].strip()[:300]


def broken(pins: Pins, reason: str) -> EnvironmentUnusable:
    """Return the error of an environment that is there but does not work."""
    folder = cache_folder() / pins.name
    return EnvironmentUnusable(
        f"environment {pins.name}: does not work ({reason})",
        f"delete {folder}; it is then made anew",
    )
