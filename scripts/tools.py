#!/usr/bin/env python3
"""Find or build the programs that charts, clusters and workflows are checked with: ``python3 scripts/tools.py helm helm3``.

Prints the path of each, one a line. What the PATH has is used as it is; what it has not is built with Go, once, at the version
pinned here, and kept in $COURSEGEN_TOOLS (default: coursegen/tools in the user's cache). ``--find`` looks and never builds;
``--bin`` prints a folder for the PATH, in which what was built is under its plain name.
Ends with 1 and a sentence for each program that cannot be had. Needs nothing but Python: it runs before there is a .venv.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Tool:
    """A program: where its source is, and what counts as it on the PATH."""

    module: str
    """The Go module; empty when it cannot be built here."""
    version: str
    """The pinned one."""
    package: str = "."
    """The folder of the program within its module."""
    stamp: str = ""
    """The variable that its version is written into, for a program that acts by it."""
    named: tuple[str, ...] = ()
    """What it may be called on the PATH."""
    asked: tuple[str, ...] = ()
    """Arguments that make it say its version."""
    answers: str = ""
    """How that begins for a program of the right kind."""
    source: str = ""
    """A folder here that is laid into the module as its package, for a program of ours that uses the module's inner packages."""
    otherwise: str = ""
    """Where else it comes from."""


TOOLS = {
    "helm": Tool(
        "helm.sh/helm/v4",
        "v4.3.1",
        "cmd/helm",
        named=("helm",),
        asked=("version", "--short"),
        answers="v4",
        otherwise="https://helm.sh/docs/intro/install",
    ),
    "helm3": Tool(
        "helm.sh/helm/v3",
        "v3.22.0",
        "cmd/helm",
        named=("helm3", "helm"),
        asked=("version", "--short"),
        answers="v3",
        otherwise="https://helm.sh/docs/intro/install",
    ),
    "actionlint": Tool(
        "github.com/rhysd/actionlint",
        "v1.7.12",
        "cmd/actionlint",
        named=("actionlint",),
        otherwise="https://github.com/rhysd/actionlint",
    ),
    "kind": Tool(  # deploy/kind.yaml names a node image of this version's
        "sigs.k8s.io/kind",
        "v0.33.0",
        named=("kind",),
        asked=("version",),
        answers="kind v0.33.",
        otherwise="https://github.com/kubernetes-sigs/kind/releases/tag/v0.33.0",
    ),
    "kind-config": Tool("sigs.k8s.io/kind", "v0.33.0", "pkg/kind-config", source="kind-config"),
    "skaffold": Tool(
        "github.com/GoogleContainerTools/skaffold/v2",
        "v2.24.0",
        "cmd/skaffold",
        stamp="github.com/GoogleContainerTools/skaffold/v2/pkg/skaffold/version.version",
        named=("skaffold",),
        otherwise="https://skaffold.dev/docs/install",
    ),
    "kubectl": Tool(
        "",
        "",
        named=("kubectl",),
        otherwise="https://kubernetes.io/docs/tasks/tools, or Debian's package kubernetes-client",
    ),
}
"""`kind-config` is scripts/kind-config: kind's own reading of a configuration, which kind itself does only where Docker is."""


class Unavailable(Exception):
    """A program cannot be had; the message says how to get it."""


def folder() -> Path:
    """Where built programs are kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("COURSEGEN_TOOLS") or Path(cache) / "coursegen" / "tools")


def plainly_named() -> Path:
    """The folder in which programs that are not on the PATH by their name have it."""
    return folder() / "bin"


def find(name: str) -> str | None:
    """The program's path, of the PATH or built earlier."""
    tool = TOOLS[name]
    for each in tool.named:
        path = shutil.which(each)
        if path is not None and _is(tool, path):
            return path
    kept = _kept(name)
    return str(kept) if tool.module and kept.exists() else None


def provide(name: str) -> str:
    """The program's path; built first when it is nowhere. Raises Unavailable."""
    path = find(name)
    if path is None:
        with _alone(name):  # another process may be building it
            path = find(name) or _build(name)
    if shutil.which(name) != path:
        _link(path, plainly_named() / name)
    return path


def _link(path: str, name: Path) -> None:
    name.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder()) as work:
        (Path(work) / "link").symlink_to(path)
        (Path(work) / "link").replace(name)


def _is(tool: Tool, path: str) -> bool:
    if not tool.answers:
        return True
    done = subprocess.run([path, *tool.asked], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.startswith(tool.answers)


def _called(name: str) -> str:
    """The program in a sentence: with its version, where another one is not taken."""
    tool = TOOLS[name]
    return f"{name} {tool.version}" if tool.answers else name


def _kept(name: str) -> Path:
    return folder() / TOOLS[name].version / name


@contextmanager
def _alone(name: str) -> Iterator[None]:
    folder().mkdir(parents=True, exist_ok=True)
    with (folder() / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(name: str) -> str:
    tool = TOOLS[name]
    if not tool.module:
        raise Unavailable(f"{name} is not on the PATH. Install it: {tool.otherwise}")
    go = shutil.which("go")
    if go is None:
        or_else = f", or {name} itself ({tool.otherwise})" if tool.otherwise else ""
        raise Unavailable(
            f"{_called(name)} is not on the PATH, and Go, which it would be built with, is not either. Install Go (https://go.dev/dl){or_else}."
        )
    print(f"building {name} {tool.version} (once; it may take minutes)", file=sys.stderr)
    target = _kept(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder()) as work:
        _compile(go, tool, Path(work), Path(work) / "program")
        (Path(work) / "program").replace(target)
    return str(target)


def _compile(go: str, tool: Tool, work: Path, program: Path) -> None:
    """In a copy of the module: `go install` refuses modules with replace directives, and the copy may be added to."""
    module = work / "module"
    downloaded = json.loads(_go(go, work, "mod", "download", "-json", f"{tool.module}@{tool.version}"))
    shutil.copytree(downloaded["Dir"], module, copy_function=shutil.copyfile)
    if tool.source:
        shutil.copytree(HERE / tool.source, module / tool.package)
    flags = f"-s -w -X {tool.stamp}={tool.version}" if tool.stamp else "-s -w"
    _go(go, module, "build", "-trimpath", f"-ldflags={flags}", "-o", str(program), f"./{tool.package}")


def _go(go: str, where: Path, *arguments: str) -> str:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    done = subprocess.run([go, *arguments], cwd=where, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(
            f"`go {arguments[0]}` failed:\n{(done.stderr or done.stdout).strip()}\nRun it again, or put the program on the PATH."
        )
    return done.stdout


def main() -> int:
    """Print the paths of the programs that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--find", action="store_true", help="look for them, and build nothing")
    parser.add_argument("--bin", action="store_true", help="print the folder for the PATH")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TOOLS))
    wanted = parser.parse_args()
    if unknown := [each for each in wanted.names if each not in TOOLS]:
        parser.error(f"there is no {unknown[0]} here; there are {', '.join(TOOLS)}")
    if wanted.bin:
        print(plainly_named())
    status = 0
    for name in wanted.names:
        try:
            path = find(name) if wanted.find else provide(name)
        except Unavailable as error:
            path = None
            print(error, file=sys.stderr)
        else:
            if path is None:
                print(
                    f"{_called(name)} is not on the PATH and has not been built. Build what is missing: make tools",
                    file=sys.stderr,
                )
        if path is None:
            status = 1
        else:
            print(path)
    return status


if __name__ == "__main__":
    sys.exit(main())
