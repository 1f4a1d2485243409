"""Messages belong to who sends and who receives them: whatever people do in whatever order, nobody else is told a word (S4).

A few hundred operations in `make test`, 10,000 and more in `make prove-messages`.
"""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

import httpx
import pytest

from tests.support.api import RunningApi, running_api
from tests.support.conversations import message
from tests.support.tokens import USER, bearer

BOB = UUID("00000000-0000-0000-0000-0000000000b0")
EVE = UUID("00000000-0000-0000-0000-0000000000e7")
PEOPLE = (USER, BOB, EVE)
HEADERS = {person: bearer(person) for person in PEOPLE}
TALKS = [f"talk-{number}" for number in range(8)]
OPERATIONS = 10_500 if os.environ.get("PROVE_MESSAGES", "").strip() else 300


@dataclass(frozen=True)
class Sent:
    """A message that was accepted."""

    id: str
    talk: str
    sender: UUID
    recipients: frozenset[UUID]
    content: str

    def is_for(self, person: UUID) -> bool:
        """Whether he has a part in it."""
        return person == self.sender or person in self.recipients


@dataclass
class Crowd:
    """People who send, read and receipt, and what each of them may see of it."""

    client: httpx.AsyncClient
    chance: random.Random
    has_rows: bool
    """Whether messages have their rows at once; otherwise no page shows any."""
    sent: list[Sent] = field(default_factory=list)
    noted: defaultdict[str, set[tuple[UUID, str]]] = field(default_factory=lambda: defaultdict(set))
    """Receipts by message."""
    seen: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Answers by kind of operation and status."""

    async def act(self) -> None:
        """One of them does something."""
        deeds: tuple[Callable[[UUID], Awaitable[None]], ...] = (
            self._send, self._send, self._read, self._read, self._receipt, self._receipts, self._page,
        )  # fmt: skip
        await self.chance.choice(deeds)(self.chance.choice(PEOPLE))

    async def _send(self, person: UUID) -> None:
        sender = self.chance.choice(PEOPLE) if self.chance.random() < 0.1 else person
        recipients = frozenset(each for each in PEOPLE if each != sender and self.chance.random() < 0.4)
        number = len(self.sent)
        content = f"secret-{number}-{self.chance.getrandbits(64):x}"
        talk = self.chance.choice(TALKS)
        body = message(
            conversationId=talk,
            senderId=str(sender),
            content=content,
            clientMessageId=f"m-{number}",
            recipientIds=sorted(map(str, recipients)),
        )
        answer = await self.client.post("/api/messages", json=body, headers=HEADERS[person])
        self._expect("send", answer, 202 if sender == person else 403)
        if sender == person:
            self.sent.append(Sent(answer.json()["messageId"], talk, sender, recipients, content))

    async def _read(self, person: UUID) -> None:
        if (one := self._one()) is not None:
            answer = await self.client.get(f"/api/messages/{one.id}", headers=HEADERS[person])
            self._expect("read", answer, 200 if one.is_for(person) else 404)
            assert (one.content in answer.text) == one.is_for(person)

    async def _receipt(self, person: UUID) -> None:
        if (one := self._one()) is None:
            return
        user = self.chance.choice(PEOPLE) if self.chance.random() < 0.2 else person
        state = self.chance.choice(["delivered", "read"])
        body = {"userId": str(user), "state": state}
        answer = await self.client.post(f"/api/messages/{one.id}/receipts", json=body, headers=HEADERS[person])
        is_known = (user, state) in self.noted[one.id]
        allowed = 200 if is_known else 201
        self._expect("receipt", answer, 403 if user != person else allowed if one.is_for(person) else 404)
        if answer.is_success:
            self.noted[one.id] |= {(user, state), (user, "delivered")}

    async def _receipts(self, person: UUID) -> None:
        if (one := self._one()) is None:
            return
        answer = await self.client.get(f"/api/messages/{one.id}/receipts", headers=HEADERS[person])
        self._expect("receipts", answer, 200 if one.is_for(person) else 404)
        if answer.is_success:
            shown = {UUID(each["userId"]) for each in answer.json()["receipts"]}
            assert shown == {user for user, _ in self.noted[one.id]}

    async def _page(self, person: UUID) -> None:
        """All of a conversation, page by page; now and then with a cursor that was made for somebody else."""
        talk = self.chance.choice(TALKS)
        mine = [each.content for each in self.sent if each.talk == talk and each.is_for(person) and self.has_rows]
        query = {"limit": str(self.chance.randint(1, 100))}
        found: list[str] = []
        while True:
            answer = await self.client.get(f"/api/conversations/{talk}/messages", params=query, headers=HEADERS[person])
            self._expect("page", answer, 200 if mine else 404)
            if not mine:
                return
            document = answer.json()
            found += [each["content"] for each in document["messages"]]
            if document["nextCursor"] is None:
                break
            query["cursor"] = document["nextCursor"]
            await self._try_cursor(talk, query)
        assert found == mine

    async def _try_cursor(self, talk: str, query: dict[str, str]) -> None:
        thief = self.chance.choice(PEOPLE)
        answer = await self.client.get(f"/api/conversations/{talk}/messages", params=query, headers=HEADERS[thief])
        own = {each.content for each in self.sent if each.talk == talk and each.is_for(thief)}
        self._expect("cursor", answer, 200 if own else 404)
        if answer.is_success:
            assert {each["content"] for each in answer.json()["messages"]} <= own

    def _one(self) -> Sent | None:
        return self.chance.choice(self.sent) if self.sent else None

    def _expect(self, kind: str, answer: httpx.Response, status: int) -> None:
        assert answer.status_code == status, f"{kind}: {answer.status_code}, not {status}: {answer.text[:200]}"
        assert answer.is_success or "secret-" not in answer.text
        self.seen[kind, status] += 1


@pytest.mark.parametrize("durability", ["postgres", "redis"])
async def test_random_operations_never_show_a_message_to_anybody_else(
    app_database_url: str, redis_url: str, durability: str
) -> None:
    """Each answer is exactly what its caller may have: with a row, and while it waits for one in Redis."""
    async with running_api(app_database_url, redis_url, messages_durability=durability) as api:
        crowd = Crowd(quick_client(api), random.Random(20251123), has_rows=durability == "postgres")
        async with crowd.client:
            while crowd.seen.total() < OPERATIONS:
                await crowd.act()

    wanted = {("send", 202), ("send", 403), ("read", 200), ("read", 404), ("page", 404)}
    wanted |= {("receipt", 201), ("receipt", 200), ("receipt", 403), ("receipt", 404), ("receipts", 404)}
    if durability == "postgres":
        wanted |= {("page", 200), ("cursor", 200)}
    assert wanted <= set(crowd.seen), crowd.seen


def quick_client(api: RunningApi) -> httpx.AsyncClient:
    """One that does not compare each answer with the description: that takes longer than the answer."""
    return httpx.AsyncClient(base_url=api.url, timeout=30)
