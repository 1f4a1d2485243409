"""Where browsers find this api: an address reduced to scheme, host and port."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_HOST: Final = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9][a-z0-9._-]{0,252})(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port."""

    scheme: str
    host: str
    """With the port, where it is not the scheme's own."""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}"

    @property
    def is_secure(self) -> bool:
        """Whether what is sent there is encrypted on the way."""
        return self.scheme == "https"


def parse_origin(text: str) -> Origin:
    """An address without path, query or credentials.

    Raises:
        ValueError: saying what is wrong with it.
    """
    wanted = f"must be an address without a path, such as https://courses.example, not {text!r}"
    parts = urlsplit(text.strip())
    if parts.scheme not in {"http", "https"} or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(wanted)
    host = parts.netloc.lower()
    if not _HOST.fullmatch(host):
        raise ValueError(wanted)
    return Origin(parts.scheme, host.removesuffix(":443" if parts.scheme == "https" else ":80"))


def host_of(header: str) -> str | None:
    """The host that a `Host` header names, on plain http; None when it names none that could be."""
    host = header.lower()
    return host.removesuffix(":80") if _HOST.fullmatch(host) else None
