"""Key names: saq's, and ours beside them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from services.kernel.queue.keys import QueueKeys
from services.kernel.queue.scripts import NAMES, Script, texts

KEYS = QueueKeys("course-generation:documents")


def test_every_key_is_found_by_the_pattern_of_the_contract() -> None:
    """`saq:*course-generation:*` finds all of them (contract.md D12)."""
    names = [KEYS.job_id("k"), *KEYS.lists, KEYS.active, KEYS.incomplete, KEYS.wake, KEYS.owners, KEYS.lease("w"),
             KEYS.poison, KEYS.poison_bodies, KEYS.unreported, KEYS.crashes, KEYS.epoch]  # fmt: skip

    assert all(re.fullmatch(r"saq:.*course-generation:.*", name) for name in names)
    assert len(set(names)) == len(names)


def test_lists_are_served_from_the_most_urgent_to_plain_saqs() -> None:
    """Ten down to nought, then the list of saq itself."""
    assert KEYS.lists[0].endswith(":queued:10")
    assert KEYS.lists[-2].endswith(":queued:0")
    assert KEYS.lists[-1].endswith(":queued")
    assert len(KEYS.lists) == 12


def test_a_job_key_survives_the_way_into_its_id_and_back() -> None:
    """An id of another queue stays as it is."""
    assert KEYS.job_key(KEYS.job_id("a:b")) == "a:b"
    assert KEYS.job_key("saq:job:other:k") == "saq:job:other:k"


@pytest.mark.parametrize(
    ("queue", "channel"), [("course-generation:analysis", "course-generation:added"), ("x", "x:added")]
)
def test_all_stages_are_announced_on_one_channel(queue: str, channel: str) -> None:
    """Layer 2 hears of every stage by listening once (contract.md g)."""
    assert QueueKeys(queue).announcements == channel


@pytest.mark.parametrize("name", NAMES)
def test_every_script_says_what_it_takes_and_returns(name: str) -> None:
    """The head of the file is its documentation; the hash is that of the whole text."""
    path = Path(__file__).resolve().parents[5] / "services/kernel/queue/lua" / f"{name}.lua"
    head = path.read_text(encoding="utf-8").partition("\nlocal")[0]

    assert head.startswith("-- ")
    assert "ARGV" in head
    assert "Returns" in head
    assert len(Script.read(name).sha) == 40


def test_ids_that_are_no_text_become_text() -> None:
    """For logs; such an id is nobody's job."""
    assert texts([b"a", b"\xff"]) == ["a", "�"]
