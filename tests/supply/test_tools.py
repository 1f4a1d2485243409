"""Programs that Python does not bring are found on the PATH, or built once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.servers import REPOSITORY
from tests.support.tools import TOOLS, tool


def _tools(*arguments: str, path: Path, kept: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": str(path), "COURSEGEN_TOOLS": str(kept)}
    return subprocess.run(
        [sys.executable, TOOLS, *arguments], env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def _program(folder: Path, name: str, says: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho {says}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_a_helm_on_the_path_is_the_one_of_its_version(tmp_path: Path) -> None:
    """A `helm` that is Helm 3 counts as helm3, and not as helm."""
    helm = _program(tmp_path / "bin", "helm", "v3.22.0+g1234")

    assert _tools("--find", "helm3", path=helm.parent, kept=tmp_path).stdout == f"{helm}\n"
    done = _tools("--find", "helm", path=helm.parent, kept=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "make tools" in done.stderr


def test_a_kind_on_the_path_is_the_one_of_the_node_image(tmp_path: Path) -> None:
    """Patch versions have the same images; deploy/kind.yaml says for which version its image is."""
    kind = _program(tmp_path / "bin", "kind", "kind v0.33.1 go1.26.1 linux/amd64")

    assert _tools("--find", "kind", path=kind.parent, kept=tmp_path).stdout == f"{kind}\n"
    _program(tmp_path / "bin", "kind", "kind v0.29.0 go1.24.2 linux/amd64")
    done = _tools("--find", "kind", path=kind.parent, kept=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "kind v0.33.0 is not on the PATH" in done.stderr
    assert "that kind 0.33 is released with" in (REPOSITORY / "deploy" / "kind.yaml").read_text(encoding="utf-8")


def test_helm3_by_its_own_name_comes_first(tmp_path: Path) -> None:
    """Both versions side by side."""
    helm = _program(tmp_path / "bin", "helm", "v4.3.1")
    helm3 = _program(tmp_path / "bin", "helm3", "v3.22.0")

    done = _tools("--find", "helm", "helm3", path=helm.parent, kept=tmp_path)
    assert done.stdout.split() == [str(helm), str(helm3)]


def test_plain_names_for_the_path(tmp_path: Path) -> None:
    """What the PATH has under another name is in the folder that `--bin` prints; what it has by its name is not."""
    helm = _program(tmp_path / "bin", "helm", "v3.22.0")
    _program(tmp_path / "bin", "skaffold", "v2.24.0")

    assert _tools("helm3", "skaffold", path=helm.parent, kept=tmp_path / "kept").returncode == 0
    folder = Path(_tools("--bin", path=helm.parent, kept=tmp_path / "kept").stdout.strip())
    assert [each.name for each in folder.iterdir()] == ["helm3"]
    assert (folder / "helm3").resolve() == helm.resolve()


def test_without_go_it_is_said_what_to_install(tmp_path: Path) -> None:
    """Each program that is missing is named, and where to get it."""
    (tmp_path / "bin").mkdir()

    done = _tools("helm", "kubectl", path=tmp_path / "bin", kept=tmp_path / "kept")
    assert (done.returncode, done.stdout) == (1, "")
    first, second = done.stderr.strip().splitlines()
    assert "https://go.dev/dl" in first
    assert "https://helm.sh" in first
    assert second.startswith("kubectl is not on the PATH. Install it: https://kubernetes.io")


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    """With the names that there are."""
    done = _tools("hlem", path=tmp_path, kept=tmp_path)
    assert done.returncode == 2
    assert "kind-config" in done.stderr


@pytest.mark.helm
def test_two_at_once_build_it_once(tmp_path: Path) -> None:
    """The second waits for the first, and finds what it has built."""
    tool("kind-config")
    go = shutil.which("go")
    if go is None:
        pytest.skip("kind-config is there, and no Go to build it again")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "go").symlink_to(go)

    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(_tools, "kind-config", path=tmp_path / "bin", kept=tmp_path / "kept") for _ in range(2)]
        done = [each.result() for each in runs]
    assert [each.returncode for each in done] == [0, 0], done
    assert len({each.stdout for each in done}) == 1
    assert sum("building kind-config" in each.stderr for each in done) == 1
