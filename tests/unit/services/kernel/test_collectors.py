"""Where spans may be sent."""

from __future__ import annotations

import pytest

from services.kernel.collectors import Collector, collector_at, parse_endpoint


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("http://collector:4318", Collector("collector", 4318, "/v1/traces", False)),
        ("http://collector:4318/", Collector("collector", 4318, "/v1/traces", False)),
        ("https://otel.example.org/in", Collector("otel.example.org", 443, "/in/v1/traces", True)),
        ("http://[::1]:4318", Collector("::1", 4318, "/v1/traces", False)),
    ],
)
def test_the_path_is_added_as_opentelemetry_has_it(endpoint: str, expected: Collector) -> None:
    """And the port is the scheme's where none is named."""
    assert collector_at(parse_endpoint(endpoint)) == expected


@pytest.mark.parametrize("endpoint", ["collector:4318", "grpc://x:4317", "http://", "http://x/?key=1", "http://x:port"])
def test_what_is_no_address_is_refused(endpoint: str) -> None:
    """With what to write."""
    with pytest.raises(ValueError, match="must be an address like"):
        parse_endpoint(endpoint)


def test_a_login_is_refused_and_not_repeated() -> None:
    """A setting that is no secret must not hold one."""
    with pytest.raises(ValueError, match="must hold no login") as refused:
        parse_endpoint("https://me:hush@collector")
    assert "hush" not in str(refused.value)
