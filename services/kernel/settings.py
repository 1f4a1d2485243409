"""Settings: one frozen dataclass per process, read from the environment in one place.

A field is declared with `setting(...)`: its variable, default, unit and meaning stand together, and the documents'
tables are made from the same declaration. `load` reports every fault at once and never prints a secret.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from services.kernel.collectors import parse_endpoint
from services.kernel.errors import SettingsInvalid

S = TypeVar("S")

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_REQUIRED: Any = dataclasses.MISSING


class Secret:
    """A value that no log, error or `repr` ever shows."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself; call it only where it is handed to the library that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)


@dataclasses.dataclass(frozen=True, slots=True)
class Declaration:
    """What a setting's field says about itself."""

    env: str
    doc: str
    unit: str
    default: Any
    parse: Callable[[str], Any] | None
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...] | None


def setting(
    env: str,
    *,
    doc: str,
    default: Any = _REQUIRED,
    unit: str = "",
    parse: Callable[[str], Any] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """Declare a dataclass field that is read from the variable `env`.

    Args:
        env: name of the environment variable.
        doc: what it means and why the default is what it is.
        default: used when the variable is absent or empty; without one the setting is required.
        unit: "s", "bytes", "rows"... empty for none.
        parse: turns the text into the value, raising `ValueError` with a sentence; otherwise the field's type decides.
        minimum: smallest number allowed, included.
        maximum: largest number allowed, included.
        choices: the only texts allowed.
    """
    declaration = Declaration(env, doc, unit, default, parse, minimum, maximum, choices)
    if default is _REQUIRED:
        return dataclasses.field(metadata={"setting": declaration})
    return dataclasses.field(default=default, metadata={"setting": declaration})


def declarations(cls: type[Any]) -> Iterator[tuple[str, Declaration]]:
    """Each field's name with its declaration, in the order of the class (for documents and checks)."""
    for field in dataclasses.fields(cls):
        declaration = field.metadata.get("setting")
        if declaration is not None:
            yield field.name, declaration


def load(cls: type[S], environ: Mapping[str, str]) -> S:
    """Build `cls` from the environment.

    Raises:
        SettingsInvalid: with every fault found, each naming its variable and what to write instead.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    hints = typing.get_type_hints(cls)
    for name, declaration in declarations(cls):
        try:
            found, value = _read(declaration, hints[name], environ)
        except ValueError as error:
            faults.append(f"{declaration.env}: {error}")
            continue
        if found:
            values[name] = value
    if faults:
        raise SettingsInvalid(faults)
    try:
        return cls(**values)
    except ValueError as error:  # a __post_init__ that compares several fields
        raise SettingsInvalid([str(error)]) from error


def _read(declaration: Declaration, hint: Any, environ: Mapping[str, str]) -> tuple[bool, Any]:
    text = environ.get(declaration.env, "").strip()
    if not text:
        if declaration.default is _REQUIRED:
            raise ValueError(f"is required: {declaration.doc}")
        return False, None
    _check_choice(declaration, text)
    value = declaration.parse(text) if declaration.parse else _convert(text, hint)
    _check_range(declaration, value)
    return True, value


def _check_choice(declaration: Declaration, text: str) -> None:
    if declaration.choices and text not in declaration.choices:
        raise ValueError(f"must be one of {', '.join(declaration.choices)}, not {text!r}")


def _check_range(declaration: Declaration, value: Any) -> None:
    if not isinstance(value, int | float):
        return
    if declaration.minimum is not None and value < declaration.minimum:
        raise ValueError(f"must be at least {declaration.minimum:g} {declaration.unit}".rstrip())
    if declaration.maximum is not None and value > declaration.maximum:
        raise ValueError(f"must be at most {declaration.maximum:g} {declaration.unit}".rstrip())


def _convert(text: str, hint: Any) -> Any:
    origin = typing.get_origin(hint)
    if origin in {typing.Union, types.UnionType}:
        hint = next(each for each in typing.get_args(hint) if each is not type(None))
        origin = typing.get_origin(hint)
    if origin is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return _CONVERTERS[hint](text)


def _boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise ValueError(f"must be true or false, not {text!r}")


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"must be a whole number, not {text!r}") from None


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"must be a number, not {text!r}") from None
    if value != value or value in {float("inf"), float("-inf")}:  # noqa: PLR0124 - NaN is unequal to itself
        raise ValueError(f"must be a finite number, not {text!r}")
    return value


_CONVERTERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    int: _integer,
    float: _number,
    bool: _boolean,
    Path: Path,
    Secret: Secret,
}


def secrets_of(settings: object) -> frozenset[str]:
    """Every secret value in `settings`, and what is secret inside it: passwords of addresses, parts of lists.

    For `logs.conceal`; hand it to nobody else.
    """
    found: set[str] = set()
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        value = getattr(settings, field.name)
        if isinstance(value, Secret):
            found |= _secret_parts(value.reveal())
    return frozenset(found - {""})


def _secret_parts(text: str) -> set[str]:
    if "://" not in text:
        return {text, *(part.strip() for part in text.split(","))}
    authority = re.split(r"[/?#]", text.split("://", 1)[1], maxsplit=1)[0]
    password = authority.rpartition("@")[0].partition(":")[2]
    return {password, unquote(password)}


def database_address(text: str) -> Secret:
    """A connection string of PostgreSQL; `ValueError` says what to write. It is never repeated: it holds a password."""
    return _address(text, ("postgresql", "postgres"), "postgresql://user:password@host:5432/name")


def redis_address(text: str) -> Secret:
    """The address of a Redis, as `database_address`."""
    return _address(text, ("redis", "rediss", "unix"), "redis://host:6379/0 or rediss://host:6379/0")


def _address(text: str, schemes: tuple[str, ...], example: str) -> Secret:
    scheme, _, rest = text.partition("://")
    if scheme not in schemes or not rest:
        raise ValueError(f"must be an address like {example}")
    host = rest.split("/", 1)[0].split("?", 1)[0].rpartition("@")[2]
    for each in host.split(","):  # PostgreSQL may have standbys: host:port,host:port
        port = each.rpartition(":")[2] if ":" in each and not each.endswith("]") else ""
        if port and not (port.isascii() and port.isdigit() and int(port) < 65_536):
            raise ValueError(f"must have a number as port, like {example}")
    try:
        urlsplit(text)
    except ValueError:  # it may repeat the address
        raise ValueError(f"must be an address like {example}, an IPv6 one in brackets") from None
    return Secret(text)


def refuse_supabase_only(environ: Mapping[str, str]) -> None:
    """Refuse to start when only the Supabase variables are set (contract.md D40).

    The anon key cannot pass policies that admit the service role alone, so such a process could never write.

    Raises:
        SettingsInvalid: naming `DATABASE_URL`.
    """
    if not environ.get("DATABASE_URL") and (environ.get("SUPABASE_URL") or environ.get("SUPABASE_ANON_KEY")):
        raise SettingsInvalid(
            [
                "DATABASE_URL: is required; SUPABASE_URL and SUPABASE_ANON_KEY alone cannot write. "
                "Set DATABASE_URL to the project's PostgreSQL connection string",
            ]
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessSettings:
    """What every process is told, one without a database included."""

    log_level: str = setting(
        "LOG_LEVEL",
        default="info",
        choices=("debug", "info", "warn", "warning", "error"),
        doc="least severe level that is written; warning is another word for warn",
    )
    log_format: str = setting(
        "LOG_FORMAT",
        default="auto",
        choices=("auto", "json", "console"),
        doc="json for machines, console for people; auto is console on a terminal",
    )
    metrics_host: str = setting("METRICS_HOST", default="0.0.0.0", doc="address of /livez, /readyz and /metrics")  # noqa: S104
    metrics_port: int = setting(
        "METRICS_PORT",
        default=9090,
        minimum=0,
        maximum=65535,
        doc="port of /livez, /readyz and /metrics; 0 picks a free one",
    )
    drain_seconds: float = setting(
        "DRAIN_SECONDS",
        default=20.0,
        unit="s",
        minimum=0,
        maximum=3600,
        doc="time given to work in flight after SIGTERM; preStop 5 + drain 20 + close 3 stay below the pod's 30",
    )
    faults: str = setting(
        "COURSEGEN_FAULTS",
        default="",
        doc="fault points to arm, for tests only: point=kill|raise|hang@N, comma-separated",
    )
    faults_log: Path | None = setting(
        "COURSEGEN_FAULTS_LOG",
        default=None,
        doc="file to which a fault point adds a line when it fires, for tests only",
    )
    start_wait_seconds: float = setting(
        "START_WAIT_SECONDS",
        default=60.0,
        unit="s",
        minimum=0,
        maximum=86_400,
        doc="longest wait at start for what is not there yet",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CommonSettings(ProcessSettings):
    """What every process of the pipeline is told."""

    database_url: Secret = setting(
        "DATABASE_URL",
        parse=database_address,
        doc="PostgreSQL to use: postgresql://user@host:5432/name; TLS by ?sslmode=verify-full",
    )
    redis_url: Secret = setting(
        "REDIS_URL",
        default=Secret("redis://localhost:6379"),
        parse=redis_address,
        doc="Redis to use: redis://host:6379/0, rediss:// for TLS; its number is this installation's alone",
    )
    pool_min_size: int = setting(
        "DATABASE_POOL_MIN",
        default=1,
        unit="connections",
        minimum=0,
        maximum=1000,
        doc="connections kept open while idle",
    )
    pool_max_size: int = setting(
        "DATABASE_POOL_MAX",
        default=10,
        unit="connections",
        minimum=1,
        maximum=1000,
        doc="most connections of one process",
    )
    statement_seconds: float = setting(
        "DATABASE_STATEMENT_SECONDS",
        default=30.0,
        unit="s",
        minimum=0.1,
        maximum=3600,
        doc="longest time one statement may take before PostgreSQL ends it",
    )
    traces_endpoint: str = setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        default="",
        parse=parse_endpoint,
        doc="OpenTelemetry collector that spans are sent to by OTLP/HTTP, as http://collector:4318; empty: nowhere. The trace "
        "itself is carried on all the same",
    )
    traces_ratio: float = setting(
        "OTEL_TRACES_SAMPLER_ARG",
        default=1.0,
        minimum=0,
        maximum=1,
        doc="share of the traces begun here whose spans are sent; of a trace that a caller has begun the caller decides",
    )
    acquire_seconds: float = setting(
        "DATABASE_ACQUIRE_SECONDS",
        default=5.0,
        unit="s",
        minimum=0.1,
        maximum=600,
        doc="longest wait for a free connection, or for a new one to open",
    )
    start_wait_seconds: float = setting(
        "START_WAIT_SECONDS",
        default=60.0,
        unit="s",
        minimum=0,
        maximum=86_400,
        doc="longest wait at start for PostgreSQL, its schema and a login it accepts, in which the process lives and is not "
        "ready; after it the process ends with exit code 1, without it (0) at once. Time enough to start a server or to "
        "migrate beside it; on Kubernetes the chart gives as long as a migration may take",
    )
