"""Where there is a cluster, scripts/test.sh runs tests side by side; whoever fails, on whichever side, has failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.supply.tree import Tree

_TEST = """
import pytest

@pytest.mark.cluster
{marks}
def test_it():
    assert {holds}
"""
_OPERATOR = ("operator", "e2e/operator")
_APPLICATION = ("e2e/kubernetes", "cluster")
_WITHOUT = ("images", "supply", "charts")
_CLUSTER = {"PART": "platform", "KUBECONFIG": "of-no-cluster"}


def _put(tree: Tree, folder: str, *marks: str, holds: bool = True) -> None:
    """A test with marks besides."""
    name = "_".join(("test", *folder.split("/"), *marks))
    tree.put(
        f"{folder}/{name}.py", _TEST.format(holds=holds, marks="\n".join(f"@pytest.mark.{each}" for each in marks))
    )


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """One test in each folder of the second part, and of the application one in each of its steps; they pass."""
    tree = Tree(tmp_path)
    for folder in (*_OPERATOR, *_APPLICATION, *_WITHOUT):
        _put(tree, folder)
    for folder in _APPLICATION:
        _put(tree, folder, "alone")
        _put(tree, folder, "alone", "disruptive")
        _put(tree, folder, "alone", "disruptive", "drains")
    _put(tree, "e2e/kubernetes", "alone", "rolling")
    return tree


def test_each_is_tried_once_and_in_its_step(tree: Tree) -> None:
    """Side by side; then what builds or measures; what restarts and kills; what drains. The words of each side come whole."""
    done = tree.run(**_CLUSTER)

    assert done.returncode == 0, done.stdout + done.stderr
    shown = [
        "test_e2e_operator",
        "test_e2e_kubernetes",
        "test_cluster_alone",
        "test_e2e_kubernetes_alone",
        "test_e2e_kubernetes_alone_rolling",
        "test_cluster_alone_disruptive",
        "test_e2e_kubernetes_alone_disruptive",
        "test_e2e_kubernetes_alone_disruptive_drains",
        "test_images",
    ]
    places = [done.stdout.index(f"{each}.py") for each in shown]
    assert places == sorted(places)
    assert {each.name: done.stdout.count(f"/{each.name} ") for each in tree.tests()} == {
        each.name: 1 for each in tree.tests()
    }


def test_a_cluster_that_does_not_come_up_stops_nobody_else(tree: Tree) -> None:
    """What needs none is still tried, once, and what needs one says so; the whole has failed."""
    tree.put("unit/test_unit.py", "def test_it(): pass")
    done = tree.run(TEST_CLUSTER="false")

    assert done.returncode == 1, done.stdout + done.stderr
    assert "TEST_CLUSTER (false) has brought no cluster up" in done.stderr
    assert done.stdout.count("/test_unit.py ") == 1
    assert f"= {len(tree.tests()) - 1} passed" in done.stdout


def test_without_a_cluster_there_is_nothing_to_be_beside(tree: Tree) -> None:
    """All of it is one run."""
    done = tree.run(PART="platform")

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"= {len(tree.tests())} passed" in done.stdout


@pytest.mark.parametrize("folder", ["e2e/operator", "charts"])
def test_a_failure_on_any_side_is_one(tree: Tree, folder: str) -> None:
    """Whatever the other sides came to."""
    _put(tree, folder, holds=False)
    done = tree.run(**_CLUSTER)

    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count(" passed") == 9


def test_what_failed_beside_is_tried_again_like_the_rest(tree: Tree) -> None:
    """Each side remembers its own failures."""
    for folder in ("e2e/operator", "charts"):
        _put(tree, folder, holds=False)
    done = tree.run(SECOND_TRY="1", **_CLUSTER)

    assert done.returncode == 1
    assert done.stdout.count("What failed is tried once more") == 2
    assert "1 failed, 1 passed" in done.stdout
    assert "1 failed, 2 passed" in done.stdout
