"""The stage worker's process: ``python -m services.stage_worker``."""

from services.kernel import lifecycle
from services.stage_worker.settings import WorkerSettings
from services.stage_worker.worker import open_worker


def main() -> int:
    """Run until told to stop; returns the exit code."""
    return lifecycle.run("stage-worker", open_worker, WorkerSettings.from_environ)


if __name__ == "__main__":
    raise SystemExit(main())
