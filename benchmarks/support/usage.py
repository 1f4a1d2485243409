"""CPU time and memory of processes, read from /proc (Linux)."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class _Stat:
    parent: int
    own_seconds: float
    reaped_seconds: float


def cpu_seconds(*pids: int) -> float:
    """CPU time that these processes, their living descendants and those they have reaped have used."""
    stats = _all_stats()
    family = set(pids)
    grown = True
    while grown:
        children = {pid for pid, stat in stats.items() if stat.parent in family} - family
        family |= children
        grown = bool(children)
    known = [stats[pid] for pid in family if pid in stats]
    return sum(stat.own_seconds + stat.reaped_seconds for stat in known)


def family(pid: int) -> list[int]:
    """A process and its living descendants."""
    stats = _all_stats()
    found = [pid] if pid in stats else []
    for each in found:
        found += [child for child, stat in stats.items() if stat.parent == each]
    return found


def resident_megabytes(pid: int) -> float:
    """Resident memory now, shared pages included."""
    return _status_kilobytes(pid, "VmRSS") / 1024


def peak_megabytes(pid: int) -> float:
    """The highest resident memory since the start, or since `reset_peak`."""
    return _status_kilobytes(pid, "VmHWM") / 1024


def proportional_megabytes(pid: int) -> float:
    """Resident memory, shared pages divided among those that share them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def reset_peak(pid: int) -> None:
    """Begin anew to look for the peak."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def _status_kilobytes(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def _all_stats() -> dict[int, _Stat]:
    stats = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                stats[int(entry.name)] = _stat(int(entry.name))
    return stats


def _stat(pid: int) -> _Stat:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    user, system, children_user, children_system = (int(each) / _TICK for each in fields[11:15])
    return _Stat(int(fields[1]), user + system, children_user + children_system)
