"""A page for whoever is on call, typed on the local stack: its commands are a cluster's, so that the words are defined anew.

`sql`, `redis`, `stream`, `ask` and `admin` do what the checklist's do, without pods. `kubectl` and `helm` show the stack's
processes and logs as a cluster would those of pods, and write down what is to be changed: `Watch.obeys` does it, as a cluster's
controllers do.
"""

from __future__ import annotations

import re
import shlex
from typing import Final, cast

from services.cli.stack import redis_binary
from tests.support import servers, tokens
from tests.support.fences import fences
from tests.support.servers import REPOSITORY, database_number
from tests.support.stack import Kind, Process, Stack
from tests.support.typist import Typist

_KINDS: Final = {
    "api": "api",
    "outbox-relay": "outbox_relay",
    "persistence-worker": "persistence_worker",
    "worker-analysis": "stage_worker",
}
"""The component of a cluster, and the process of the local stack."""

_WORDS: Final = r"""
export NS=courses NAME=coursegen RELEASE=coursegen CHART=charts/coursegen VALUES=courses-values.yaml
sql() { psql "$DATABASE_URL" -X -v ON_ERROR_STOP=1 -c "$1"; }
owner() { psql "$OWNER_URL" -X -v ON_ERROR_STOP=1 -c "$1"; }
redis() { redis-cli -u "$REDIS_URL" --no-auth-warning "$@"; }
stream() { redis "$@"; }
ask() { curl -sSf "$(cat "$PLACES/$1-$2")$3"; }
admin() {
    local body
    body=$(python3 -c 'import json, sys
def read(text):
    try:
        return json.loads(text)
    except ValueError:
        return text
print(json.dumps({name: read(value) for name, value in (each.split("=", 1) for each in sys.argv[1:])}))' "${@:3}")
    [ "$1" = GET ] && set -- "$1" "$2" || set -- "$1" "$2" -d "$body"
    curl -sSf -X "$1" "$(cat "$PLACES/api-3000")/api/admin/$2" "${@:3}" \
        -H "Authorization: Bearer $ADMIN" -H 'Content-Type: application/json'
}
kubectl() {
    case " $* " in
    *" logs "*) cat "$LOGS"/*"-$(kind_of "$*").log" ;;
    *" get "*) (cd "$PLACES" && ls) ;;
    *" top "*) false ;;
    *) orders kubectl "$@" ;;
    esac
}
helm() { orders helm "$@"; }
orders() { echo "$*" >>"$ORDERS"; }
kind_of() { grep -oE 'component=[a-z-]+' <<<"$1" | cut -d= -f2 | tr - _; }
"""


class Page:
    """One runbook."""

    def __init__(self, name: str) -> None:
        self._text = (REPOSITORY / "docs" / "runbooks" / f"{name}.md").read_text(encoding="utf-8")

    def block(self, heading: str) -> str:
        """The commands in the block under a heading."""
        return "".join(each.text for each in fences(self._under(heading)))

    def command(self, heading: str, begins: str) -> str:
        """The command in a sentence under a heading that begins so."""
        (found,) = set(self.commands(heading, begins))
        return found

    def commands(self, heading: str, begins: str) -> list[str]:
        """Those in sentences under a heading that begin so, in their order."""
        return [str(each) for each in re.findall(r"`([^`\n]+)`", self._under(heading)) if each.startswith(begins)]

    def mends(self, seen: str) -> str:
        """What stands beside what one sees, in the table under Mend."""
        rows = [line for line in self._under("Mend").splitlines() if line.startswith("| ")]
        (row,) = [line for line in rows if seen in line.split(" | ")[0]]
        return row.split(" | ", 1)[1]

    def command_beside(self, seen: str) -> str:
        """The command in that row."""
        found = re.findall(r"`((?:kubectl|helm|sql|stream|admin|ask) [^`\n]+)`", self.mends(seen))
        return str(found[0])

    def _under(self, heading: str) -> str:
        return self._text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


class Watch:
    """Somebody who is on call for a local stack."""

    def __init__(self, stack: Stack, owner_url: str) -> None:
        self._stack = stack
        self._places = stack.folder / "places"
        self._orders = stack.folder / "orders"
        self._settings: dict[str, str] = {}
        programs = stack.folder / "programs"
        for folder in (self._places, programs):
            folder.mkdir()
        client = redis_binary.find_client(redis_binary.find_server(servers.cache_folder()))
        assert client is not None
        for name, program in (("psql", servers.psql()), ("redis-cli", client)):
            (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(str(program))} "$@"\n')
            (programs / name).chmod(0o755)
        url = stack.environment["REDIS_URL"]
        assert stack.environment["REDIS_STREAM_DB"] == str(database_number(url))
        environment = {
            **stack.environment,
            "PATH": f"{programs}:{stack.environment['PATH']}",
            "OWNER_URL": owner_url,
            "ADMIN": tokens.admin_bearer()["Authorization"].removeprefix("Bearer "),
            "PLACES": str(self._places),
            "LOGS": str(stack.folder),
            "ORDERS": str(self._orders),
        }
        self._typist = Typist(environment, stack.folder, _WORDS)

    def types(self, commands: str) -> str:
        """What commands print; each must end well."""
        self._say_where()
        return self._typist.types(commands)

    def looks(self, commands: str) -> str:
        """What commands print that only look: where a part is broken some of them fail."""
        return self.types(f"set +e +o pipefail\nexec 2>&1\n{commands}true\n")

    async def obeys(self) -> list[Process]:
        """Do what was ordered of the cluster since: scale, and restart with other settings. Returns what was started."""
        lines = self._orders.read_text(encoding="utf-8").splitlines() if self._orders.exists() else []
        self._orders.unlink(missing_ok=True)
        assert lines, "nothing was ordered"
        started: list[Process] = []
        for line in lines:
            scaled = re.search(r" scale deployment/coursegen-([a-z-]+) --replicas=(\d+)$", line)
            change = re.search(r"^helm upgrade .* --set config\.persistence\.([A-Z_]+)=(\S+)$", line)
            assert scaled or change, line
            if scaled:
                started += await self._scale(cast(Kind, _KINDS[scaled[1]]), int(scaled[2]))
            if change:
                started += await self.changes(**{change[1]: change[2]})
        return started

    async def changes(self, **settings: str) -> list[Process]:
        """Restart the persistence-workers with these variables, as an upgrade of the release does."""
        self._settings |= settings
        running = self._stack.running("persistence_worker")
        for process in running:
            await process.stopped()
        return [await self._stack.start("persistence_worker", env=self._settings) for _ in running]

    async def _scale(self, kind: Kind, replicas: int) -> list[Process]:
        wanted = range(replicas - len(self._stack.running(kind)))
        return [await self._stack.start(kind, env=self._settings) for _ in wanted]

    def _say_where(self) -> None:
        """The addresses of what runs, by component and port."""
        for path in self._places.iterdir():
            path.unlink()
        for component, kind in _KINDS.items():
            for process in self._stack.running(cast(Kind, kind)):
                (self._places / f"{component}-9090").write_text(f"http://127.0.0.1:{process.metrics_port}")
                if kind == "api":
                    (self._places / f"{component}-3000").write_text(process.url)
