"""Whom a client of httpx trusts that is not told: all authorities, whose certificates each client would read anew."""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from services.kernel.lean import lean

with lean():
    from httpx._transports import default

_OTHERS = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables that name others."""


@contextmanager
def read_once() -> Iterator[None]:
    """In the block such clients share what the first has read; most of them speak plain HTTP and never look at it."""
    make = default.create_ssl_context

    @functools.cache
    def usual(*_others: str | None) -> ssl.SSLContext:
        return make()

    def shared(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        if (verify, cert, trust_env) != (True, None, True):
            return make(verify, cert, trust_env)
        return usual(*map(os.environ.get, _OTHERS))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(default, "create_ssl_context", shared)
        yield
