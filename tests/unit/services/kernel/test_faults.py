"""Fault points are silent until a test arms them, and then prove that they fired."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.kernel import faults


@pytest.fixture(autouse=True)
def _disarm() -> Iterator[None]:
    yield
    faults.arm("")


async def test_an_unarmed_point_does_nothing() -> None:
    """Reaching it returns at once."""
    await faults.reach("anywhere")
    faults.reach_sync("anywhere")


async def test_a_fault_fires_at_the_arrival_it_was_armed_for_and_only_then(tmp_path: Path) -> None:
    """The second arrival raises; the first and third pass; the witness file has one line."""
    log = tmp_path / "fired"
    faults.arm("here=raise@2", log)
    await faults.reach("here")
    with pytest.raises(faults.InjectedFault):
        faults.reach_sync("here")
    await faults.reach("here")

    assert ["here raise"] == [line.rsplit(" ", 1)[0] for line in log.read_text().splitlines()]


async def test_a_hanging_point_hangs() -> None:
    """It does not return within the time given."""
    faults.arm("here=hang@1")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(faults.reach("here"), 0.05)


@pytest.mark.parametrize("text", ["here", "here=explode", "=kill", "here=kill@soon"])
def test_a_careless_text_is_refused(text: str) -> None:
    """A fault that could not fire is an error, not a silent nothing."""
    with pytest.raises(ValueError, match="COURSEGEN_FAULTS"):
        faults.arm(text)


def test_a_killing_point_ends_the_process_with_sigkill(tmp_path: Path) -> None:
    """No cleanup runs; the witness was written before."""
    code = (
        "from pathlib import Path; from services.kernel import faults; "
        f"faults.arm('here=kill', Path({str(tmp_path / 'fired')!r})); faults.reach_sync('here')"
    )
    finished = subprocess.run([sys.executable, "-c", code], check=False)

    assert finished.returncode == -9
    assert (tmp_path / "fired").read_text().startswith("here kill ")
