"""Persistence-worker process: brings accepted messages from the stream into PostgreSQL."""

from services.kernel import lifecycle
from services.persistence_worker.settings import PersistenceSettings
from services.persistence_worker.worker import open_worker


def main() -> int:
    """Run the worker until it is told to stop; returns the exit code."""
    return lifecycle.run("persistence-worker", open_worker, PersistenceSettings.from_environ)


if __name__ == "__main__":
    raise SystemExit(main())
