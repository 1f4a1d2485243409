"""The verdict over the messages of a load in a cluster: what its clients were told against the table, and what they read."""

from __future__ import annotations

import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from services.kernel.messages import names
from tests.support.kube.installation import Installation
from tests.support.waiting import eventually_sync

Report = Mapping[str, Any]
"""Of a load."""
Row = tuple[str, str, str]
"""Conversation, the client's id for the message, the message's id."""


@dataclass(frozen=True, slots=True)
class Talk:
    """What became of the messages of a load."""

    accepted: int
    conversations: int
    lost: list[Row]
    """Accepted and not in the table."""
    double: list[tuple[str, str]]
    """In the table more than once."""
    disordered: list[str]
    """Conversations whose accepted messages lie in another order than they were accepted in."""
    misread: list[str]
    """Conversations that were read by somebody, and did not show what was accepted in its order."""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.double or self.disordered or self.misread)

    def __str__(self) -> str:
        return (
            f"{self.accepted} messages accepted in {self.conversations} conversations: lost {len(self.lost)}, "
            f"double {len(self.double)}, out of order {len(self.disordered)}, misread {len(self.misread)}"
        )


def compare(reports: Sequence[Report], rows: Sequence[Row]) -> Talk:
    """What was accepted, as clients know it, against the rows of the table in their order."""
    accepted: list[Row] = [(str(one), str(own), str(id_)) for each in reports for one, own, id_ in each["messages"]]
    known = set(accepted)
    told, kept = _by_conversation(accepted), _by_conversation(row for row in rows if row in known)
    read = {conversation: shown for each in reports for conversation, shown in each["read"].items()}
    often = Counter((conversation, own) for conversation, own, _ in rows)
    return Talk(
        accepted=len(accepted),
        conversations=len(told),
        lost=sorted(known - set(rows)),
        double=sorted(each for each, times in often.items() if times > 1),
        disordered=[each for each, ids in kept.items() if ids != [one for one in told[each] if one in set(ids)]],
        misread=[each for each, shown in read.items() if _accepted(shown, told[each]) != told[each]],
    )


def judge_messages(installation: Installation, reports: Sequence[Report], user: UUID, *, within: float = 30) -> Talk:
    """Wait until each of the user's accepted messages has its row, or the time is up; then compare."""
    with contextlib.suppress(AssertionError):
        eventually_sync(lambda: not compare(reports, rows_of(installation, user)).lost, within=within, every=1)
    return compare(reports, rows_of(installation, user))


def rows_of(installation: Installation, user: UUID) -> list[Row]:
    """The user's messages in the table, in the order of their conversations."""
    found = installation.sql(
        "SELECT coalesce(json_agg(json_build_array(conversationid, clientmessageid, id) ORDER BY position), '[]')"
        f" FROM messages WHERE senderid = '{user}'"
    )
    return [(one, own, id_) for one, own, id_ in json.loads(found)]


def owner_of(installation: Installation, conversation: str) -> tuple[str, int]:
    """The pod that persists a conversation, and the epoch in which it does."""
    partition = names.partition_hash(conversation) % int(installation.redis("-n", "1", "GET", names.PARTITIONS))
    found = installation.sql(f"SELECT owner, epoch FROM message_partitions WHERE partition = {partition}")
    owner, _, epoch = found.partition("|")
    return owner.rpartition("_")[0], int(epoch)


def dead_letters(installation: Installation) -> int:
    """How many messages could not be written."""
    return int(installation.redis("-n", "1", "XLEN", names.DEAD_LETTERS))


def _by_conversation(rows: Iterable[Row]) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for conversation, _, id_ in rows:
        found[conversation].append(id_)
    return dict(found)


def _accepted(shown: list[str] | None, told: list[str]) -> list[str]:
    """What is shown without what nobody was told of: a message whose answer was lost."""
    return [each for each in shown or () if each in set(told)]
