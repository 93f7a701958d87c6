"""Separate Python environments with the pins of the programs: make them once, run the probe there.

``pins/NAME.txt`` is a requirements file; its first comments say which Python it needs, how much
disk, for which programs it stands, and what is run there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from ..errors import ConfigError, EnvironmentUnusable, did_you_mean
from .jdll import weights_choice
from .job import job_of
from .outcomes import LABELS, Outcome, outcome_of
from .package import Package

ENVIRONMENTS = ("zoo", "ilastik", "fiji", "fiji-old")
#: Environment variable that names another place for the environments.
PLACE = "BMZ_DDPM_ENVIRONMENTS"
#: Seconds after which a probe is stopped.
PATIENCE = 3600
#: Variables with which one Python leads another one astray.
_MISLEADING = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Pins:
    """What an environment consists of.

    Attributes
    ----------
    name : str
    python : str
        "3.10".
    disk : str
        What it takes on the disk.
    consumers : tuple of str
        Programs it stands for.
    runs : tuple of str
        Runs of the probe.
    requirements : tuple of str
    """

    name: str
    python: str
    disk: str
    consumers: tuple[str, ...]
    runs: tuple[str, ...]
    requirements: tuple[str, ...]


def load_pins(name: str) -> Pins:
    """Read the pins of an environment.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    if name not in ENVIRONMENTS:
        near = did_you_mean(name, ENVIRONMENTS)
        raise ConfigError(f"--env {name}: unknown{near}", f"choose {', '.join(ENVIRONMENTS)}")
    text = (files(__package__) / "pins" / f"{name}.txt").read_text(encoding="utf-8")
    head = dict(re.findall(r"^# (python|disk|for|runs): (.*)$", text, flags=re.M))
    lines = tuple(line for line in text.splitlines() if line and not line.startswith("#"))
    consumers, runs = tuple(head["for"].split()), tuple(head["runs"].split())
    return Pins(name, head["python"], head["disk"], consumers, runs, lines)


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
        if path and _command([path, "-c", code]).stdout.strip() == version:
            return path
    raise EnvironmentUnusable(
        f"python{version}: was not found", f"install Python {version} so that it is on the PATH"
    )


def _make(pins: Pins, folder: Path, say: Say) -> None:
    """Make it under another name, so that half an environment is never taken for a whole."""
    python = find_python(pins.python)
    say(
        f"making the environment {pins.name} in {folder} ({pins.disk}, several minutes): "
        f"Python {pins.python}, {', '.join(pins.requirements)}"
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
        _require_done(pins, _command([python, "-m", "venv", str(part)]))
        inside = [str(python_in(part)), "-m", "pip", "--disable-pip-version-check"]
        _require_done(pins, _command([*inside, "install", "--quiet", *pins.requirements]))
        if not python_in(folder).exists():  # unless another process was faster
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(part, folder)
    except OSError as error:
        raise EnvironmentUnusable(
            f"{folder}: cannot be written ({error.strerror})", "free some space, then repeat"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _command(
    words: list[str], folder: Path | None = None, patience: int | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in _MISLEADING}
    environment |= {"PYTHONNOUSERSITE": "1"}
    return subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=patience
    )


def _require_done(pins: Pins, done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        raise EnvironmentUnusable(
            f"environment {pins.name}: could not be made ({_last_line(done)})",
            "is the package index reachable, and is there room? Then repeat",
        )


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the line that says most: the last ERROR of pip, or the last of all."""
    lines = [line for line in (done.stderr or done.stdout or "").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or [f"exit code {done.returncode}"])[-1].strip()[:300]


def probe(package: Package, pins: Pins, say: Say) -> dict[str, Any]:
    """Run a package in an environment.

    Returns
    -------
    dict
        `versions` by package, and `records` as `probe.records.run` makes them.

    Raises
    ------
    EnvironmentUnusable
        If the environment cannot be made, does not start, or has other versions than it should.
    """
    python = ready_environment(pins, say)
    say(f"running in the environment {pins.name}")
    with job_of(package) as job, tempfile.TemporaryDirectory(prefix="bmz-ddpm-") as name:
        place = Path(name)
        with as_file(files(__package__) / "probe") as source:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, place / "probe", ignore=ignored)
        needs = [r.split("==")[0] for r in pins.requirements if "pydantic" not in r]
        job |= {"runs": pins.runs, "needs": needs}
        (place / "job.json").write_text(json.dumps(job), encoding="utf-8")
        words = [str(python), "-m", "probe", "job.json", "result.json"]
        try:
            done = _command(words, place, PATIENCE)
        except OSError as error:
            raise _broken(pins, error.strerror or str(error)) from error
        except subprocess.TimeoutExpired as error:
            done = subprocess.CompletedProcess(
                words, 1, "", f"still not done after {error.timeout} s"
            )
        if not (place / "result.json").exists():
            raise _broken(pins, _last_line(done))
        result: dict[str, Any] = json.loads((place / "result.json").read_text(encoding="utf-8"))
    _require_pins(pins, result["versions"])
    if done.returncode:
        # what the engine was doing when it died is the first run without a record
        detail = f"the program ended with {done.returncode}: {_last_line(done)}"
        run = pins.runs[min(result["finished"], len(pins.runs) - 1)]
        result["records"].append({"run": run, "state": "failed", "detail": detail})
    return result


def _broken(pins: Pins, reason: str) -> EnvironmentUnusable:
    folder = cache_folder() / pins.name
    return EnvironmentUnusable(
        f"environment {pins.name}: does not work ({reason})",
        f"delete {folder}; it is then made anew",
    )


def _require_pins(pins: Pins, versions: dict[str, str]) -> None:
    wanted = dict(r.split("==") for r in pins.requirements) | {"python": pins.python}
    for name, version in versions.items():
        installed = version.split("+")[0]  # 2.0.0+cpu is 2.0.0
        if name == "python":
            installed = ".".join(version.split(".")[:2])
        if wanted.get(name, installed) != installed:
            raise _broken(pins, f"it has {name} {version}, the pins say {wanted[name]}")


def run_in_environments(package: Package, names: Iterable[str], say: Say) -> list[Outcome]:
    """Run a package in environments.

    Returns
    -------
    list of Outcome
        If an environment is not to be had: not run, and why.
    """
    found = []
    for pins in map(load_pins, names):
        try:
            records = probe(package, pins, say)["records"]
        except EnvironmentUnusable as error:
            what = f"environment {pins.name}"
            reason = f"{error.problem}; to mend it: {error.fix}"
            found.append(Outcome(what, pins.consumers, "not run", reason))
            continue
        found += [_outcome(package, pins, record) for record in records]
    return found


def _outcome(package: Package, pins: Pins, record: dict[str, Any]) -> Outcome:
    """Fiji runs one format only: a failure of the other does no harm."""
    counts = "fiji" not in pins.consumers or record["run"] == weights_choice(package)
    if not counts:
        record = record | {"detail": f"{record['detail']}; Fiji does not take these weights"}
    label = LABELS.get(record["run"], record["run"])
    return outcome_of(record, f"{label} (environment {pins.name})", pins.consumers, counts)
