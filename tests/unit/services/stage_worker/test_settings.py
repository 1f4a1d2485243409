"""What a stage worker is told, and what it says to nonsense."""

from __future__ import annotations

import pytest

from services.kernel.errors import SettingsInvalid
from services.stage_worker.settings import Concurrency, WorkerSettings

DATABASE = {"DATABASE_URL": "postgresql://u@h/d"}


def test_defaults() -> None:
    """All three queues of the pipeline, two jobs each, offline."""
    settings = WorkerSettings.from_environ(DATABASE)

    assert settings.queues == (
        "course-generation:documents",
        "course-generation:analysis",
        "course-generation:generation",
    )
    assert [settings.concurrency.of(queue) for queue in settings.queues] == [2, 2, 2]
    assert (settings.engine, settings.plugins, settings.layer2, settings.effect_sink) == ("offline", (), True, None)


def test_queues_by_short_and_full_names() -> None:
    """Doubles fall together; a foreign name is taken as it is."""
    settings = WorkerSettings.from_environ(
        {
            **DATABASE,
            "STAGE_WORKER_QUEUES": "analysis, course-generation:analysis,quiz",
        }
    )

    assert settings.queues == ("course-generation:analysis", "quiz")


@pytest.mark.parametrize(
    ("text", "documents", "other"),
    [("4", 4, 4), ("documents=1", 1, 2), ("3,documents=1", 1, 3), ("course-generation:documents=5", 5, 2)],
)
def test_concurrency(text: str, documents: int, other: int) -> None:
    """A number for all, or for one queue."""
    concurrency = Concurrency.parse(text)

    assert concurrency.of("course-generation:documents") == documents
    assert concurrency.of("course-generation:analysis") == other


@pytest.mark.parametrize("text", ["0", "-1", "many", "documents=", "documents=0", "1000", "=", "1.5"])
def test_a_bad_concurrency_is_named(text: str) -> None:
    """The fault says what to write."""
    with pytest.raises(SettingsInvalid, match="STAGE_WORKER_CONCURRENCY"):
        WorkerSettings.from_environ({**DATABASE, "STAGE_WORKER_CONCURRENCY": text})
