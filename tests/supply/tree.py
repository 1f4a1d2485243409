"""A tree in which scripts/test.sh runs tests of its own, as it does in this one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.servers import REPOSITORY

_FEW_PLUGINS = {
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTEST_PLUGINS": "xdist.plugin,pytest_asyncio.plugin,pytest_timeout",
}
"""Those that the settings and the script speak of; all of them take seconds to load."""

_NO_TOOLS = "import sys; print(sys.path[0]) if '--bin' in sys.argv else None"


class Tree:
    """scripts/test.sh and the project's settings of pytest, without any test and without programs to build."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "scripts").mkdir()
        shutil.copy(REPOSITORY / "scripts" / "test.sh", folder / "scripts")
        (folder / "scripts" / "tools.py").write_text(_NO_TOOLS, encoding="utf-8")
        shutil.copy(REPOSITORY / "pyproject.toml", folder)
        (folder / ".venv").symlink_to(sys.prefix)

    def put(self, path: str, text: str) -> None:
        """A test in the tree, at a path below its tests."""
        file = self.folder / "tests" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def tests(self) -> list[Path]:
        """The files of all tests."""
        return sorted((self.folder / "tests").rglob("test_*.py"))

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """The script, in one process, with these variables and no others that it heeds."""
        heeded = ("PYTEST_", "COV_", "KUBECONFIG", "TEST_CLUSTER", "SECOND_TRY", "PART")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(heeded)}
        return subprocess.run(
            [self.folder / "scripts" / "test.sh"],
            env={**clean, **_FEW_PLUGINS, "JOBS": "0", **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
