"""Times of parts that take turns: medians, spreads, ratios from the same round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

Part = Callable[[], object]
_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Spread:
    """A median and where the middle half of the values lies.

    Attributes
    ----------
    median, low, high : float
        `low` and `high` are the quartiles.
    count : int
    """

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0], 1)
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high, len(values))

    def as_dict(self) -> dict[str, float]:
        """Return plain numbers."""
        return asdict(self)


#: Seconds between two parts. Idle threads of ONNX Runtime and OpenMP go on spinning for a while and
#: took up to four fifths of a short part that followed at once (2 cores, measured).
REST = 0.1


def interleaved(
    parts: Mapping[_Key, Part],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    wait: Part = lambda: None,
    report: Callable[[int, int], None] = lambda *_: None,
    rest: Part = lambda: time.sleep(REST),
) -> dict[_Key, list[float]]:
    """Time all parts once per round, so that whatever else the machine does meets all alike.

    Parameters
    ----------
    parts : dict
        Each is called once beforehand, untimed.
    rounds : int
    clock : callable
        Seconds.
    wait : callable
        Returns when the device has finished its work.
    report : callable
        Called after every round with (rounds done, rounds in all).
    rest : callable
        Called before every part.

    Returns
    -------
    dict of list
        Seconds of each part in each round, in the order of the rounds.
    """
    for part in parts.values():
        part()
    wait()
    seconds: dict[_Key, list[float]] = {name: [] for name in parts}
    for i in range(rounds):
        for name, part in parts.items():
            rest()
            start = clock()
            part()
            wait()
            seconds[name].append(clock() - start)
        report(i + 1, rounds)
    return seconds


def paired_ratio(above: Sequence[float], below: Sequence[float], factor: float = 1.0) -> Spread:
    """Return above / (factor · below), round by round."""
    return Spread.of([a / (factor * b) for a, b in zip(above, below, strict=True)])


def repeated(part: Part, times: int) -> Part:
    """Return a call that does it several times."""

    def run() -> None:
        for _ in range(times):
            part()

    return run
