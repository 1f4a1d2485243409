"""The state folder: ours alone, one stack at a time, removed only when it is one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli.errors import StackError
from services.cli.stack import spawn
from services.cli.stack.state import Running, StateFolder, default_folder
from tests.support.servers import server_folder


@pytest.fixture
def state() -> Iterator[StateFolder]:
    with server_folder() as folder:
        opened = StateFolder(folder / "state")
        opened.open()
        yield opened


def test_coursegen_home_names_the_folder(tmp_path: Path) -> None:
    """The variable wins over every default."""
    assert default_folder({"COURSEGEN_HOME": str(tmp_path)}) == tmp_path


def test_each_checkout_has_a_folder_of_its_own_by_default() -> None:
    """Two clones on one machine do not share their data, and root's folder lies where a borrowed account can enter."""
    folder = default_folder({"XDG_STATE_HOME": "/state"})

    assert folder == default_folder({"XDG_STATE_HOME": "/state"})
    if os.geteuid() == 0:
        assert folder.parent == Path("/var/tmp")
    else:
        assert folder.parent == Path("/state/coursegen")


def test_secrets_are_made_once_and_readable_by_their_owner_alone(state: StateFolder) -> None:
    """A second look finds the same; the file's mode is 0600."""
    first = state.secrets()

    assert state.secrets() == first
    assert (state.root / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert len({first.owner_password, first.application_password, first.redis_password, first.jwt_secret}) == 4
    assert len(first.jwt_secret) >= 32


def test_a_stack_of_an_earlier_version_gets_what_it_lacks(state: StateFolder) -> None:
    """Its passwords stay; what is new is made once."""
    before = state.secrets()
    path = state.root / "secrets.json"
    kept = json.loads(path.read_text())
    del kept["stack_id"]
    path.write_text(json.dumps(kept))
    after = state.secrets()

    assert (after.jwt_secret, after.owner_password) == (before.jwt_secret, before.owner_password)
    assert after.stack_id
    assert after.stack_id != before.stack_id
    assert state.secrets() == after


def test_ports_are_remembered_beside_the_secrets(state: StateFolder) -> None:
    """Keeping ports changes nothing else."""
    before = state.secrets()
    state.keep_ports(1111, 2222)

    after = state.secrets()

    assert (after.postgres_port, after.redis_port) == (1111, 2222)
    assert after.jwt_secret == before.jwt_secret


def test_only_one_stack_holds_the_folder(state: StateFolder) -> None:
    """A second try finds it taken and knows by whom; with the descriptor the lock goes."""
    lock = state.lock()
    assert lock is not None

    assert state.lock() is None
    assert state.is_locked()
    assert state.holder() == os.getpid()
    os.close(lock)
    assert not state.is_locked()


def test_the_lock_outlives_its_taker_while_a_child_has_the_descriptor(state: StateFolder) -> None:
    """The guardian inherits it: a new stack waits until the rest of a killed one is gone."""
    lock = state.lock()
    assert lock is not None
    child = subprocess.Popen(
        [sys.executable, "-ISc", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=(lock,)
    )
    os.close(lock)
    try:
        assert state.is_locked()
    finally:
        child.communicate()
    assert not state.is_locked()


def test_addresses_count_only_while_the_stack_runs(state: StateFolder) -> None:
    """What was announced by a stack that is gone is no running stack, but it is remembered."""
    announced = Running(1, "http://a", "http://m", "postgresql://d", "redis://r", {"api": 5})
    lock = state.lock()
    assert lock is not None
    state.announce(announced)

    assert state.running() == announced
    os.close(lock)
    assert state.running() is None
    assert state.last_running() == announced


def test_a_folder_that_is_not_ours_to_remove_stays(tmp_path: Path) -> None:
    """Purging a folder without our mark removes nothing."""
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(StackError, match="nothing was removed"):
        StateFolder(tmp_path).purge()

    assert (tmp_path / "thesis.txt").exists()


def test_purging_removes_everything(state: StateFolder) -> None:
    """And once more does no harm."""
    state.purge()

    assert not state.root.exists()
    state.purge()


def test_another_layout_is_refused_with_the_ways_out(state: StateFolder) -> None:
    """The message says what made it and what can be done."""
    (state.root / "layout").write_text("99\n")

    with pytest.raises(StackError, match=r"layout 99.*coursegen down --purge"):
        state.open()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root borrows an account")
def test_root_is_told_when_the_servers_account_cannot_enter(tmp_path: Path) -> None:
    """A folder below a closed one is refused before anything is started."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)

    with pytest.raises(StackError, match="cannot enter"):
        StateFolder(closed / "state").open()


def test_a_zombie_holds_nothing() -> None:
    """A killed process that nobody has waited for yet is not running."""
    child = subprocess.Popen([sys.executable, "-ISc", ""], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read()
    child.stdout.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert not spawn.is_running(child.pid)
    child.wait()
    assert spawn.is_running(os.getpid())
