"""Which stack a command talks to: the one that variables name, else the one that runs on the state folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from services.cli import tokens
from services.cli.errors import CalledWrongly, StackError, StackStopped
from services.cli.stack.processes import jwt_secret
from services.cli.stack.state import Running, StateFolder, default_folder
from services.kernel.errors import DatabaseUnavailable
from services.kernel.settings import database_address

if TYPE_CHECKING:
    from services.kernel.database import Connection


@dataclass(frozen=True, slots=True)
class ApiTarget:
    """An api and a token for it."""

    url: str
    token: str
    stack_id: str | None = None
    """Of the local stack it must belong to; None for an api elsewhere."""

    @property
    def place(self) -> str:
        """Its address, unless it is that of the caller's own stack, whose address may change."""
        return "" if self.stack_id else self.url


def state_folder(environ: Mapping[str, str]) -> StateFolder:
    """The caller's state folder; not made yet."""
    return StateFolder(default_folder(environ))


def running_stack(environ: Mapping[str, str]) -> Running:
    """The stack that runs on the caller's state folder.

    Raises:
        StackStopped: none does.
    """
    state = state_folder(environ)
    running = state.running()
    if running is None:
        raise StackStopped(f"No local stack runs on {state.root}. Start one with `coursegen up`.")
    return running


def api_target(environ: Mapping[str, str], *, role: str | None = None) -> ApiTarget:
    """The api that API_URL and API_TOKEN name, else that of the running stack; a token made here has `role`.

    On the caller's own stack one is made also where API_TOKEN, such as `coursegen env` sets, lacks the role.

    Raises:
        CalledWrongly: API_URL is no address, or that of an api elsewhere without a token for it in API_TOKEN.
        StackStopped: neither is there.
    """
    url, token = environ.get("API_URL"), environ.get("API_TOKEN")
    if url:
        require_address(url)
    if url and not token:
        _require_own(url, state_folder(environ).running())
    running = state_folder(environ).running() if url and token else running_stack(environ)
    own = running is not None and (not url or is_same_api(url, running.api_url))
    if own and token and role is not None and not tokens.has_role(token, role):
        token = None
    return ApiTarget(
        url or running_stack(environ).api_url,
        token or developer_token(environ, role=role),
        stack_id=running.stack_id if running is not None and own else None,
    )


def require_address(url: str) -> None:
    """Let only what may be the address of an api pass.

    Raises:
        CalledWrongly: says what API_URL lacks.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise CalledWrongly(f"API_URL is {url!r}; it must begin with http:// or https://.")
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole:
        raise CalledWrongly(f"API_URL is {url!r}; it must name a host, and no port or a number from 1 to 65535.")


def _require_own(url: str, running: Running | None) -> None:
    """What is signed with this machine's secret is for the stack that has it, and told to nobody else."""
    if running is None or not is_same_api(url, running.api_url):
        raise CalledWrongly(
            f"API_URL names {url}, which is not the stack that runs here, and there is no token for it: set API_TOKEN, or "
            "unset API_URL to use the stack of `coursegen up`."
        )


def is_same_api(url: str, other: str) -> bool:
    """Whether both name the same api: `localhost` is this machine, as 127.0.0.1 is."""
    return _canonical(url) == _canonical(other)


def _canonical(url: str) -> str:
    return url.rstrip("/").lower().replace("://localhost:", "://127.0.0.1:")


def database_url(environ: Mapping[str, str]) -> str:
    """The database that DATABASE_URL names, else that of the running stack.

    Raises:
        StackError: DATABASE_URL is no such address.
        StackStopped: neither is there.
    """
    named = environ.get("DATABASE_URL")
    if named:
        try:
            return database_address(named).reveal()
        except ValueError as error:
            raise StackError(f"DATABASE_URL {error}.") from error
    try:
        return running_stack(environ).database_url
    except StackStopped as error:
        raise StackStopped(f"{error.message} Or name a database in DATABASE_URL.") from error


@asynccontextmanager
async def database_session(environ: Mapping[str, str], application: str) -> AsyncIterator[Connection]:
    """A session with that database for the length of the block; errors leave it as ours.

    Raises:
        StackError: it cannot be reached, with what to look at.
    """
    from services.kernel.database import connect, translated

    url = database_url(environ)
    try:
        session = await connect(url, application=application)
    except DatabaseUnavailable as error:
        raise StackError(f"{error.message}. Look at DATABASE_URL, or unset it to use the running stack.") from error
    try:
        with translated():
            yield session
    finally:
        await session.close()


def signing_secret(environ: Mapping[str, str]) -> str:
    """What signs the tokens of the caller's stack: JWT_SECRET, else the secret in the state folder.

    Raises:
        StackStopped: no stack was ever started here.
    """
    named = environ.get("JWT_SECRET")
    if named:
        return named
    state = state_folder(environ)
    if not state.has_secrets():
        raise StackStopped("There is no secret to sign with. Start a stack with `coursegen up`, or set JWT_SECRET.")
    return jwt_secret(state.secrets(), environ)


def developer_token(environ: Mapping[str, str], *, role: str | None = None) -> str:
    """A token of the fixtures' user for the caller's stack."""
    audience, issuer = environ.get("JWT_AUDIENCE"), environ.get("JWT_ISSUER")
    return tokens.mint(signing_secret(environ), role=role, audience=audience, issuer=issuer)
