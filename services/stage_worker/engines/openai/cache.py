"""The cache of answers: the same question is not paid for twice, for instance when a job is repeated after a crash."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any, Protocol

import msgspec


class AnswerCache(Protocol):
    """Keeps answers by the hash of everything that was asked."""

    async def get(self, key: str) -> bytes | None:
        """The answer, or None."""
        ...

    async def put(self, key: str, answer: bytes) -> None:
        """Keep an answer; a cache may forget at any time."""
        ...


class MemoryCache:
    """Keeps the most recent answers in this process."""

    def __init__(self, entries: int = 512) -> None:
        self._entries = entries
        self._answers: OrderedDict[str, bytes] = OrderedDict()

    async def get(self, key: str) -> bytes | None:
        """The answer, or None."""
        answer = self._answers.get(key)
        if answer is not None:
            self._answers.move_to_end(key)
        return answer

    async def put(self, key: str, answer: bytes) -> None:
        """Keep an answer, and forget the one not asked for longest."""
        self._answers[key] = answer
        self._answers.move_to_end(key)
        while len(self._answers) > self._entries:
            self._answers.popitem(last=False)


def key_of(base_url: str, request: dict[str, Any]) -> str:
    """The hash of a question: endpoint, model, messages, schema and every parameter."""
    return hashlib.sha256(msgspec.json.encode((base_url, request), order="sorted")).hexdigest()
