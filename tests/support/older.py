"""The code of api, relay and workers as it was before the newest migration, to run on the schema of today.

No release was made yet, so the package is of the tree: of the last commit whose `REVISION` was the one in its name, packed by
`git archive COMMIT services/__init__.py services/{api,kernel,outbox_relay,stage_worker} | xz -9e`. A release replaces it with
the one it follows. It runs in the environment of today's code, of which it needs nothing that has gone.
"""

from __future__ import annotations

import lzma
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

from tests.support.servers import REPOSITORY

(PACKAGE,) = (REPOSITORY / "tests" / "faults" / "previous").glob("services-*.tar.xz")
"""The package."""


def unpack(folder: Path) -> dict[str, str]:
    """Unpack it; the variables with which a process runs that code. Modules that it lacks are today's, those of the tests too."""
    with lzma.open(PACKAGE) as stream, tarfile.open(fileobj=stream) as package:
        careful = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11 has it since 3.11.4
        package.extractall(folder, **careful)  # type: ignore[arg-type]
    return {
        "PYTHONPATH": f"{folder}:{REPOSITORY}",
        "PYTHONSAFEPATH": "1",
    }  # else the folder it is started in comes first


def revision(variables: Mapping[str, str]) -> str:
    """The newest migration that a process with these variables knows of."""
    command = [sys.executable, "-c", "from services.kernel.schema import REVISION; print(REVISION)"]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()
