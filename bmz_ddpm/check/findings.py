"""One rule, one function: how rules are written down, and what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from .package import Package

Severity = Literal["blocks", "warns"]
#: Short name on the command line, and what it stands for.
CONSUMERS = {
    "fiji": "Fiji (deepImageJ 3.1, JDLL 0.6.1)",
    "ilastik": "ilastik 1.4.1 and 1.4.2",
    "core": "bioimageio.core 0.11",
    "qupath": "QuPath",
    "zoo": "Model Zoo web page and BioEngine",
}
ALL: dict[str, Severity] = dict.fromkeys(CONSUMERS, "blocks")


@dataclass(frozen=True)
class Broken:
    """One place where a rule is broken.

    Attributes
    ----------
    thing, value, because : str
        Joined to "thing: value, because".
    fix : str
        What to do about it.
    harmless : bool
        True where the rule blocks in general, but nobody uses this part of the package.
    """

    thing: str
    value: str
    because: str
    fix: str
    harmless: bool = False


@dataclass(frozen=True)
class Finding:
    """A broken rule, as it is reported.

    Attributes
    ----------
    rule : str
        Name of the rule.
    severity : dict
        Consumer to "blocks" or "warns".
    """

    rule: str
    severity: Mapping[str, Severity]
    message: str
    fix: str


@dataclass(frozen=True)
class Rule:
    """A rule, whom it concerns, and the function that looks for breaches."""

    name: str
    severity: Mapping[str, Severity]
    search: Callable[[Package], Iterable[Broken]]


RULES: dict[str, Rule] = {}
Search = Callable[[Package], Iterable[Broken]]


def rule(name: str, severity: Mapping[str, Severity]) -> Callable[[Search], Search]:
    """Register the decorated function as a rule."""

    def register(search: Search) -> Search:
        if name in RULES:
            raise ValueError(f"two rules are named {name}")
        RULES[name] = Rule(name, severity, search)
        return search

    return register


def blocks(*consumers: str) -> dict[str, Severity]:
    """Return the severities of a rule without which these consumers do not run the package."""
    return dict.fromkeys(consumers, "blocks")


def warns(*consumers: str) -> dict[str, Severity]:
    """Return the severities of a rule that these consumers survive."""
    return dict.fromkeys(consumers, "warns")


def search_all(package: Package) -> list[Finding]:
    """Apply every registered rule.

    Parameters
    ----------
    package : Package

    Returns
    -------
    list of Finding
        Grouped by rule.
    """
    found = []
    for each in RULES.values():
        for broken in each.search(package):
            severity = warns(*each.severity) if broken.harmless else each.severity
            message = f"{broken.thing}: {broken.value}, {broken.because}"
            found.append(Finding(each.name, severity, message, broken.fix))
    return found
