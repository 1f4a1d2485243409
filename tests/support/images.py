"""The images of the processes, built as scripts/build-images.sh builds them, and looked into."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.clusters import refuse
from tests.support.marked import DOCS, marked
from tests.support.servers import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "scripts"))  # where programs are, not a package
from image_archive import ImageArchive

if TYPE_CHECKING:
    from tarfile import TarInfo

__all__ = [
    "CANARY",
    "PROCESSES",
    "SAVE",
    "ImageArchive",
    "build",
    "builder",
    "checked_out",
    "lock_of",
    "own_layers",
    "removed",
    "require_builder",
]

SAVE = REPOSITORY / "scripts" / "image.sh"

PROCESSES = {
    "api": "services.api",
    "outbox-relay": "services.outbox_relay",
    "stage-worker": "services.stage_worker",
    "persistence-worker": "services.persistence_worker",
    "migrate": "services.migrate",
    "operator": "operators.coursegen_operator",
}
"""Each image, and the module that it runs."""
CANARY = "canary-of-the-builders-shell-7Qm2"
"""Every secret that the shell of a build has."""
_SECRETS = ("DATABASE_URL", "REDIS_URL", "JWT_SECRET", "WEBHOOK_ENCRYPTION_KEYS", "OPENAI_API_KEY", "GITHUB_TOKEN")
_ROOT = "opt/coursegen"
_BASE = "PYTHON_IMAGE"


def builder() -> str:
    """The program that builds images here; empty when there is none."""
    command = f". {REPOSITORY / 'scripts' / 'builder.sh'}; find_builder"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False).stdout.strip()


def require_builder() -> None:
    """Skip the test, or fail it where a cluster is required, unless images can be built and their base is named."""
    if not os.environ.get(_BASE):
        refuse(f"{_BASE} names no base image; {_BASE}=python:3.13-slim takes the official one")
    if not builder():
        refuse("nothing here builds images: install docker, podman or buildah")


def build(target: str, *, tag: str = "test", flags: str = "") -> str:
    """The name of a new image of a process, built by docs/IMAGES.md. `flags` are further arguments of the builder."""
    prefix = "localhost/coursegen-test-"
    environment = {
        **os.environ,
        **dict.fromkeys(_SECRETS, CANARY),
        "IMAGE_PREFIX": prefix,
        "IMAGE_TAG": tag,
        "BUILD_FLAGS": f"{os.environ.get('BUILD_FLAGS', '')} {flags}",
    }
    command = marked(DOCS / "IMAGES.md", "images-build")
    assert " api " in command
    done = subprocess.run(
        ["bash", "-ec", command.replace(" api ", f" {target} ", 1)],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return f"{prefix}{target}:{tag}"


def checked_out() -> str:
    """The commit of this tree, as scripts/build-images.sh sees it."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def own_layers(image: ImageArchive) -> dict[str, TarInfo]:
    """What lies above the base: the files of the layers that hold libraries and project, and the folders on the way there."""
    own = {number for path, (number, _) in image.files.items() if path.startswith(f"{_ROOT}/")}
    return {path: entry for path, (number, entry) in image.files.items() if number in own}


@contextmanager
def removed(name: str) -> Iterator[None]:
    """Take an image away when the block ends."""
    try:
        yield
    finally:
        command = [builder(), "rmi", name]
        subprocess.run(command, capture_output=True, check=False)


def lock_of(target: str) -> Path:
    """The lock that a process' image is made from."""
    lock = {"outbox-relay": "relay", "stage-worker": "worker", "persistence-worker": "persistence"}.get(target, target)
    return REPOSITORY / "requirements" / f"{lock}.txt"
