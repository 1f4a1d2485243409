"""Random strings that are shown once and kept as hashes."""

from __future__ import annotations

import hashlib
import re
import secrets

_SHAPE = re.compile(r"[A-Za-z0-9_-]{43}")


def new_secret() -> str:
    """256 random bits, as 43 letters, digits, `-` and `_`."""
    return secrets.token_urlsafe(32)


def is_secret(text: str) -> bool:
    """Whether `text` could be one; what could not is not worth a question to the database."""
    return _SHAPE.fullmatch(text) is not None


def hashed(secret: str) -> bytes:
    """What is kept of it. Random as it is, it needs no salt and no slow hash."""
    return hashlib.sha256(secret.encode("ascii")).digest()
