"""What can go wrong in the command, each with the next step in its message."""

from __future__ import annotations

from services.kernel.errors import OperatorError


class StackError(OperatorError):
    """The local stack cannot run as things stand."""

    code = "stack_error"


class CalledWrongly(StackError):
    """The command cannot be meant as it was called; exit code 2, of `verify` 64."""

    code = "called_wrongly"


class ServerMissing(StackError):
    """A server that the local stack needs is not on this machine."""

    code = "server_missing"


class StackStopped(StackError):
    """No local stack is running; start one with `coursegen up`."""

    code = "stack_stopped"


class StackBusy(StackError):
    """A local stack already runs on this state folder."""

    code = "stack_busy"
