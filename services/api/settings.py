"""The api's settings."""

from __future__ import annotations

import dataclasses
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from services.api.browser.origin import parse_origin
from services.api.conversations.settings import MessageSettings
from services.kernel.concurrency import ConcurrencySettings
from services.kernel.objects import ObjectStoreSettings
from services.kernel.settings import CommonSettings, Secret, load, setting
from services.kernel.webhooks.settings import WebhookSettings

SECRET_ALGORITHMS = ("HS256",)
"""Signed with the shared secret."""

KEY_SET_ALGORITHMS = ("RS256", "ES256", "EdDSA")
"""Signed with a private key whose public half is in the key set."""

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_SHORTEST_SECRET = 32
_STACK_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MEBIBYTE = 1024 * 1024


def _key_set_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ValueError(f"must be an https address, not {text!r}")
    return text


def _stack_id(text: str) -> str:
    if not _STACK_ID.fullmatch(text):
        raise ValueError("must be 1 to 64 letters, digits, dots, dashes or underscores")
    return text


@dataclasses.dataclass(frozen=True, kw_only=True)
class ApiSettings(CommonSettings, ObjectStoreSettings, ConcurrencySettings, WebhookSettings, MessageSettings):
    """What the api is told."""

    host: str = setting("HOST", default="0.0.0.0", doc="address to listen on")  # noqa: S104 - a container listens to all
    port: int = setting("PORT", default=3000, minimum=0, maximum=65535, doc="port to listen on; 0 picks a free one")
    reuse_port: bool = setting(
        "API_REUSE_PORT", default=False, doc="let several api processes share the port (SO_REUSEPORT)"
    )
    statement_seconds: float = setting(
        "DATABASE_STATEMENT_SECONDS",
        default=5.0,
        unit="s",
        minimum=0.1,
        maximum=3600,
        doc="longest time one statement may take; shorter than elsewhere, because a caller waits",
    )
    initiation_seconds: float = setting(
        "INITIATION_SECONDS",
        default=10.0,
        unit="s",
        minimum=0.1,
        maximum=300,
        doc="longest time one initiation may take with all its retries; then the caller gets a 500",
    )

    jwt_algorithms: tuple[str, ...] = setting(
        "JWT_ALGORITHMS",
        default=(),
        doc="algorithms accepted, of HS256, RS256, ES256, EdDSA; by default those that a key is configured for",
    )
    jwt_secret: Secret | None = setting(
        "JWT_SECRET", default=None, parse=Secret, doc="shared secret of HS256 tokens, at least 32 bytes"
    )
    jwt_previous_secret: Secret | None = setting(
        "JWT_SECRET_PREVIOUS",
        default=None,
        parse=Secret,
        doc="another shared secret that is accepted as well: the one before, until the tokens it has signed have expired",
    )
    jwt_jwks_file: Path | None = setting("JWT_JWKS_FILE", default=None, doc="file with the issuer's public key set")
    jwt_jwks_url: str | None = setting(
        "JWT_JWKS_URL", default=None, parse=_key_set_address, doc="address of the issuer's public key set"
    )
    jwt_audience: str | None = setting("JWT_AUDIENCE", default=None, doc="audience a token must name, when set")
    jwt_issuer: str | None = setting("JWT_ISSUER", default=None, doc="issuer a token must name, when set")
    jwt_leeway_seconds: float = setting(
        "JWT_LEEWAY_SECONDS",
        default=30.0,
        unit="s",
        minimum=0,
        maximum=30,
        doc="difference of clocks that is forgiven",
    )

    max_body_bytes: int = setting(
        "MAX_BODY_BYTES", default=_MEBIBYTE, unit="bytes", minimum=1024, doc="largest request body, uploads aside"
    )
    max_upload_bytes: int = setting(
        "MAX_UPLOAD_BYTES", default=50 * _MEBIBYTE, unit="bytes", minimum=1, doc="largest document"
    )
    max_documents: int = setting(
        "MAX_DOCUMENTS_PER_COURSE", default=50, unit="documents", minimum=1, doc="most documents of one course"
    )
    max_uploads: int = setting(
        "MAX_CONCURRENT_UPLOADS",
        default=8,
        unit="uploads",
        minimum=1,
        doc="uploads checked and stored at the same time by one process; more wait",
    )
    upload_folder: Path = setting(
        "UPLOAD_FOLDER", default=Path(tempfile.gettempdir()), doc="where an upload waits, nameless, until it is checked"
    )
    header_seconds: float = setting(
        "HEADER_SECONDS", default=10.0, unit="s", minimum=0.1, doc="longest time a client may take to send its headers"
    )
    body_seconds: float = setting(
        "BODY_SECONDS", default=30.0, unit="s", minimum=0.1, doc="longest time a client may take to send its body"
    )
    answer_seconds: float = setting(
        "ANSWER_SECONDS", default=30.0, unit="s", minimum=0.1, doc="longest time a client may leave its answer unread"
    )
    upload_bytes_per_second: int = setting(
        "UPLOAD_MIN_RATE", default=10_000, unit="bytes/s", minimum=0, doc="an upload slower than this is cut off"
    )
    keep_alive_seconds: int = setting(
        "KEEP_ALIVE_SECONDS", default=10, unit="s", minimum=1, doc="how long an idle connection stays open"
    )
    max_connections: int = setting(
        "MAX_CONNECTIONS", default=4096, unit="connections", minimum=1, doc="open connections before 503 is answered"
    )

    public_url: str | None = setting(
        "PUBLIC_URL",
        default=None,
        parse=lambda text: str(parse_origin(text)),
        doc="address at which browsers find the api; on https cookies are Secure. By default what the Host header says",
    )
    session_seconds: float = setting(
        "SESSION_SECONDS",
        default=28800.0,
        unit="s",
        minimum=60,
        maximum=604800,
        doc="longest time a browser stays signed in; never longer than the token is good that let it in",
    )
    stack_id: str | None = setting(
        "STACK_ID",
        default=None,
        parse=_stack_id,
        doc="name of this installation, in the header X-Stack-Id of every answer: so a client knows whom it talks to",
    )
    max_watchers: int = setting(
        "MAX_WATCHERS",
        default=2000,
        unit="streams",
        minimum=1,
        doc="live streams of one process at once; more are answered 503. Keep it below MAX_CONNECTIONS",
    )
    max_watchers_per_user: int = setting(
        "MAX_WATCHERS_PER_USER",
        default=100,
        unit="streams",
        minimum=1,
        doc="of them, live streams of one user; more are answered 429",
    )
    watch_seconds: float = setting(
        "WATCH_SECONDS",
        default=3600.0,
        unit="s",
        minimum=1,
        maximum=86_400,
        doc="longest time one live stream stays open; then its reader comes back, perhaps to another process",
    )

    cors_origins: tuple[str, ...] = setting(
        "CORS_ORIGINS", default=(), doc="origins of web pages that may call the api, or *; none by default"
    )
    healthcheck_status: str = setting(
        "HEALTHCHECK_STATUS",
        default="by-health",
        choices=("by-health", "always200"),
        doc="always200 answers healthCheck with 200 even when unhealthy, for balancers that would take the api out",
    )
    access_log: bool = setting(
        "ACCESS_LOG", default=False, doc="log every request, not only those that changed something"
    )

    def __post_init__(self) -> None:
        """Check what concerns several settings at once."""
        faults = _token_faults(self)
        if "*" in self.cors_origins and len(self.cors_origins) > 1:
            faults.append("CORS_ORIGINS: write * alone, or origins")
        if faults:
            raise ValueError("; ".join(faults))

    @property
    def has_key_set(self) -> bool:
        """Whether public keys are configured."""
        return self.jwt_jwks_file is not None or self.jwt_jwks_url is not None

    @property
    def algorithms(self) -> frozenset[str]:
        """The algorithms accepted; fixed at start, never taken from a token."""
        if self.jwt_algorithms:
            return frozenset(self.jwt_algorithms)
        return frozenset(
            (SECRET_ALGORITHMS if self.jwt_secret else ()) + (KEY_SET_ALGORITHMS if self.has_key_set else ())
        )


def _token_faults(settings: ApiSettings) -> list[str]:
    faults = []
    unknown = set(settings.jwt_algorithms) - {*SECRET_ALGORITHMS, *KEY_SET_ALGORITHMS}
    if unknown:
        faults.append(f"JWT_ALGORITHMS: unknown {', '.join(sorted(unknown))}; choose of HS256, RS256, ES256, EdDSA")
    if settings.jwt_secret is None and not settings.has_key_set:
        faults.append("JWT_SECRET: set it, or JWT_JWKS_FILE or JWT_JWKS_URL; without a key no token can be checked")
    for name, secret in (("JWT_SECRET", settings.jwt_secret), ("JWT_SECRET_PREVIOUS", settings.jwt_previous_secret)):
        if secret is not None and len(secret.reveal().encode()) < _SHORTEST_SECRET:
            faults.append(f"{name}: must have at least {_SHORTEST_SECRET} bytes; a shorter one can be guessed")
    if settings.jwt_previous_secret is not None and settings.jwt_secret is None:
        faults.append("JWT_SECRET_PREVIOUS: set JWT_SECRET too; the one before has a successor")
    if settings.jwt_jwks_file is not None and settings.jwt_jwks_url is not None:
        faults.append("JWT_JWKS_URL: set it or JWT_JWKS_FILE, not both")
    if set(settings.jwt_algorithms) & set(SECRET_ALGORITHMS) and settings.jwt_secret is None:
        faults.append("JWT_ALGORITHMS: HS256 needs JWT_SECRET")
    if set(settings.jwt_algorithms) & set(KEY_SET_ALGORITHMS) and not settings.has_key_set:
        faults.append("JWT_ALGORITHMS: RS256, ES256 and EdDSA need JWT_JWKS_FILE or JWT_JWKS_URL")
    return faults


def load_settings(environ: Mapping[str, str]) -> ApiSettings:
    """Read the environment.

    Raises:
        SettingsInvalid: with every fault found.
    """
    return load(ApiSettings, environ)
