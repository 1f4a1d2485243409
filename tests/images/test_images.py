"""One image per process: what runs in it, as whom, and that nothing is in it which need not be."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.images import CANARY, PROCESSES, ImageArchive, build, builder, lock_of, own_layers, removed
from tests.support.marked import DOCS, marked
from tests.support.servers import REPOSITORY

_ALL = pytest.mark.parametrize("target", PROCESSES)
_EPOCH = 315532800
"""1980-01-01, the date of every file of ours."""
_DISTRIBUTION = re.compile(r"opt/coursegen/\w+/(?P<name>[^/]+)-(?P<version>[^-/]+)\.dist-info/METADATA")
_PARSERS = {
    "charset-normalizer", "lxml", "markdown-it-py", "pypdf", "python-docx", "python-pptx", "scikit-learn", "sentencex",
    "snowballstemmer", "stopwordsiso",
}  # fmt: skip
_BUILD_TOOLS = {"pip", "setuptools", "wheel", "hatchling", "editables", "uv", "cython", "meson"}
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\r?\n[A-Za-z0-9+/=]{40}")
_UNCHECKED_HASH = 1
"""Flags in a .pyc: it is its source's, by hash, and nobody compares."""

Images = Callable[[str], ImageArchive]


def installed(image: ImageArchive) -> dict[str, str]:
    """The Python packages above the base: name → version."""
    found = (_DISTRIBUTION.fullmatch(path) for path in own_layers(image))
    return {canonicalize_name(each["name"]): each["version"] for each in found if each}


def python_of(image: ImageArchive) -> str:
    """The Python that the image's files are compiled for, as 3.13."""
    (tag,) = {each[1] for path in own_layers(image) if (each := re.search(r"\.cpython-3(\d+)\.pyc$", path))}
    return f"3.{tag}"


def locked(target: str, python: str) -> dict[str, str]:
    """What a lock installs on Linux with this Python: name → version."""
    environment = {"python_version": python, "python_full_version": f"{python}.99", "sys_platform": "linux",
                   "platform_system": "Linux", "os_name": "posix", "implementation_name": "cpython",
                   "platform_python_implementation": "CPython"}  # fmt: skip
    lines = lock_of(target).read_text(encoding="utf-8").splitlines()
    needed = [Requirement(line.removesuffix("\\")) for line in lines if re.match(r"[\w-]+==", line)]
    return {
        canonicalize_name(each.name): str(each.specifier).removeprefix("==")
        for each in needed
        if each.marker is None or each.marker.evaluate(environment)
    }


@_ALL
def test_the_process_runs_without_root_and_without_a_shell_around_it(image: Images, target: str) -> None:
    """By the form of a list, as a user above 10000, from a folder that may be written."""
    config = image(target).config
    user, _, group = config["User"].partition(":")

    assert config["Entrypoint"] == ["python", "-m", PROCESSES[target]]
    assert not config.get("Cmd")
    assert int(user) >= 10000
    assert int(group) >= 10000
    assert config["WorkingDir"] == "/tmp"


@_ALL
def test_the_labels(image: Images, commits: dict[str, str], target: str) -> None:
    """What it is, of which version, made from which commit."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in image(target).labels.items()}

    assert labels["title"] == f"coursegen-{target}"
    assert labels["description"]
    assert labels["version"] == project["version"]
    assert labels["licenses"] == project["license"]
    assert labels["vendor"] == "coursegen"
    assert labels["revision"] == commits[target]


@_ALL
def test_what_is_installed_is_what_is_locked(image: Images, target: str) -> None:
    """Every package of the process' lock in its version, the project, and nothing else."""
    found = installed(image(target))

    assert found.pop("coursegen")
    assert found == locked(target, python_of(image(target)))


@_ALL
def test_only_the_worker_reads_documents(image: Images, target: str) -> None:
    """No parser and no clustering library elsewhere."""
    assert installed(image(target)).keys() & _PARSERS == (_PARSERS if target == "stage-worker" else set())


@_ALL
def test_only_its_own_process_is_in_it(image: Images, target: str) -> None:
    """And the kernel; migrations and retention only in migrate."""
    parts = {
        ".".join(path.split("/")[3:5])
        for path in own_layers(image(target))
        if re.match(r"opt/coursegen/project/(services|operators)/[^/]+/.", path)
    }

    assert {each for each in parts if not each.endswith("__pycache__")} == {
        "services.kernel",
        PROCESSES[target],
        *(["services.migrations_bundle", "services.retention"] if target == "migrate" else []),
    }


@_ALL
def test_nothing_that_builds_and_nothing_secret(image: Images, target: str) -> None:
    """No build tool, program, note of the builder's or private key above the base; no address in the history."""
    own = own_layers(image(target))
    files = [path for path, entry in own.items() if entry.isreg()]

    assert installed(image(target)).keys().isdisjoint(_BUILD_TOOLS)
    assert [path for path in own if not re.match(r"opt(/coursegen(/.*)?)?$", path)] == []
    assert [
        path
        for path in files
        if re.search(r"/bin/|/RECORD\.|\.env$|\.git(/|$)|pip\.conf|/coursegen-[^/]+/RECORD$", path)
    ] == []
    assert [path for path in files if own[path].mode & 0o6000] == []
    contents = image(target).read(files)
    assert [path for path, content in contents.items() if _PRIVATE_KEY.search(content)] == []
    assert [path for path, content in contents.items() if CANARY.encode() in content] == []
    described = json.dumps(image(target).description)
    assert CANARY not in described
    assert not re.search(r"://[^\s\"]*@|index-url", described)


@_ALL
def test_every_file_of_ours_bears_one_date(image: Images, target: str) -> None:
    """So that a later build of the same tree makes the same layers; and what is compiled asks no clock."""
    own = own_layers(image(target))
    compiled = [path for path in own if path.endswith(".pyc")]

    assert {path: entry.mtime for path, entry in own.items() if entry.mtime != _EPOCH} == {}
    assert len(compiled) > 50
    for path, content in image(target).read(compiled).items():
        assert int.from_bytes(content[4:8], "little") == _UNCHECKED_HASH, path


@pytest.mark.parametrize("target", PROCESSES if os.environ.get("PROVE_IMAGES") else ["migrate"])
def test_a_second_build_makes_the_same_layers(image: Images, tmp_path: Path, target: str) -> None:
    """With nothing kept of the first, by docs/IMAGES.md: the smallest in `make test`, all of them in `make prove-images`."""
    name = build(target, tag="again", flags="--no-cache")
    with removed(name):
        (tmp_path / "scripts").symlink_to(REPOSITORY / "scripts")
        command = marked(DOCS / "IMAGES.md", "images-out").replace(" api)", f" {target})")
        named = {"IMAGE_PREFIX": name.removesuffix(f"{target}:again"), "IMAGE_TAG": "again"}
        subprocess.run(
            ["bash", "-ec", command], cwd=tmp_path, env={**os.environ, **named}, check=True, capture_output=True
        )
        second = ImageArchive(tmp_path / "api.tar")

    assert second.layers == image(target).layers
    assert {**second.config, "Labels": {}} == {**image(target).config, "Labels": {}}


_BARE = """
FROM {image}
USER 0:0
COPY try.py bare.py documents /material/
RUN ["python", "/material/bare.py"]
USER 10001:10001
RUN ["python", "/material/try.py"]
"""
_MAKE_BARE = """
import pathlib
for folder in ("/usr/bin", "/usr/sbin"):
    for each in pathlib.Path(folder).iterdir():
        if not each.name.startswith("python"):
            each.unlink()
assert not pathlib.Path("/bin/sh").exists()
"""
_STARTS = """
import os, subprocess, sys
command = [sys.executable, "-m", "{module}"]
done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LOG_LEVEL": "loud"})
assert done.returncode == 78, (done.returncode, done.stderr)  # it has read its settings, and one is wrong or missing
assert "settings are not valid" in done.stderr, done.stderr
"""
_READS = """
import asyncio, mimetypes, pathlib
from services.stage_worker.parsing.sandbox import Sandbox
async def read():
    async with Sandbox() as sandbox:
        for path in sorted(pathlib.Path("/material").iterdir()):
            if path.suffix != ".py":
                kind = {".md": "text/markdown"}.get(path.suffix) or mimetypes.guess_type(path.name)[0]
                document = await sandbox.parse(path, kind, path.name)
                assert len(document.text) > 500, path
asyncio.run(read())
"""


@_ALL
def test_no_shell_and_no_other_program_is_needed(built: Callable[[str], str], target: str, tmp_path: Path) -> None:
    """Without anything in /usr/bin and /usr/sbin the process starts, and the worker reads documents in its children."""
    documents = tmp_path / "documents"
    documents.mkdir()
    for each in sorted((REPOSITORY / "tests" / "support" / "documents").iterdir()):
        (documents / each.name).write_bytes(each.read_bytes())
    program = _STARTS.replace("{module}", PROCESSES[target]) + (_READS if target == "stage-worker" else "")
    (tmp_path / "try.py").write_text(program, encoding="utf-8")
    (tmp_path / "bare.py").write_text(_MAKE_BARE, encoding="utf-8")
    (tmp_path / "Dockerfile").write_text(_BARE.format(image=built(target)), encoding="utf-8")
    name = f"localhost/coursegen-test-bare-{target}:test"

    command = [builder(), "bud" if builder() == "buildah" else "build", "--no-cache", "-t", name, str(tmp_path)]
    with removed(name):
        own = {**os.environ, "BUILDX_BUILDER": "default"}  # only Docker's engine knows an image that no registry has
        done = subprocess.run(command, env=own, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


_LARGEST_MB = {
    "api": 95,
    "outbox-relay": 65,
    "stage-worker": 410,
    "persistence-worker": 50,
    "migrate": 50,
    "operator": 90,
}


@_ALL
def test_it_does_not_grow_unnoticed(image: Images, target: str) -> None:
    """What is above the base, in MB; docs/IMAGES.md has the measured sizes."""
    size = sum(entry.size for entry in own_layers(image(target)).values()) / 1e6
    print(f"{target}: {size:.0f} MB above the base", file=sys.stderr)

    assert size < _LARGEST_MB[target]
