"""Writes what psql, pg_dump and redis-cli need to find their servers, so that no password becomes an argument.

/tools/pg_service.conf has the services `app` (DATABASE_URL) and, where the release knows him, `owner` (OWNER_DATABASE_URL);
/tools/redis is redis-cli for REDIS_URL, /tools/stream for the database that holds the stream of messages, maybe another server's.
All of it lies in memory and goes with the pod.
"""

import os
import pathlib
import shlex
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

FOLDER = pathlib.Path(os.environ.get("TOOLS_FOLDER", "/tools"))


def places(netloc):
    """Hosts and ports of an address, comma-separated as libpq has them: there may be standbys."""
    hosts, ports = [], []
    for each in netloc.rpartition("@")[2].split(","):
        host, colon, port = each.rpartition(":")
        bare = not colon or each.endswith("]")
        hosts.append((each if bare else host).strip("[]"))
        ports.append("5432" if bare else port)
    return ",".join(hosts), ",".join(ports)


def service(name, url):
    """One service of libpq; parameters of the address keep their names."""
    parts = urlsplit(url)
    host, port = places(parts.netloc)
    known = {
        "host": host,
        "port": port,
        "dbname": unquote(parts.path.lstrip("/")),
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        **dict(parse_qsl(parts.query)),
    }
    return "\n".join([f"[{name}]", *(f"{key}={value}" for key, value in known.items() if value), ""])


def stream_url(environment):
    """The address of the stream of messages: of REDIS_HOST, or a database of the server of REDIS_URL."""
    database = environment.get("REDIS_STREAM_DB", "1")
    host = environment.get("REDIS_HOST")
    if not host:
        return urlunsplit(urlsplit(environment["REDIS_URL"])._replace(path=f"/{database}"))
    password = environment.get("REDIS_PASSWORD")
    login = f":{quote(password, safe='')}@" if password else ""
    place = f"[{host}]" if ":" in host else host
    return f"redis://{login}{place}:{environment.get('REDIS_PORT', '6379')}/{database}"


def redis_command(url):
    """A script that calls redis-cli for this server; the password is in its environment."""
    parts = urlsplit(url)
    command = ["redis-cli", "-h", parts.hostname or "localhost", "-p", str(parts.port or 6379)]
    if parts.path.strip("/"):
        command += ["-n", parts.path.strip("/")]
    if parts.username:
        command += ["--user", unquote(parts.username)]
    if parts.scheme == "rediss":
        command.append("--tls")
    lines = ["#!/bin/sh"]
    if parts.password:
        lines.append(f"export REDISCLI_AUTH={shlex.quote(unquote(parts.password))}")
    return "\n".join([*lines, f'exec {shlex.join(command)} "$@"', ""])


def write(name, text, mode):
    """A file that only this user reads."""
    path = FOLDER / name
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def main():
    names = {"app": "DATABASE_URL", "owner": "OWNER_DATABASE_URL"}
    known = [service(name, os.environ[variable]) for name, variable in names.items() if variable in os.environ]
    write("pg_service.conf", "".join(known), 0o400)
    write("redis", redis_command(os.environ["REDIS_URL"]), 0o500)
    write("stream", redis_command(stream_url(os.environ)), 0o500)


main()
