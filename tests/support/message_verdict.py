"""The check that decides whether a run with messages was survived: what was acknowledged against what is in the table.

A pure function of the evidence, so that it can be tested with seeded faults (reliability.md section 3). A run passes when
nothing is lost, phantom, duplicate, out of order, divergent, dead or stuck, no answer surprised, and every fault that was to
happen is proved to have happened.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from tests.support.ledger import Findings
from tests.support.said import Said, content, fingerprint

SHOWN = 20
"""Most findings of a kind that are told."""


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One row of `messages`."""

    id: str
    conversation: str
    client_id: str
    content: str
    """Put back in when it is long, or its fingerprint; empty when it is nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageVerdict:
    """What was found, by kind, and what makes the run void."""

    lost: Findings = field(default_factory=dict)
    phantom: Findings = field(default_factory=dict)
    duplicate: Findings = field(default_factory=dict)
    disordered: Findings = field(default_factory=dict)
    divergent: Findings = field(default_factory=dict)
    dead: Findings = field(default_factory=dict)
    stuck: Findings = field(default_factory=dict)
    surprises: Findings = field(default_factory=dict)
    void: Findings = field(default_factory=dict)
    acknowledged: int = 0
    rows: int = 0
    fired: Counter[str] = field(default_factory=Counter)

    @property
    def passed(self) -> bool:
        """Whether the run proves that the faults were survived."""
        return not any(self._findings().values())

    def __str__(self) -> str:
        found = self._findings()
        faults = ", ".join(f"{name} {times}" for name, times in sorted(self.fired.items()))
        head = f"{self.acknowledged} acknowledged, {self.rows} rows; {self.fired.total()} faults ({faults}): "
        lines = [head + ", ".join(f"{kind} {len(those)}" for kind, those in found.items())]
        for kind, those in found.items():
            lines += [f"  {kind}: {subject}: {sentence}" for subject, sentence in list(those.items())[:SHOWN]]
        return "\n".join(lines)

    def _findings(self) -> dict[str, Findings]:
        kinds = ("lost", "phantom", "duplicate", "disordered", "divergent", "dead", "stuck", "surprises", "void")
        return {kind: getattr(self, kind) for kind in kinds}


def judge_messages(
    said: Said,
    rows: Iterable[MessageRow],
    *,
    dead: Iterable[str],
    stuck: Findings,
    fired: Mapping[str, int],
    wanted: Mapping[str, int],
) -> MessageVerdict:
    """Judge a run.

    Args:
        said: what the senders have written down.
        rows: the table, in the order of `position`.
        dead: what lies among the dead letters, in words.
        stuck: the streams that have not come to rest, and what is left in each: it may be pending for ever, row or no row.
        fired: how often each fault is proved to have fired.
        wanted: how often it was to fire.
    """
    there = list(rows)
    return MessageVerdict(
        lost=_lost(said, there),
        phantom=_phantom(said, there),
        duplicate=_duplicate(there),
        disordered=_disordered(said, there),
        divergent=_divergent(said, there),
        dead={f"dead letter {number}": each for number, each in enumerate(dead)},
        stuck=dict(stuck),
        surprises={f"answer {number}": each for number, each in enumerate(said.surprises)},
        void=_void(fired, wanted),
        acknowledged=said.count,
        rows=len(there),
        fired=Counter(fired),
    )


def _lost(said: Said, rows: Iterable[MessageRow]) -> Findings:
    there = {row.client_id for row in rows}
    accepted = (each for messages in said.accepted.values() for each in messages)
    return {each: "acknowledged, and there is no row" for each in accepted if each not in there}


def _phantom(said: Said, rows: Iterable[MessageRow]) -> Findings:
    findings: Findings = {}
    for row in rows:
        if said.asked.get(row.client_id) != row.conversation:
            findings[row.id] = f"a row of {row.client_id} in {row.conversation}, which nobody has sent"
        elif row.content not in (content(row.client_id), fingerprint(content(row.client_id))):
            findings[row.id] = f"{row.client_id} says {row.content[:80]!r}"
    return findings


def _duplicate(rows: Iterable[MessageRow]) -> Findings:
    times = Counter(row.client_id for row in rows)
    return {client_id: f"{count} rows" for client_id, count in times.items() if count > 1}


def _disordered(said: Said, rows: Iterable[MessageRow]) -> Findings:
    """Conversations whose acknowledged messages, as far as they are there, stand in another order than they were accepted in."""
    place = {client_id: number for messages in said.accepted.values() for number, client_id in enumerate(messages)}
    found: defaultdict[str, list[int]] = defaultdict(list)
    for row in rows:
        if row.client_id in place:
            found[row.conversation].append(place[row.client_id])
    findings: Findings = {}
    for conversation, places in found.items():
        for one, other in pairwise(places):
            if one > other:
                findings[conversation] = f"message {one} comes before {other}"
    return findings


def _divergent(said: Said, rows: Iterable[MessageRow]) -> Findings:
    ids = {row.client_id: row.id for row in rows}
    findings: Findings = {}
    for client_id, told in said.told.items():
        if len(told) > 1 or (client_id in ids and told != {ids[client_id]}):
            findings[client_id] = f"acknowledged as {sorted(told)}, its row is {ids.get(client_id)}"
        elif said.new[client_id] > 1:
            findings[client_id] = f"{said.new[client_id]} times said to be new"
    return findings


def _void(fired: Mapping[str, int], wanted: Mapping[str, int]) -> Findings:
    if not wanted:
        return {"faults": "no fault was to fire: the run proves nothing"}
    return {
        name: f"fired {fired.get(name, 0)} of {times} times"
        for name, times in wanted.items()
        if fired.get(name, 0) < times
    }
