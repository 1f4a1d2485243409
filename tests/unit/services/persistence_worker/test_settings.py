"""The worker's settings."""

from __future__ import annotations

import pytest

from services.kernel.errors import SettingsInvalid
from services.persistence_worker.settings import PersistenceSettings

GIVEN = {"DATABASE_URL": "postgresql://localhost/x"}


def test_the_defaults_are_those_of_the_contract() -> None:
    """Sixteen partitions, batches of ten, polls of five seconds, three tries, consumers on, database 1."""
    settings = PersistenceSettings.from_environ(GIVEN)

    assert (settings.stream_partitions, settings.batch_size, settings.poll_interval_ms) == (16, 10, 5000)
    assert (settings.max_retries, settings.consumers_enabled, settings.redis_stream_db) == (3, True, 1)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("STREAM_MAX_RETRIES", "0"),
        ("STREAM_MAX_RETRIES", "21"),
        ("STREAM_RETRY_SECONDS", "31"),
        ("STREAM_BATCH_SIZE", "0"),
        ("STREAM_BATCH_SIZE", "501"),
        ("ENABLE_STREAM_CONSUMERS", "perhaps"),
        ("STREAM_POLL_INTERVAL_MS", "soon"),
        ("STREAM_LEASE_SECONDS", "0.1"),
    ],
)
def test_what_cannot_work_is_refused_by_name(variable: str, value: str) -> None:
    """The message names the variable."""
    with pytest.raises(SettingsInvalid, match=variable):
        PersistenceSettings.from_environ({**GIVEN, variable: value})


def test_every_start_has_a_name_of_its_own() -> None:
    """A restarted pod must not take itself for the owner it was."""
    settings = PersistenceSettings.from_environ({**GIVEN, "STREAM_WORKER_ID": "worker-0"})
    first, second = settings.new_node(), settings.new_node()

    assert first != second
    assert first.startswith("worker-0_")
