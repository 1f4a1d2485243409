"""A message that kills whoever reads it, as a fault in a parser or in its memory would.

`environment` makes a worker process load `sitecustomize` from a folder of the test's: there its decoder ends the process with
SIGKILL when the message's content is `DEADLY`. Nothing else of the worker is changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.support.servers import REPOSITORY

DEADLY: Final = "content that no process survives"

_SITE = f"""
import os, signal
from services.kernel.messages import envelope

_decode = envelope.decode

def decode(body):
    if {DEADLY.encode()!r} in body:
        os.kill(os.getpid(), signal.SIGKILL)
    return _decode(body)

envelope.decode = decode
"""


def environment(folder: Path) -> dict[str, str]:
    """Variables of a worker that the message kills."""
    place = folder / "crashing"
    place.mkdir(exist_ok=True)
    (place / "sitecustomize.py").write_text(_SITE, encoding="utf-8")
    return {"PYTHONPATH": f"{place}:{REPOSITORY}"}
