"""Environments with the pins of the programs: run the probe there.

``pins/NAME.txt`` is a requirements file; its first comments say which Python it needs, how much
disk, for which programs it stands, and what is run there.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from .. import environments
from ..environments import Say, broken, last_line, parse_pins, ready_environment, run_command
from ..errors import ConfigError, EnvironmentUnusable, did_you_mean
from .jdll import weights_choice
from .job import job_of
from .outcomes import LABELS, Outcome, outcome_of
from .package import Package

ENVIRONMENTS = ("zoo", "ilastik", "fiji", "fiji-old")
#: Seconds after which a probe is stopped.
PATIENCE = 3600


@dataclass(frozen=True, kw_only=True)
class Pins(environments.Pins):
    """What an environment consists of, and stands for.

    Attributes
    ----------
    consumers : tuple of str
        Programs it stands for.
    runs : tuple of str
        Runs of the probe.
    """

    consumers: tuple[str, ...]
    runs: tuple[str, ...]


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
    pins, head = parse_pins(name, text)
    return Pins(
        **vars(pins), consumers=tuple(head["for"].split()), runs=tuple(head["runs"].split())
    )


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
            done = run_command(words, place, PATIENCE)
        except OSError as error:
            raise broken(pins, error.strerror or str(error)) from error
        except subprocess.TimeoutExpired as error:
            done = subprocess.CompletedProcess(
                words, 1, "", f"still not done after {error.timeout} s"
            )
        if not (place / "result.json").exists():
            raise broken(pins, last_line(done))
        result: dict[str, Any] = json.loads((place / "result.json").read_text(encoding="utf-8"))
    _require_pins(pins, result["versions"])
    if done.returncode:
        # what the engine was doing when it died is the first run without a record
        detail = f"the program ended with {done.returncode}: {last_line(done)}"
        run = pins.runs[min(result["finished"], len(pins.runs) - 1)]
        result["records"].append({"run": run, "state": "failed", "detail": detail})
    return result


def _require_pins(pins: Pins, versions: dict[str, str]) -> None:
    wanted = dict(r.split("==") for r in pins.requirements) | {"python": pins.python}
    for name, version in versions.items():
        installed = version.split("+")[0]  # 2.0.0+cpu is 2.0.0
        if name == "python":
            installed = ".".join(version.split(".")[:2])
        if wanted.get(name, installed) != installed:
            raise broken(pins, f"it has {name} {version}, the pins say {wanted[name]}")


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
