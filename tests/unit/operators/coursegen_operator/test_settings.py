"""The operator's settings."""

from __future__ import annotations

import pytest

from operators.coursegen_operator.settings import OperatorSettings
from services.kernel.errors import SettingsInvalid


def test_it_needs_no_setting_and_no_database() -> None:
    """All namespaces, a Lease, a resync every ten minutes."""
    settings = OperatorSettings.from_environ({})
    assert (settings.watch_namespaces, settings.election, settings.resync_seconds) == ((), "lease", 600.0)
    assert (settings.timers.lease_seconds, settings.timers.renew_seconds, settings.timers.retry_seconds) == (
        15,
        10.0,
        2.0,
    )


def test_namespaces_are_a_list() -> None:
    """Comma-separated."""
    assert OperatorSettings.from_environ({"OPERATOR_WATCH_NAMESPACES": "a, b"}).watch_namespaces == ("a", "b")


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"OPERATOR_LEASE_SECONDS": "10"}, "OPERATOR_LEASE_SECONDS"),
        ({"OPERATOR_LEASE_RETRY_SECONDS": "9"}, "OPERATOR_LEASE_RENEW_SECONDS"),
        ({"OPERATOR_WORKERS": "0"}, "OPERATOR_WORKERS"),
        ({"OPERATOR_ELECTION": "postgres"}, "OPERATOR_ELECTION"),
        ({"OPERATOR_ELECTION": "none", "OPERATOR_REPLICAS": "2"}, "OPERATOR_REPLICAS"),
    ],
)
def test_a_fault_names_its_variable(environ: dict[str, str], named: str) -> None:
    """Timers that do not fit together, and several operators without an election, too."""
    with pytest.raises(SettingsInvalid, match=named):
        OperatorSettings.from_environ(environ)


def test_every_start_is_another_candidate() -> None:
    """The pod, and eight digits."""
    settings = OperatorSettings(pod_name="pod-1")
    assert settings.new_identity() != settings.new_identity()
    assert settings.new_identity().startswith("pod-1_")
    assert OperatorSettings().instance
