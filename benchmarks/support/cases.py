"""One benchmark: a coroutine that measures and returns tables. Each runs alone or as part of `python -m benchmarks`."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from benchmarks.support.machine import describe
from benchmarks.support.tables import Table


@dataclass(frozen=True, slots=True)
class Options:
    """How thorough a run is to be."""

    quick: bool = False
    """A minute instead of ten: shows that it runs and roughly where things stand, not what to quote."""

    def choose(self, full: int, quick: int) -> int:
        """The one of two sizes that this run wants."""
        return quick if self.quick else full


Measure = Callable[[Options], Awaitable[Sequence[Table]]]


def run(measure: Measure, options: Options) -> None:
    """Measure in an event loop as the services use it, and print the tables."""
    import uvloop

    async def measured() -> Sequence[Table]:
        return await measure(options)

    for table in uvloop.run(measured()):
        print(table.render(), flush=True)
        print(flush=True)


def main(measure: Measure, title: str, arguments: Sequence[str] | None = None) -> int:
    """The command line of one benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller load")
    options = Options(quick=parser.parse_args(arguments).quick)
    print(describe(), flush=True)
    print(flush=True)
    run(measure, options)
    return 0
