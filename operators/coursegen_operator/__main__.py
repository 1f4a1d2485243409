"""Operator process: keeps migrations, cleanup and alerts as their resources say."""

from operators.coursegen_operator.operator import Operator
from operators.coursegen_operator.settings import OperatorSettings
from services.kernel import lifecycle


def main() -> int:
    """Run until told to stop."""
    return lifecycle.run("operator", Operator.open, OperatorSettings.from_environ)


if __name__ == "__main__":
    raise SystemExit(main())
