"""pgbench, PostgreSQL's own load generator: what the database can do when the client costs next to nothing."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support.courses import Courses
from services.cli.stack import postgres
from tests.support.tokens import ORGANIZATION, USER

SCRIPT = f"""\
\\set i :i + 1
\\set n :first + :client_id * :share + :i
SELECT initiate_generation_v2(('[{{"courseId":"00000000-0000-4000-8000-' || lpad(to_hex(:n::bigint), 12, '0')
  || '","userId":"{USER}","organizationId":"{ORGANIZATION}","title": null,"hasFiles": false,"style": null,"language": null,'
  || '"webhookUrl": null,"tier":"STANDARD","priority": 5,"clientKey": null,"requestId":"pgbench-' || :n::bigint
  || '","initiatedBy":"API_INITIATE"}}]')::jsonb);
"""
"""One initiation, as the command handler sends it, of a course that no other call names.

Blanks stand behind colons that a name follows, since pgbench would take `:null` for a variable.
"""


WARM_UP = 10
"""First calls of each client that do not count: a new session plans every statement of the functions first, some 6 ms. A
service keeps its sessions, so this is none of its costs."""


@dataclass(frozen=True, slots=True)
class Result:
    """One run of pgbench."""

    per_second: float
    """While all clients were busy and past their first calls."""
    milliseconds: list[float]
    """How long each call took, the first ones of each client left out."""


async def initiate(url: str, courses: Courses, *, clients: int, calls: int) -> Result:
    """Call the function `calls` times from `clients` connections, each prepared once."""
    share = calls // clients
    first = courses.take(share * clients)
    with tempfile.TemporaryDirectory(prefix="coursegen-bench-") as folder:
        script = _write_script(Path(folder))
        argv = [
            str(postgres.find_binaries().path("pgbench")),
            "--no-vacuum", "--protocol=prepared", "--log", f"--log-prefix={folder}/calls",
            f"--client={clients}", f"--jobs={min(2, clients)}", f"--transactions={share}",
            "-D", "i=-1", "-D", f"first={first}", "-D", f"share={share}", f"--file={script}", url,
        ]  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        return _read(output.decode(), Path(folder))


def _write_script(folder: Path) -> Path:
    path = folder / "initiate.sql"
    path.write_text(SCRIPT, encoding="ascii")
    return path


def _read(output: str, folder: Path) -> Result:
    assert "number of failed transactions: 0 " in output, output
    by_client: dict[str, list[_Call]] = {}
    for log in folder.glob("calls*"):
        for line in log.read_text(encoding="ascii").splitlines():
            client, _, microseconds, _, seconds, fraction = line.split()[:6]
            ended = int(seconds) + int(fraction) / 1e6
            by_client.setdefault(client, []).append(_Call(ended, int(microseconds) / 1000))
    warm = [calls[WARM_UP:] for calls in by_client.values()]
    begin, end = max(calls[0].ended for calls in warm), min(calls[-1].ended for calls in warm)
    counted = sum(begin < call.ended <= end for calls in warm for call in calls)
    return Result(counted / (end - begin), [call.milliseconds for calls in warm for call in calls])


@dataclass(frozen=True, slots=True)
class _Call:
    ended: float
    milliseconds: float
