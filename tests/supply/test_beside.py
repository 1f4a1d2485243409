"""What scripts/test.sh runs beside the cluster's tests counts like the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.supply.tree import Tree

_PASSES = """
import pytest

@pytest.mark.helm
def test_it():
    assert {holds}
"""
_ON_CLUSTER = ("operator", "e2e", "cluster")
_WITHOUT = ("images", "supply", "charts")
_CLUSTER = {"PART": "platform", "KUBECONFIG": "of-no-cluster"}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """One test in each folder of the second part, and it passes."""
    tree = Tree(tmp_path)
    for folder in (*_ON_CLUSTER, *_WITHOUT):
        tree.put(f"{folder}/test_{folder}.py", _PASSES.format(holds=True))
    return tree


def test_what_needs_no_cluster_goes_on_beside_it(tree: Tree) -> None:
    """Its words come afterwards, whole."""
    done = tree.run(**_CLUSTER)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.index("tests/cluster/test_cluster.py") < done.stdout.index("tests/images/test_images.py")
    assert done.stdout.count("3 passed") == 2


def test_without_a_cluster_there_is_nothing_to_be_beside(tree: Tree) -> None:
    """All of it is one run."""
    done = tree.run(PART="platform")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout


@pytest.mark.parametrize("folder", ["e2e", "charts"])
def test_a_failure_on_either_side_is_one(tree: Tree, folder: str) -> None:
    """Whatever the other side came to."""
    tree.put(f"{folder}/test_{folder}.py", _PASSES.format(holds=False))
    done = tree.run(**_CLUSTER)

    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("3 passed") == 1


def test_what_failed_beside_is_tried_again_like_the_rest(tree: Tree) -> None:
    """Each side remembers its own failures."""
    for folder in ("e2e", "charts"):
        tree.put(f"{folder}/test_{folder}.py", _PASSES.format(holds=False))
    done = tree.run(SECOND_TRY="1", **_CLUSTER)

    assert done.returncode == 1
    assert done.stdout.count("What failed is tried once more") == 2
    assert done.stdout.count("1 failed, 2 passed") == 2
    assert done.stdout.count("1 failed in") == 2
