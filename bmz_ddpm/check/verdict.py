"""Does a package run? One verdict per program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from .. import __version__
from . import rules_engines, rules_files, rules_rdf, rules_sizes, rules_tensors, rules_weights
from .devices import require_known, run_on_device
from .environments import Say, load_pins, run_in_environments
from .findings import CONSUMERS, RULES, Finding, search_all
from .ilastik import ilastik_tiles
from .jdll import TilePlan, fiji_tiles, weights_choice
from .outcomes import Outcome
from .package import Package, mapping, open_package, sequence
from .run import run_all

#: Modules whose import fills `RULES`.
RULE_MODULES = (
    rules_rdf,
    rules_files,
    rules_tensors,
    rules_sizes,
    rules_weights,
    rules_engines,
)
#: Image sizes (y, x) whose tiles are shown; odd ones are the usual stumbling blocks.
SIZES = ((64, 64), (255, 257), (512, 512), (701, 1025), (2048, 2048))


@dataclass(frozen=True)
class Verdict:
    """What is known about one program.

    Attributes
    ----------
    consumer : str
    counts : bool
        Whether it decides about the exit code.
    findings : list of Finding
        Those that concern this program.
    outcomes : list of Outcome
        What was run for it; empty without --run and --env.
    notes : list of str
        What it will do, such as the weights and tiles it takes.
    """

    consumer: str
    counts: bool
    findings: list[Finding]
    outcomes: list[Outcome]
    notes: list[str] = field(default_factory=list)

    @property
    def blocking(self) -> list[Finding]:
        """Findings without which it would run."""
        return [f for f in self.findings if f.severity[self.consumer] == "blocks"]

    @property
    def warnings(self) -> list[Finding]:
        """Findings that it survives."""
        return [f for f in self.findings if f.severity[self.consumer] == "warns"]

    @property
    def runs(self) -> bool:
        """True if no rule is broken and nothing that was run failed."""
        failed = any(o.state == "failed" and o.counts for o in self.outcomes)
        return not self.blocking and not failed


@dataclass(frozen=True)
class Report:
    """Everything about a package.

    Attributes
    ----------
    package : str
        As the user named it.
    name : str
        The model's name.
    verdicts : list of Verdict
    rules : int
        Number of rules that were applied.
    was_run : bool
    made : str
        Date and time.
    version : str
        Of this toolkit.
    """

    package: str
    name: str
    verdicts: list[Verdict]
    rules: int
    was_run: bool
    made: str
    version: str

    @property
    def passed(self) -> bool:
        """True if every program that counts runs the package."""
        return all(v.runs for v in self.verdicts if v.counts)


def check_package(
    path: Path,
    consumers: Iterable[str] = (),
    sizes: Iterable[tuple[int, int]] = SIZES,
    run: bool = False,
    environments: Sequence[str] = (),
    device: str | None = None,
    say: Say = lambda line: None,
) -> Report:
    """Say for each program whether it runs a package, and why not.

    Parameters
    ----------
    path : Path
        Package (.zip), folder, or rdf.yaml.
    consumers : iterable of str
        Names in `CONSUMERS` that decide; by default those that apply: ilastik and QuPath only
        for models with one input and one output.
    sizes : iterable of (y, x)
        Images whose tiles are shown.
    run : bool
        Also load and run the weights with what is installed here.
    environments : sequence of str
        Names in `environments.ENVIRONMENTS` in which it is run too; made where missing.
    device : str or None
        Where the weights are run too, such as "cuda".
    say : callable
        Told what takes long.

    Raises
    ------
    DataError
        If the package cannot be opened.
    ConfigError
        If there is no such environment or device.
    """
    for name in environments:
        load_pins(name)
    if device:
        require_known(device)
    package = open_package(path)
    findings = search_all(package)
    outcomes = run_all(package) if run else []
    outcomes += run_on_device(package, device) if device else []
    outcomes += run_in_environments(package, dict.fromkeys(environments), say)
    deciding = set(consumers) or applying(package)
    wanted = list(sizes)
    verdicts = [
        Verdict(
            name,
            name in deciding,
            [f for f in findings if name in f.severity],
            [o for o in outcomes if name in o.consumers],
            _notes(package, name, wanted),
        )
        for name in CONSUMERS
    ]
    title = str(package.rdf.get("name", path.name))
    ran = bool(run or environments or device)
    made = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return Report(str(path), title, verdicts, len(RULES), ran, made, __version__)


def applying(package: Package) -> set[str]:
    """Return the programs that a package is made for: those it names, or those that can take it."""
    named = mapping(package.config.get("bmz_ddpm")).get("consumers")
    known = {str(n) for n in sequence(named)} & set(CONSUMERS)
    if known:
        return known
    single = len(package.inputs) == len(package.outputs) == 1
    return set(CONSUMERS) if single else set(CONSUMERS) - {"ilastik", "qupath"}


def _notes(package: Package, consumer: str, sizes: list[tuple[int, int]]) -> list[str]:
    if consumer == "fiji":
        choice = weights_choice(package)
        first = [f"takes the weights: {choice}"] if choice else []
        return first + _tile_notes([(size, fiji_tiles(package, size)) for size in sizes])
    if consumer == "ilastik":
        return _tile_notes([(size, ilastik_tiles(package, size)) for size in sizes])
    return []


def _tile_notes(plans: list[tuple[tuple[int, int], TilePlan | None]]) -> list[str]:
    notes = []
    for (height, width), plan in plans:
        if plan is None:
            continue
        image = f"image of {height} x {width} pixels"
        if plan.refused:
            notes.append(f"{image}: refused, {plan.refused}")
            continue
        number = "1 tile" if plan.count == 1 else f"{plan.count} tiles"
        smaller = plan.tile[0] > height or plan.tile[1] > width
        padded = " (larger than the image)" if smaller else ""
        notes.append(f"{image}: {number} of {plan.tile[0]} x {plan.tile[1]}{padded}")
    return notes
