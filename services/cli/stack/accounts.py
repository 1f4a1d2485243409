"""The operating-system account that the embedded servers run under.

PostgreSQL refuses to run as root. No user is created for it and no foreign folder changes its mode: root
borrows an account that every system has, and anyone else keeps their own.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from services.cli.errors import StackError

_BORROWED = ("nobody", "postgres", "daemon")
_OTHERS_MAY_RUN = stat.S_IROTH | stat.S_IXOTH


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine by number."""

    name: str
    uid: int
    gid: int


def server_account() -> Account | None:
    """The account that servers drop to, or None when this process is not root and they keep its own.

    Raises:
        StackError: root on a system without any of the accounts that may be borrowed.
    """
    if os.geteuid() != 0:
        return None
    for name in _BORROWED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise StackError(
        "PostgreSQL does not run as root, and this system has none of the accounts "
        f"{', '.join(_BORROWED)}. Run coursegen as an ordinary user."
    )


def own_folder(folder: Path, account: Account | None) -> Path:
    """Make `folder` private to the account (mode 0700) and return it; its parents must let it through."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if account is not None:
        os.chown(folder, account.uid, account.gid)
    folder.chmod(0o700)
    return folder


def reachable_copy(tree: Path, account: Account | None, cache: Path) -> Path:
    """`tree` itself when the account can read it, else a copy of it below `cache`.

    A clone below root's home cannot be read by a borrowed account, and opening root's home is not ours to do.
    """
    if account is None or _open_to_others(tree):
        return tree
    copy = cache / tree.name
    if not copy.exists():
        cache.mkdir(parents=True, exist_ok=True)
        cache.chmod(0o755)
        unfinished = cache / f".{tree.name}.{os.getpid()}"
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(tree, unfinished, symlinks=True, ignore=shutil.ignore_patterns("include", "pkgconfig"))
        _open_tree(unfinished)
        try:
            unfinished.rename(copy)
        except OSError:
            shutil.rmtree(unfinished, ignore_errors=True)
            if not copy.exists():  # no other process was faster: something else is wrong
                raise
    return copy


def _open_to_others(tree: Path) -> bool:
    resolved = tree.resolve()
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (resolved, *resolved.parents))


def _open_tree(tree: Path) -> None:
    tree.chmod(0o755)
    for path in tree.rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (_OTHERS_MAY_RUN if path.is_dir() else stat.S_IROTH) | _executable(path))


def _executable(path: Path) -> int:
    return stat.S_IXOTH if path.stat().st_mode & stat.S_IXUSR else 0
