"""One attempt over the wire: which addresses are connected to, whom TLS trusts, and how little a receiver can do to us."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from uuid import uuid4

import pytest

from services.kernel.errors import SettingsInvalid, UpstreamUnavailable
from services.kernel.settings import load
from services.kernel.webhooks.addresses import AddressRules
from services.kernel.webhooks.urls import UrlRules
from services.stage_worker import builtin
from services.stage_worker.webhooks.network import AddressRefused, GuardedBackend
from services.stage_worker.webhooks.resolving import MOST_PER_ORGANIZATION, Resolver, Unresolved, on_behalf_of
from services.stage_worker.webhooks.sender import LARGEST_ANSWER, Answer, AttemptFailed, Sender, tls_context
from services.stage_worker.webhooks.settings import DeliverySettings
from tests.support.receiver import LOCAL_RECEIVERS, Receiver, answer, open_receiver
from tests.support.tls import make_certificate

LOOPBACK = AddressRules([ip_network("127.0.0.0/8")])
NOWHERE = AddressRules()


def names(**table: list[str]) -> Callable[[str, int], object]:
    """A name server that knows these."""

    async def resolve(host: str, port: int) -> list[str]:
        return table[host.replace(".", "_")]

    return resolve


@asynccontextmanager
async def sending(
    rules: AddressRules = LOOPBACK, *, resolve: object = None, seconds: float = 5.0, ca: Path | None = None
) -> AsyncIterator[Sender]:
    """A sender under the given rules."""
    sender = Sender(GuardedBackend(rules, resolve), tls_context(ca), seconds=seconds)  # type: ignore[arg-type]
    yield sender
    await sender.close()


async def post(sender: Sender, url: str) -> Answer:
    """Send something to an address that the text rules let pass."""
    anywhere = AddressRules([ip_network("0.0.0.0/0"), ip_network("::/0")])
    return await sender.post(UrlRules(allow_http=True, addresses=anywhere).target(url), {"X-One": "1"}, b"{}")


async def test_a_name_that_leads_inside_is_not_connected_to(receiver: Receiver) -> None:
    """Whatever the name looked like when it was given."""
    async with sending(NOWHERE, resolve=names(hooks_example_com=["127.0.0.1"])) as sender:
        with pytest.raises(AttemptFailed, match=r"hooks\.example\.com leads to an address .* \(loopback\)"):
            await post(sender, f"http://hooks.example.com:{receiver.port}/")

    assert receiver.connections == 0


@pytest.mark.parametrize(
    "inner", ["169.254.169.254", "10.0.0.8", "::1", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]
)
@pytest.mark.parametrize("first", [True, False])
async def test_one_internal_address_among_several_is_enough(receiver: Receiver, inner: str, first: bool) -> None:
    """Nothing is sent to the others either: such a name is an attempt at something."""
    found = [inner, "127.0.0.1"] if first else ["127.0.0.1", inner]
    async with sending(resolve=names(hooks_example_com=found)) as sender:
        with pytest.raises(AttemptFailed, match="must not be called"):
            await post(sender, f"http://hooks.example.com:{receiver.port}/")

    assert receiver.connections == 0


async def test_a_name_server_that_changes_its_mind_gains_nothing(receiver: Receiver) -> None:
    """The name is resolved once, and the address that was checked is the one that is connected to."""
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    async with sending(resolve=resolve) as sender:
        assert (await post(sender, f"http://rebinding.example:{receiver.port}/x")).status == 204
        with pytest.raises(AttemptFailed, match="private"):
            await post(sender, f"http://rebinding.example:{receiver.port}/x")

    assert asked == ["rebinding.example"] * 2
    assert receiver.received[0].headers["host"] == f"rebinding.example:{receiver.port}"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "localhost", "[::ffff:127.0.0.1]"])
async def test_no_spelling_of_the_loopback_comes_through(receiver: Receiver, host: str) -> None:
    """Even if the rules for texts let it pass, what the system makes of it is judged."""
    backend = GuardedBackend(NOWHERE)
    with pytest.raises((AddressRefused, Unresolved)):
        await backend.connect_tcp(host.strip("[]"), receiver.port, timeout=2)

    assert receiver.connections == 0


async def test_an_address_that_does_not_answer_is_followed_by_the_next(receiver: Receiver) -> None:
    """A receiver with several is reachable as long as one of them is."""
    async with sending(resolve=names(two_example=["127.0.0.2", "127.0.0.1"])) as sender:
        assert (await post(sender, f"http://two.example:{receiver.port}/")).status == 204


async def test_names_without_an_address_and_closed_ports_are_said_plainly() -> None:
    """For the people who look after the receiver."""
    async with open_receiver() as gone:
        port = gone.port
    async with sending() as sender:
        with pytest.raises(AttemptFailed, match=r"the name no-such\.invalid cannot be resolved"):
            await post(sender, "http://no-such.invalid/")
        with pytest.raises(AttemptFailed, match="no answer"):
            await post(sender, f"http://127.0.0.1:{port}/")
    async with sending(resolve=names(empty_example=[])) as sender:
        with pytest.raises(AttemptFailed, match="has no address"):
            await post(sender, "http://empty.example/")


async def test_names_that_hang_hold_up_nobody_else(receiver: Receiver) -> None:
    """Their owner uses up his own share; others are served, and so is what needs the process's other threads (an export)."""
    end, asked = threading.Event(), []

    def lookup(host: str, port: int) -> list[str]:
        asked.append(host)
        if host.startswith("hanging"):
            end.wait(30)
        return ["127.0.0.1"]

    async def attempt(number: int) -> Answer:
        with on_behalf_of(guilty):
            return await post(sender, f"http://hanging-{number}.example:{receiver.port}/")

    guilty, innocent = uuid4(), uuid4()
    async with sending(resolve=Resolver(lookup, seconds=2.0)) as sender:
        hanging = [asyncio.create_task(attempt(number)) for number in range(60)]
        with on_behalf_of(innocent):
            served = await asyncio.wait_for(post(sender, f"http://innocent.example:{receiver.port}/"), 10)
        exported = await asyncio.wait_for(asyncio.to_thread(lambda: "course"), 10)
        ended = await asyncio.wait_for(asyncio.gather(*hanging, return_exceptions=True), 20)
        failed = [each for each in ended if isinstance(each, AttemptFailed)]
        not_begun = [each for each in ended if isinstance(each, UpstreamUnavailable)]
        with pytest.raises(UpstreamUnavailable):  # what was given up counts until its thread has ended
            await attempt(99)
        end.set()

    assert (served.status, exported) == (204, "course")
    assert len(failed) == MOST_PER_ORGANIZATION == len(asked) - 1
    assert "was not resolved within 2 s" in str(failed[0])
    assert len(not_begun) == 60 - MOST_PER_ORGANIZATION
    assert all(each.retry_after for each in not_begun)


async def test_a_share_of_lookups_is_free_again_when_they_have_ended(receiver: Receiver) -> None:
    """However many there have been."""
    async with sending(resolve=Resolver(lambda host, port: ["127.0.0.1"])) as sender:
        with on_behalf_of(uuid4()):
            for _ in range(2 * MOST_PER_ORGANIZATION):
                assert (await post(sender, f"http://quick.example:{receiver.port}/")).status == 204


async def test_a_socket_of_this_machine_is_never_opened() -> None:
    """Nor does httpcore ever ask for one."""
    with pytest.raises(AddressRefused):
        await GuardedBackend(LOOPBACK).connect_unix_socket("/var/run/docker.sock")


async def test_proxies_of_the_environment_are_not_asked(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would resolve the name itself, behind the check."""
    async with open_receiver() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with sending() as sender:
            assert (await post(sender, receiver.url)).status == 204

        assert proxy.connections == 0


async def test_every_attempt_has_a_connection_of_its_own(receiver: Receiver) -> None:
    """A kept one would be a name that is not checked again."""
    async with sending() as sender:
        for _ in range(3):
            await post(sender, receiver.url)

    assert receiver.connections == 3


async def test_a_receiver_with_tls_is_trusted_by_its_authority(tmp_path: Path) -> None:
    """The authority may be one's own, by setting; without it the same receiver is nobody's."""
    certificate = make_certificate(tmp_path)
    async with open_receiver(certificate.context()) as receiver:
        async with sending(ca=certificate.path) as sender:
            assert (await post(sender, receiver.url)).status == 204
        async with sending() as sender:
            with pytest.raises(AttemptFailed, match=r"(?i)certificate"):
                await post(sender, receiver.url)

        assert len(receiver.received) == 1


async def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    """The name in the address is the one that is checked, not the address behind it."""
    certificate = make_certificate(tmp_path)
    resolve = names(other_example=["127.0.0.1"])
    async with (
        open_receiver(certificate.context()) as receiver,
        sending(ca=certificate.path, resolve=resolve) as sender,
    ):
        with pytest.raises(AttemptFailed, match=r"(?i)(hostname|certificate)"):
            await post(sender, f"https://other.example:{receiver.port}/")

        assert receiver.received == []


async def test_a_file_of_authorities_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    """Naming the setting."""
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    for path in (bad, tmp_path / "missing.pem"):
        settings = load(DeliverySettings, {**LOCAL_RECEIVERS, "WEBHOOK_CA_FILE": str(path)})
        with pytest.raises(SettingsInvalid, match="WEBHOOK_CA_FILE"):
            async with builtin.webhook_outlet(settings):
                pass


async def _silent(_: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def _dripping(writer: asyncio.StreamWriter) -> None:
    for each in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 600:
        writer.write(bytes([each]))
        await writer.drain()
        await asyncio.sleep(0.1)


async def _endless_head(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(1_000_000):
        writer.write(b"X-%d: %s\r\n" % (number, b"y" * 1000))
        await writer.drain()


async def _interim(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def _garbage(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


async def _nothing(_: asyncio.StreamWriter) -> None:
    return


@pytest.mark.parametrize("behaviour", [_silent, _dripping, _endless_head, _interim, _garbage, _nothing])
async def test_who_does_not_answer_is_given_up_in_time(receiver: Receiver, behaviour: object) -> None:
    """Silence, drops, endless heads, other protocols and closed doors: bounded, and a failure in words."""
    receiver.behave = behaviour  # type: ignore[assignment]
    started = time.monotonic()
    async with sending(seconds=1.0) as sender:
        with pytest.raises(AttemptFailed) as failed:
            await post(sender, receiver.url)

    assert time.monotonic() - started < 4
    assert str(failed.value).startswith("no answer")
    assert str(failed.value).isprintable()


async def test_no_more_of_an_answer_is_read_than_64_kib(receiver: Receiver) -> None:
    """The status has said it all; the rest of a flood is not waited for."""
    written = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.transport.set_write_buffer_limits(high=0)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        for _ in range(10_000):
            writer.write(b"x" * LARGEST_ANSWER)
            await writer.drain()
            written += LARGEST_ANSWER

    receiver.behave = flood
    async with sending() as sender:
        assert (await post(sender, receiver.url)).status == 200

    assert written < 100 * LARGEST_ANSWER  # what the sockets' buffers hold, not the gigabyte


async def test_an_accepted_message_stays_accepted_when_the_body_never_ends(receiver: Receiver) -> None:
    """The receiver has it; asking him to take it again would be wrong."""

    async def stall(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 10\r\n\r\n123")
        await writer.drain()
        await asyncio.sleep(60)

    receiver.behave = stall
    started = time.monotonic()
    async with sending(seconds=1.0) as sender:
        got = await post(sender, receiver.url)

    assert got.is_accepted
    assert time.monotonic() - started < 4


async def test_an_answer_is_quoted_briefly_and_printably(receiver: Receiver) -> None:
    """It goes into logs and pages: one line, no control characters, no credentials."""
    receiver.usual = answer(400, body="no\n\x1b[31m good \u2028Bearer abc.def.ghi ".encode() + b"\xff" + b"x" * 5000)
    async with sending() as sender:
        got = await post(sender, receiver.url)

    assert got.quote.startswith("no [31m good Bearer ***")
    assert got.quote.isprintable()
    assert len(got.quote) <= 200


@pytest.mark.parametrize("status", [200, 201, 204, 299, 300, 304, 400, 500])
async def test_only_2xx_is_acceptance(receiver: Receiver, status: int) -> None:
    """As the standard has it."""
    receiver.usual = answer(status)
    async with sending() as sender:
        assert (await post(sender, receiver.url)).is_accepted is (status < 300)
