"""One page of metrics for all processes of the stack (contract.md D41).

Families of one name are merged. Where two processes have the same series (memory, garbage collection), every series of
that family gets the label `process`, so that no number hides another. The numbers that are counted across processes
(contract.md GAP11) are the api's; of these only families that no other process shows itself.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from services.cli.stack.http_get import Answer, get
from services.kernel.metrics import CONTENT_TYPE, SHARED_FROM_HERE, Page

_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+(?:\s+\S+)?)$")
_LABELLED = re.compile(r'(^|,)\s*process="')
_FETCH_SECONDS = 2.0


@dataclass
class _Family:
    header: list[str] = field(default_factory=list)
    samples: list[tuple[str, str, str, str]] = field(default_factory=list)
    """(process, name, labels, value) in the order they came."""

    def collides(self) -> bool:
        owners: dict[tuple[str, str], str] = {}
        return any(owners.setdefault((name, labels), process) != process for process, name, labels, _ in self.samples)

    def lines(self) -> Iterator[str]:
        yield from self.header
        apart = self.collides()
        for process, name, labels, value in self.samples:
            shown = _with_process(labels, process) if apart else labels
            yield f"{name}{{{shown}}} {value}" if shown else f"{name} {value}"


def merge(pages: Mapping[str, str]) -> str:
    """One page from the pages of several processes, by name of process."""
    families: dict[str, _Family] = {}
    common: dict[str, _Family] = {}
    for process, page in pages.items():
        own, _, shared = page.partition(SHARED_FROM_HERE)
        _read(process, own, families)
        _read("", shared, common)
    families = {**common, **families}
    return "".join(f"{line}\n" for family in families.values() for line in family.lines())


async def collect(ports: Mapping[str, int], accept: str = "") -> Page:
    """Fetch every process's page from its metrics port and merge them; one that does not answer is left out.

    In Prometheus' text format, whatever `accept` asks for: exemplars are on the pages of the processes.
    """
    del accept
    answers = await asyncio.gather(*(get(port, "/metrics", seconds=_FETCH_SECONDS) for port in ports.values()))
    pages = {name: text for name, answer in zip(ports, answers, strict=True) if (text := _text(answer)) is not None}
    up = "".join(f'coursegen_process_up{{process="{name}"}} {int(name in pages)}\n' for name in ports)
    head = "# HELP coursegen_process_up Whether the process answered on its metrics port\n"
    return Page(CONTENT_TYPE, f"{merge(pages)}{head}# TYPE coursegen_process_up gauge\n{up}".encode())


def _text(answer: Answer | None) -> str | None:
    return answer.body.decode() if answer is not None and answer.status == 200 else None


def _read(process: str, page: str, families: dict[str, _Family]) -> None:
    current = ""
    for line in page.splitlines():
        if line.startswith(("# HELP ", "# TYPE ")):
            current = line.split(" ", 3)[2]
            header = families.setdefault(current, _Family()).header
            if not any(kept.startswith(line[:7]) for kept in header):
                header.append(line)
            continue
        sample = _SAMPLE.match(line)
        if sample:
            name = sample["name"]
            family = families.setdefault(current if name.startswith(current) and current else name, _Family())
            family.samples.append((process, name, sample["labels"] or "", sample["value"]))


def _with_process(labels: str, process: str) -> str:
    if _LABELLED.search(labels):
        return labels
    return f'{labels},process="{process}"' if labels else f'process="{process}"'
