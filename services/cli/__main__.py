"""The `coursegen` command's way in: an interrupt while its modules are being read ends it without a traceback."""

import _signal  # type: ignore[import-not-found]  # what `signal` is made of, and in Python itself: there is no file to read


def main() -> None:
    """Run the command and leave with its exit code."""
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    from services.cli.application import run

    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
