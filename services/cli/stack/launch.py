"""Start one program so that it cannot outlive its supervisor.

Called as `launch.py SIGNAL PARENT UID GID PROGRAM ARGUMENTS...`: it gives up root where asked, then asks the
Linux kernel to send SIGNAL when the parent dies, and becomes the program under the same process id. The order
matters: changing the user clears the request. Run by path with `-I -S`, so it imports the standard library
alone and costs some ten milliseconds. Elsewhere than on Linux the guardian does the work alone.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Become the program; returns only if the parent is gone already."""
    death_signal, parent, uid, gid = (int(each) for each in arguments[:4])
    program = arguments[4:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() == parent:
        os.execvp(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
