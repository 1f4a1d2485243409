"""The allow list is read as a cluster reads policies: both sides must agree, and who has no policy agrees to everything."""

from __future__ import annotations

import pytest

from tests.support.network_paths import PATHS, Party, Paths, is_open, with_clients, without_lease, without_operator

API = Party("api", {"http": 3000, "metrics": 9090})
RELAY = Party("outbox-relay", {"metrics": 9090})
POSTGRESQL = Party("postgresql", {"postgresql": 5432})
STRANGER = Party("stranger")


@pytest.mark.parametrize(
    ("source", "target", "port", "expected"),
    [
        (API, POSTGRESQL, 5432, True),
        (API, POSTGRESQL, 6379, False),  # another port
        (POSTGRESQL, API, 5432, False),  # the other way round
        (STRANGER, POSTGRESQL, 5432, False),  # may leave, is not let in
        (API, STRANGER, 5432, False),  # may enter, is not let out
        (Party("test-health"), API, 3000, True),  # a port by its name at the target
        (Party("test-health"), RELAY, 3000, False),
        (STRANGER, API, 3000, True),
        (STRANGER, API, 9090, False),
        (Party("monitoring"), API, 9090, True),
        (RELAY, Party("kubernetes"), 6443, True),
        (RELAY, API, 443, False),
        (STRANGER, Party("another"), 1, True),
    ],
    ids=str,
)
def test_a_path_needs_both_ends(source: Party, target: Party, port: int, *, expected: bool) -> None:
    """By name, port and direction."""
    assert is_open(PATHS, source, target, port) is expected


def test_what_values_take_away() -> None:
    """Named clients close the api to others but the pods of `helm test`; without a Lease the relay stays inside.

    Without the operator who calls himself one of its pods is let in by nobody.
    """
    named = with_clients(PATHS, "monitoring")

    assert not is_open(named, STRANGER, API, 3000)
    assert is_open(named, Party("monitoring"), API, 3000)
    assert is_open(named, Party("test-round-trip"), API, 3000)
    assert not is_open(without_lease(PATHS), RELAY, Party("kubernetes"), 443)
    assert is_open(PATHS, Party("retention"), POSTGRESQL, 5432)
    assert not is_open(without_operator(PATHS), Party("retention"), POSTGRESQL, 5432)


@pytest.mark.parametrize("paths", [PATHS, without_operator(PATHS)], ids=["operator", "job"])
def test_the_two_directions_say_the_same(paths: Paths) -> None:
    """Between two components of the chart nobody may leave who is not let in, and nobody is let in who may not leave."""
    named = with_clients(paths)
    pairs = [(way, component, peer) for component, ways in named.items() for way, peer, _ in ways if peer in named]

    leaving = {(component, peer) for way, component, peer in pairs if way == "out"}
    entering = {(peer, component) for way, component, peer in pairs if way == "in"}
    assert leaving == entering != set()
