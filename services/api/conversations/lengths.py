"""Which contents are long, so that the document store takes them and the stream only their place (contract.md v).

Promises: a content longer than `longest` always is. While the contents of late are longer than `average` on the average, so is
each that is longer than that: a stream of messages of some kilobytes is not kept in memory. What counts is what was sent, so
that putting some aside does not change the judgement; one that is longer than `longest` counts as that.
"""

from __future__ import annotations

from typing import Final

LATE: Final = 256
"""Messages of late: each weighs as much less than the next."""


class Lengths:
    """The contents that one api was sent."""

    def __init__(self, *, longest: int, average: int) -> None:
        """Judge by these, in bytes of UTF-8; an `average` of 0 is none."""
        self._longest = longest
        self._average = average
        self._mean = 0.0

    def is_long(self, content: str) -> bool:
        """Whether a content that was just sent is long."""
        size = len(content.encode())
        self._mean += (min(size, self._longest) - self._mean) / LATE
        return size > self._longest or (bool(self._average) and min(size, self._mean) > self._average)
