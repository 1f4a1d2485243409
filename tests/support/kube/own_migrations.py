"""Migrations of a test's own, beside those of the image: as a release would bring them that has more of them."""

from __future__ import annotations

import json
from collections.abc import Mapping

_PROGRAM = """
import json, pathlib, shutil, sys
from services.migrate.__main__ import main
from services.migrate.files import find_directory
folder = pathlib.Path("/tmp/migrations")
shutil.copytree(find_directory(), folder)
for name, text in json.loads(sys.argv[1]).items():
    (folder / f"{name}.sql").write_text(text)
raise SystemExit(main([*sys.argv[2:], "--directory", str(folder)]))
"""
"""Runs in the image of the migrations; the operator's arguments come behind its own."""


def command_with(files: Mapping[str, str]) -> list[str]:
    """A DatabaseMigration's `spec.command`: what the image runs by itself, with `files` (name without `.sql` → text) added."""
    return ["python", "-c", _PROGRAM, json.dumps(dict(files))]
