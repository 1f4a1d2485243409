"""A stage that was not finished says so."""

from __future__ import annotations

from typing import Any, cast

import pytest

from services.kernel.envelopes import Job
from services.stage_worker.stages.stage import Stage


async def test_compute_and_commit_must_be_written() -> None:
    """The two methods without which a stage is none have no silent default."""
    stage: Stage[Job, Any] = Stage()
    with pytest.raises(NotImplementedError):
        await stage.compute(cast(Any, None), cast(Any, None))
    with pytest.raises(NotImplementedError):
        await stage.commit(cast(Any, None), None)
