"""The ten checks of a deployment: verify."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping

import typer

from services.cli import output
from services.cli.commands.options import AsJson
from services.cli.errors import CalledWrongly
from services.cli.target import is_same_api, require_address, state_folder
from services.cli.verification import release, report
from services.cli.verification.advice import ELSEWHERE, LOCAL, Place
from services.cli.verification.checks import judge
from services.cli.verification.collecting import Addresses, collect, kept_by, messages_of, stream_of
from services.cli.verification.facts import Facts
from services.cli.verification.findings import exit_code
from services.kernel.errors import SettingsInvalid
from services.kernel.queries import Queries
from services.kernel.settings import database_address, redis_address

_QUERIES = Queries.load("services.cli", "verification.sql")
_USUAL = "http://127.0.0.1:3000"


def verify(*, as_json: AsJson = False) -> None:
    """Check Redis, database, migrations, tables, api, outbox, initiations, fallbacks, pending jobs and events.

    Of the stack that runs here, or of what API_URL, DATABASE_URL, REDIS_URL and, where messages have a Redis of their own,
    REDIS_HOST name; changes nothing. What is not named is not seen, which is a warning. For each check that does not pass the
    next command is printed. Exit codes: 0 all passed, 1 one failed, 2 there are warnings only, 64 called wrongly. For a cluster:
    scripts/verify-deployment.sh --namespace NAMESPACE.
    """
    addresses, place = _looked_at(os.environ)
    statements = {name: _QUERIES[name] for name in _QUERIES}
    findings = judge(Facts(asyncio.run(collect(addresses, statements)), release.wanted()))
    if as_json:
        output.document(report.document(findings, place))
    else:
        coloured = report.is_coloured(os.environ, is_terminal=sys.stdout.isatty())
        for line in report.lines(findings, place, coloured=coloured):
            output.say(line)
    raise typer.Exit(exit_code(findings))


def _looked_at(environ: Mapping[str, str]) -> tuple[Addresses, Place]:
    """What variables name, and for the rest the caller's own stack, unless API_URL names another one.

    Raises:
        CalledWrongly: a variable cannot be meant as it is written.
    """
    _require_addresses(environ)
    url = environ.get("API_URL")
    running = state_folder(environ).running()
    if running is not None and url and not is_same_api(url, running.api_url):
        running = None
    here = running is not None or not url
    url = url or (running.api_url if running is not None else _USUAL)
    redis = environ.get("REDIS_URL") or (running.redis_url if running is not None else None)
    try:
        stream, messages = stream_of(environ), messages_of(environ, redis)
    except SettingsInvalid as error:
        raise CalledWrongly(error.message) from error
    addresses = Addresses(
        api=url,
        database=environ.get("DATABASE_URL") or (running.database_url if running is not None else None),
        redis=redis,
        stack_id=running.stack_id if running is not None else None,
        stream=stream,
        messages=messages,
        kept_by=kept_by(environ),
    )
    return addresses, Place(LOCAL if here else ELSEWHERE, url=url)


def _require_addresses(environ: Mapping[str, str]) -> None:
    """Nothing is checked by halves: what is named must be an address."""
    url = environ.get("API_URL")
    if url and "@" in url:
        raise CalledWrongly("API_URL must hold no password: nothing that is checked needs one.")
    if url:
        require_address(url)
    for name, address in (("DATABASE_URL", database_address), ("REDIS_URL", redis_address)):
        if environ.get(name):
            try:
                address(environ[name])
            except ValueError as error:
                raise CalledWrongly(f"{name} {error}.") from error
