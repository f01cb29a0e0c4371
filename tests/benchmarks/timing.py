"""What benchmarks give back: two sides timed in turn, rows of figures, or why there are none."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

Row = dict[str, str | float]
"""Figures by the names of their columns."""

MISSING = (FileNotFoundError, ModuleNotFoundError)
"""What is raised where data or a peer is not on this machine: no failure of what is measured."""


def pass_over(error: Exception, **row: str) -> Row:
    """The row of what could not be measured, and why."""
    return {**row, "passed over": f"{error}"}


@dataclass(frozen=True)
class Comparison:
    """Median seconds of both sides, and whether ours is right."""

    ours: float
    peer: float
    runs: int
    exact: bool

    @property
    def ratio(self) -> float:
        """Above 1: ours is faster."""
        return self.peer / self.ours


def compare(
    ours: Callable[[], object],
    peer: Callable[[], object],
    *,
    runs: int,
    exact: bool,
    warm_up: bool = True,
) -> Comparison:
    """Run both sides in turn ``runs`` times, after one run of each that does not count."""
    if warm_up:
        ours()
        peer()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for side, times in zip((ours, peer), seconds, strict=True):
            times.append(time_once(side))
    return Comparison(*(statistics.median(times) for times in seconds), runs, exact)


def time_once(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started
