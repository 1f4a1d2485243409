"""What a stage worker is told, and what it says to nonsense."""

from __future__ import annotations

import pytest

from services.kernel.errors import SettingsInvalid
from services.stage_worker.settings import Concurrency, WorkerSettings

DATABASE = {"DATABASE_URL": "postgresql://u@h/d"}


def test_defaults() -> None:
    """All three queues of the pipeline, two jobs each, and webhooks, which wait for others; offline."""
    settings = WorkerSettings.from_environ(DATABASE)

    assert settings.queues == (
        "course-generation:documents",
        "course-generation:analysis",
        "course-generation:generation",
        "webhooks",
    )
    assert [settings.concurrency.of(queue) for queue in settings.queues] == [2, 2, 2, 16]
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


def test_webhooks_have_a_number_of_their_own() -> None:
    """Which only their name changes."""
    assert Concurrency.parse("4").of("webhooks") == 16
    assert Concurrency.parse("4,webhooks=3").of("webhooks") == 3


@pytest.mark.parametrize("text", ["", "5,x", "-1", "1e9", ",".join(["1"] * 51)])
def test_bad_pauses_between_attempts_are_named(text: str) -> None:
    """An empty text is the default."""
    environ = {**DATABASE, "WEBHOOK_RETRY_SECONDS": text}
    if not text:
        assert 80_000 < sum(WorkerSettings.from_environ(environ).webhook_delays) < 100_000
        return
    with pytest.raises(SettingsInvalid, match="WEBHOOK_RETRY_SECONDS: must be"):
        WorkerSettings.from_environ(environ)


@pytest.mark.parametrize("text", ["0", "-1", "many", "documents=", "documents=0", "1000", "=", "1.5"])
def test_a_bad_concurrency_is_named(text: str) -> None:
    """The fault says what to write."""
    with pytest.raises(SettingsInvalid, match="STAGE_WORKER_CONCURRENCY"):
        WorkerSettings.from_environ({**DATABASE, "STAGE_WORKER_CONCURRENCY": text})
