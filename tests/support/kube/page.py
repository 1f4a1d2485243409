"""docs/DEPLOYMENT-CHECKLIST.md typed into a shell, for an installation of a test's own."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.support import checklist
from tests.support.kube.installation import Installation
from tests.support.kube.values import Values, for_cluster, merged
from tests.support.servers import REPOSITORY

BLOCK_SECONDS = 180.0

Shell = Callable[[str], subprocess.CompletedProcess[str]]
"""Runs commands of the page in bash, behind its own words."""


def tools() -> Values:
    """The tools take the images of the servers that the cluster has."""
    dev = for_cluster().get("dev", {})
    images = {f"{kind}Image": dev[kind]["image"] for kind in ("postgresql", "redis") if "image" in dev.get(kind, {})}
    return {"tools": images}


def shell_for(installation: Installation, folder: Path, *, seconds: float = BLOCK_SECONDS) -> Shell:
    """A shell in which the page's variables name the installation; `folder` takes its values and what the page writes."""
    values = folder / "values.yaml"
    values.write_text(json.dumps(for_cluster(merged(installation.values, tools()))), encoding="utf-8")
    for each in ("charts", "migrations", "rollback"):  # the page stands in the folder that has them
        (folder / each).symlink_to(REPOSITORY / each)
    names = {
        "NS": installation.namespace,
        "RELEASE": installation.release,
        "NAME": installation.fullname,
        "CHART": str(installation.chart),
        "VALUES": str(values),
    }
    given = "".join(f"export {name}={value}\n" for name, value in names.items())
    variables, functions, *_ = (block.commands for block in checklist.blocks())
    others = "\n".join(re.findall(r"^export (?:PROCESSES|PROMETHEUS)=.*$", variables, re.MULTILINE))

    def run_block(commands: str) -> subprocess.CompletedProcess[str]:
        script = f"set -eo pipefail\n{given}{others}\n{functions}\n{commands}"
        return subprocess.run(
            ["bash"],
            input=script,
            cwd=folder,
            env=os.environ,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    return run_block


def make_tools(shell: Shell, name: str) -> None:
    """Make the tools pod by the page's own command (step 0.4)."""
    (making,) = [block for block in checklist.blocks() if block.mark == "checklist-tools"]
    made = shell(making.commands)
    assert made.returncode == 0, made.stderr
    assert checklist.unseen(making, made.stdout, name) == []
