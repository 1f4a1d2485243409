"""Texts that must fit: into a container's termination message, a status, an Event."""

from __future__ import annotations

from typing import Final

_CUT: Final = "…"
_CUT_BYTES: Final = len(_CUT.encode())


def shortened(text: str, limit: int) -> str:
    """`text`, or the beginning of it that has at most `limit` bytes of UTF-8, none of them half a character; a cut shows.

    What UTF-8 has no bytes for (a lone surrogate) is replaced by a question mark.
    """
    raw = text.encode(errors="replace")
    if len(raw) <= limit:
        return raw.decode()
    kept = raw[: max(limit - _CUT_BYTES, 0)].decode(errors="ignore")
    return kept + _CUT if limit >= _CUT_BYTES else kept
