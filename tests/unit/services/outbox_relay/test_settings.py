"""The relay's settings."""

from __future__ import annotations

import pytest

from services.kernel.errors import SettingsInvalid
from services.outbox_relay.settings import RelaySettings

GIVEN = {"DATABASE_URL": "postgresql://localhost/x"}


def test_the_defaults_are_those_of_the_design() -> None:
    """500 rows growing to 2,000, a thousand jobs in a queue, election by PostgreSQL."""
    settings = RelaySettings.from_environ(GIVEN)

    assert (settings.batch_size, settings.batch_max, settings.high_water, settings.election) == (
        500,
        2000,
        1000,
        "postgres",
    )
    assert ":" in settings.name


def test_a_node_may_have_a_name() -> None:
    """As in a pod."""
    assert RelaySettings.from_environ({**GIVEN, "RELAY_NODE_ID": "relay-0"}).name == "relay-0"


@pytest.mark.parametrize(
    ("variable", "value"),
    [("RELAY_ELECTION", "dice"), ("RELAY_BATCH_SIZE", "0"), ("RELAY_BATCH_MAX", "100"), ("RELAY_HIGH_WATER", "-1")],
)
def test_what_cannot_work_is_refused_by_name(variable: str, value: str) -> None:
    """The message names the variable."""
    with pytest.raises(SettingsInvalid, match=variable):
        RelaySettings.from_environ({**GIVEN, variable: value})


@pytest.mark.parametrize(
    "variables",
    [
        {"RELAY_ELECTION": "none", "RELAY_REPLICAS": "2"},
        {"RELAY_LEASE_SECONDS": "10"},
        {"RELAY_LEASE_RENEW_SECONDS": "2.4"},
        {"RELAY_LEASE_RETRY_SECONDS": "9"},
    ],
)
def test_an_election_that_cannot_work_is_refused(variables: dict[str, str]) -> None:
    """Several relays without an election; timers that leave no room."""
    with pytest.raises(SettingsInvalid, match="RELAY_"):
        RelaySettings.from_environ({**GIVEN, **variables})


def test_every_start_is_another_candidate() -> None:
    """A restarted pod must not take itself for the holder."""
    settings = RelaySettings.from_environ({**GIVEN, "RELAY_ELECTION": "lease", "RELAY_NODE_ID": "relay-0"})
    first, second = settings.new_identity(), settings.new_identity()

    assert first != second
    assert first.startswith("relay-0_")
    assert len(first) == len("relay-0_") + 8
