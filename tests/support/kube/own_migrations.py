"""Migrations of a test's own: in a database of their own, and with files beside those of the image, as a release would bring
them that has more of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from tests.support.kube.commands import Object
from tests.support.kube.installation import Installation
from tests.support.kube.operator import reads

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

SECRET_KEY: Final = "DATABASE_URL"


def command_with(files: Mapping[str, str]) -> list[str]:
    """A DatabaseMigration's `spec.command`: what the image runs by itself, with `files` (name without `.sql` → text) added."""
    return ["python", "-c", _PROGRAM, json.dumps(dict(files))]


@contextmanager
def own_database(installation: Installation, name: str, *, copy_of: str = "") -> Iterator[None]:
    """A database beside the application's own, empty or the copy of another one, and a Secret of its name that leads to it.

    At the end both go, with the DatabaseMigration of that name.
    """
    installation.sql(f"CREATE DATABASE {name}" + (f" TEMPLATE {copy_of}" if copy_of else ""))
    try:
        with own_secret(installation, name, installation.secret("owner-database-url").rpartition("/")[0] + f"/{name}"):
            yield
    finally:
        installation.sql(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def own_secret(installation: Installation, name: str, url: str) -> Iterator[None]:
    """A Secret with the address of a database; at the end it goes, with the DatabaseMigration of that name."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {SECRET_KEY: url}}
    installation.kubectl("apply", "-f", "-", stdin=json.dumps(secret))
    try:
        yield
    finally:
        installation.kubectl("delete", f"dbm/{name}", f"secret/{name}", "--ignore-not-found", "--timeout=30s")


def asked(installation: Installation, name: str, query: str) -> str:
    """What such a database answers."""
    return installation.sql(f"\\connect {name}\n{query}")


def own_migration(installation: Installation, name: str, **spec: Any) -> Object:
    """A DatabaseMigration as the application's own, for such a database: not made yet. Nobody looks for drift by it."""
    found: Object = {
        **reads(installation.namespace, "dbm", "main")["spec"],
        "databaseSecretRef": {"name": name, "key": SECRET_KEY},
        "drift": {"mode": "Off"},
        **spec,
    }
    metadata = {"name": name, "namespace": installation.namespace}
    return {
        "apiVersion": "ops.coursegen.dev/v1alpha1",
        "kind": "DatabaseMigration",
        "metadata": metadata,
        "spec": found,
    }
