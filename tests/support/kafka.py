"""A Kafka broker for tests: a real one of one node, when Java is there and scripts/kafka.py has fetched it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from scripts import kafka
from services.kernel.errors import BrokerUnavailable
from services.kernel.messages.kafka.broker import COPIER_GROUP, DEAD_LETTERS, GROUP, STREAM, Broker
from tests.support.ports import claim
from tests.support.streamed import PARTITIONS
from tests.support.waiting import eventually

T = TypeVar("T")
REQUIRED = "COURSEGEN_REQUIRE_KAFKA"
"""Set to 1, as `make prove-kafka` does, a missing broker is a failure."""

_HEAP = ["-Xmx512m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
_START_SECONDS = 120.0
_CLUSTER = "MkU3OEVBNTcwNTJENDM2Qg"


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; also where a loop is running already."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


class PrivateKafka:
    """A broker of the test's own."""

    def __init__(self, folder: Path) -> None:
        """Keep its data in `folder`."""
        self._folder = folder
        self._classpath = f"{kafka.find()}/*"
        self._java = kafka.java()
        self._port, self._inner = claim(), claim()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def servers(self) -> str:
        """Its address."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None, "the broker is not running"
        return self._process.pid

    def start(self) -> None:
        """Start it (again, with what it has on disk) and wait until it answers."""
        properties = self._folder / "server.properties"
        if not properties.exists():
            properties.write_text(self._properties(), encoding="utf-8")
            self._run("kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(properties)).wait(60)
        self._process = self._run("kafka.Kafka", str(properties))
        until = time.monotonic() + _START_SECONDS
        while not run_apart(self._answers()):
            assert self._process.poll() is None, (self._folder / "log").read_text(encoding="utf-8")[-2000:]
            assert time.monotonic() < until, "the broker does not answer"
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop it with SIGTERM."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._end(signal.SIGKILL)

    def empty(self) -> None:
        """Have the topics, empty, and nothing that a group has noted of them."""
        run_apart(self._empty())

    async def _empty(self) -> None:
        broker = Broker(self.servers)
        async with broker.admin() as admin:
            if there := sorted({STREAM, DEAD_LETTERS} & set(await admin.list_topics())):
                await admin.delete_topics(there)

        async def is_empty() -> bool:
            assert await broker.notes(GROUP) == {}
            assert await broker.notes(COPIER_GROUP) == {}
            await broker.make_topics(PARTITIONS, copies=1)
            assert await broker.count() == PARTITIONS
            return True

        await eventually(is_empty, within=30)

    def _run(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            argv = [self._java, *_HEAP, "-cp", self._classpath, *arguments]
            return subprocess.Popen(argv, stdout=log, stderr=log, cwd=self._folder, start_new_session=True)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        os.kill(self._process.pid, how)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    async def _answers(self) -> bool:
        try:
            async with Broker(self.servers).admin() as admin:
                await admin.describe_cluster()
        except BrokerUnavailable:
            return False
        return True

    def _properties(self) -> str:
        return f"""
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{self._inner}
listeners=PLAINTEXT://127.0.0.1:{self._port},CONTROLLER://127.0.0.1:{self._inner}
advertised.listeners=PLAINTEXT://127.0.0.1:{self._port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={self._folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
auto.create.topics.enable=false
"""


def needed() -> None:
    """Skip the test, or fail it where `REQUIRED` is set, when a broker cannot be run here."""
    try:
        kafka.java()
        kafka.find()
    except kafka.Missing as error:
        if os.environ.get(REQUIRED):
            pytest.fail(str(error))
        pytest.skip(str(error))
