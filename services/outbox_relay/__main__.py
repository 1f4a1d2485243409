"""Relay process: moves committed outbox rows to the queue."""

from services.kernel import lifecycle
from services.outbox_relay.relay import Relay
from services.outbox_relay.settings import RelaySettings


def main() -> int:
    """Run the relay until it is told to stop; returns the exit code."""
    return lifecycle.run("outbox-relay", Relay.open, RelaySettings.from_environ)


if __name__ == "__main__":
    raise SystemExit(main())
