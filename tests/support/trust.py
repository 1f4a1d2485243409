"""Whom a client of httpx trusts that is not told: all authorities, whose certificates each client would read anew."""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from httpx._transports import default

_OTHERS = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@contextmanager
def read_once() -> Iterator[None]:
    """In the block such clients share what the first has read; most of them speak plain HTTP and never look at it."""
    make = default.create_ssl_context
    usual = functools.cache(make)

    def shared(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        is_usual = verify is True and cert is None and not any(name in os.environ for name in _OTHERS)
        return usual() if is_usual else make(verify, cert, trust_env)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(default, "create_ssl_context", shared)
        yield
