"""The `coursegen` command's way in: an interrupt while its modules are being read ends it without a traceback."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command and leave with its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from services.cli.application import run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
