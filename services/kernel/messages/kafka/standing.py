"""What is known of a partition's settling: kept with the committed offset, so that both change in one transaction.

Everything below the offset is settled. Above it an owner may have entries in hand, up to `given`; those of them that are settled
already stand in `done`, so that the next owner is not given them again. It is shortened when it would be too long for
Kafka: what is left out is given again, and has its row.
"""

from __future__ import annotations

from typing import Final

import msgspec

LONGEST: Final = 3_500
"""Kafka takes 4,096 bytes."""


class Standing(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The metadata of a committed offset."""

    epoch: int = 0
    given: int = 0
    """The first offset that no owner had in hand yet."""
    done: list[tuple[int, int]] = []
    """From and to, the last one included."""
    alone: dict[int, int] = {}
    """Entries that are handled alone, and how often that was begun."""

    def covers(self, offset: int) -> bool:
        """Whether the entry at this offset is settled."""
        return any(first <= offset <= last for first, last in self.done)


_decoder = msgspec.json.Decoder(Standing)


def decode(metadata: str) -> Standing:
    """The standing in a commit's metadata; a new one when they are nobody's or somebody else's."""
    try:
        return _decoder.decode(metadata.encode()) if metadata else Standing()
    except msgspec.DecodeError:
        return Standing()


def encode(standing: Standing) -> str:
    """The metadata that hold a standing."""
    text = msgspec.json.encode(standing)
    if len(text) > LONGEST:
        kept = len(standing.done) * LONGEST // (2 * len(text))
        text = msgspec.json.encode(msgspec.structs.replace(standing, done=standing.done[:kept]))
    return text.decode()


def ranges(offsets: list[int]) -> list[tuple[int, int]]:
    """Rising offsets as ranges."""
    found: list[tuple[int, int]] = []
    for each in offsets:
        if found and found[-1][1] == each - 1:
            found[-1] = (found[-1][0], each)
        else:
            found.append((each, each))
    return found
