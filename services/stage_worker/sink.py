"""An outside witness for fault tests: a file with one line for each call of an effect (reliability.md section 3).

It is no part of any transaction, as a webhook receiver would not be: a worker that dies before its commit leaves a line
without an effect, and the repetition leaves a second line with the *same* identifier. Two identifiers for one piece of
work is what must never be seen.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from services.kernel.envelopes import Job


class EffectSink:
    """Appends to the file that `EFFECT_SINK_FILE` names; does nothing without one."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def record(self, job: Job, run_number: int) -> None:
        """Write the call down, in one write so that the lines of several processes never mix."""
        if self._path is None:
            return
        call = {
            "effectId": str(job.outbox_id),
            "courseId": str(job.course_id),
            "jobType": job.job_type,
            "runNumber": run_number,
            "pid": os.getpid(),
        }
        with self._path.open("ab", buffering=0) as file:
            file.write(msgspec.json.encode(call) + b"\n")
