"""The api process: answers HTTP on port 3000."""

from services.api.service import open_api
from services.api.settings import load_settings
from services.kernel import lifecycle


def main() -> int:
    """Run the api until it is told to stop; returns the exit code."""
    return lifecycle.run("api", open_api, load_settings)


if __name__ == "__main__":
    raise SystemExit(main())
