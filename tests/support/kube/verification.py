"""scripts/verify-deployment.sh for a release on a cluster, as data."""

from __future__ import annotations

import json
from typing import Any

from tests.support.kube.commands import run
from tests.support.kube.installation import Installation
from tests.support.servers import REPOSITORY

SCRIPT = str(REPOSITORY / "scripts" / "verify-deployment.sh")


def checks(installation: Installation, *arguments: str) -> dict[str, dict[str, Any]]:
    """What the script says of each check, by name; its exit code is the one that follows, and it shows no password."""
    done = run([SCRIPT, "--namespace", installation.namespace, "--json", *arguments], check=False, seconds=120)
    assert done.stdout, done.stderr
    document = json.loads(done.stdout)
    assert done.returncode == {"pass": 0, "fail": 1, "warn": 2}[document["status"]]
    assert installation.secret("app-password") not in done.stdout + done.stderr
    return {each["name"]: each for each in document["checks"]}


def red(installation: Installation) -> list[str]:
    """The names of the checks that fail, in their order."""
    return [name for name, each in checks(installation).items() if each["status"] == "fail"]
