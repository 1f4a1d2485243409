"""What a number was measured on, and how busy that was."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path


def describe() -> str:
    """The machine, the interpreter, the time and the load, in two lines."""
    return (
        f"{cpu_model()}, {os.cpu_count()} cores, {memory_gigabytes():.0f} GB; {platform.system()} {platform.release()}; "
        f"Python {sys.version.split()[0]}\n{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load average {load()}"
    )


def cpu_model() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def memory_gigabytes() -> float:
    """Installed memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def load() -> str:
    """The load average of the last minute, five and fifteen; each benchmark is part of it."""
    return " ".join(f"{value:.1f}" for value in os.getloadavg())
