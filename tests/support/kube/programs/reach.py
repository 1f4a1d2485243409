"""Runs in a pod: tries addresses given as "tcp 10.0.0.1 3000" or "udp …", all at once; a line for each, with what came of it.

open: somebody answered. refused: the packet arrived where nobody listens. dropped: nothing came back.
"""

import asyncio
import pathlib
import socket
import sys

SECONDS = 2.0
QUESTION = b"\x12\x34\x01\x00\x00\x01" + bytes(6) + b"\x09localhost\x00\x00\x01\x00\x01"


async def ask(address: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    family, kind, *_, there = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as asking:
        asking.setblocking(False)
        asking.connect(there)
        await loop.sock_sendall(asking, QUESTION)
        await loop.sock_recv(asking, 1024)


async def connect(address: str, port: int) -> None:
    _, writer = await asyncio.open_connection(address, port)
    writer.transport.abort()


async def attempt(protocol: str, address: str, port: str) -> str:
    if address == "nameserver":
        lines = pathlib.Path("/etc/resolv.conf").read_text(encoding="utf-8").splitlines()
        address = next(line.split()[1] for line in lines if line.startswith("nameserver"))
    try:
        async with asyncio.timeout(SECONDS):
            await (ask if protocol == "udp" else connect)(address, int(port))
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "dropped"
    except OSError as error:
        return repr(error)
    return "open"


async def main() -> None:
    targets = sys.argv[1:]
    outcomes = await asyncio.gather(*(attempt(*each.split()) for each in targets))
    for target, outcome in zip(targets, outcomes, strict=True):
        print(target, outcome, sep="\t")


asyncio.run(main())
