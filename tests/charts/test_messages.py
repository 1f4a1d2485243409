"""What the chart makes sure of for messages: both sides know the same stream, and what goes into it is taken out again."""

from __future__ import annotations

from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

from services.kernel.messages.settings import StreamSettings
from services.kernel.settings import declarations
from tests.charts.conftest import Object, Render
from tests.charts.objects import of_kind, settings

_API = "cg-coursegen-api"
_WORKER = "cg-coursegen-persistence-worker"
_SHARED = {each.env for _, each in declarations(StreamSettings)}


def _variables(objects: list[Object], name: str) -> dict[str, Object]:
    (container,) = of_kind(objects, "Deployment")[name]["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each for each in container["env"]}


def test_both_sides_are_told_the_same(render: Render) -> None:
    """Host, port, database, partitions and password of the stream, by one value each."""
    given = {"REDIS_HOST": "stream", "REDIS_PORT": "6380", "REDIS_STREAM_DB": "0", "STREAM_PARTITIONS": "32"}
    assert given.keys() == _SHARED - {"REDIS_PASSWORD"}
    sets = [f"config.stream.{name}={value}" for name, value in given.items()]
    objects = render("minimal", *sets, "redis.streamPassword.existingSecret=stream")

    for name in (_API, _WORKER):
        found = settings(objects, name)
        assert {each: found[each] for each in given} == given, name
        assert _variables(objects, name)["REDIS_PASSWORD"]["valueFrom"]["secretKeyRef"] == {
            "name": "stream",
            "key": "REDIS_PASSWORD",
        }
    assert not _SHARED & settings(objects, "cg-coursegen-outbox-relay").keys()


def test_a_worker_bears_the_name_of_its_pod(render: Render) -> None:
    """By which message_workers and the owners of partitions show it."""
    field = _variables(render("minimal"), _WORKER)["STREAM_WORKER_ID"]["valueFrom"]["fieldRef"]

    assert field == {"fieldPath": "metadata.name"}


@pytest.mark.parametrize(
    ("sets", "durability"),
    [
        ([], None),
        (["persistenceWorker.enabled=false"], "postgres"),
        (["persistenceWorker.enabled=false", "config.api.MESSAGES_STREAM_PERCENT=0"], "postgres"),
        (["config.api.MESSAGES_DURABILITY=postgres"], "postgres"),
        (["persistenceWorker.replicaCount=0"], None),
    ],
)
def test_without_workers_messages_are_written_at_once(render: Render, sets: list[str], durability: str | None) -> None:
    """None, scaled to zero and switched off are three things: only what will never come is not waited for."""
    objects = render("minimal", *sets)

    assert settings(objects, _API).get("MESSAGES_DURABILITY") == durability
    assert (_WORKER in of_kind(objects, "Deployment")) == ("persistenceWorker.enabled=false" not in sets)
    assert (_WORKER in of_kind(objects, "ServiceAccount")) == (_WORKER in of_kind(objects, "Deployment"))


def test_a_stream_that_nobody_empties_is_refused(attempt: Callable[..., CompletedProcess[str]]) -> None:
    """Unless no conversation goes into it; workers whose consumers are off keep the messages for later."""
    off, redis = "persistenceWorker.enabled=false", "config.api.MESSAGES_DURABILITY=redis"
    refused = attempt("minimal", off, redis)

    assert refused.returncode != 0
    assert "set persistenceWorker.enabled" in refused.stderr
    assert attempt("minimal", off, redis, "config.api.MESSAGES_STREAM_PERCENT=50").returncode != 0
    assert attempt("minimal", off, redis, "config.api.MESSAGES_STREAM_PERCENT=0").returncode == 0
    assert attempt("minimal", redis, "config.persistence.ENABLE_STREAM_CONSUMERS=false").returncode == 0


def test_the_steps_of_a_roll_out_render(render: Render) -> None:
    """Consumers without traffic, a share of the conversations, all of them."""
    for percent in (0, 10, 50, 100):
        objects = render("minimal", f"config.api.MESSAGES_STREAM_PERCENT={percent}")
        assert settings(objects, _API)["MESSAGES_STREAM_PERCENT"] == str(percent)
        assert _WORKER in of_kind(objects, "Deployment")


@pytest.mark.parametrize(
    ("sets", "tried"),
    [
        ([], "true"),
        (["config.persistence.ENABLE_STREAM_CONSUMERS=true"], "true"),
        (["config.persistence.ENABLE_STREAM_CONSUMERS=false"], "false"),
        (["persistenceWorker.enabled=false"], "false"),
    ],
)
def test_helm_test_tries_a_message_where_somebody_writes_it(render: Render, sets: list[str], tried: str) -> None:
    """In the pod that takes a course through everything; where nobody empties the stream the course is all it tries."""
    (container,) = of_kind(render("minimal", *sets), "Pod")["cg-coursegen-test-round-trip"]["spec"]["containers"]

    assert {"name": "MESSAGES", "value": tried} in container["env"]


def test_redis_of_development_keeps_messages_over_a_crash(render: Render) -> None:
    """It appends before it answers, refuses what has no room, and has room for its file."""
    objects = render("dev")
    config = dict(
        line.split(maxsplit=1)
        for line in of_kind(objects, "Secret")["cg-coursegen-dev"]["stringData"]["redis.conf"].splitlines()
    )
    (container,) = of_kind(objects, "Deployment")["cg-coursegen-redis"]["spec"]["template"]["spec"]["containers"]

    assert (config["appendonly"], config["appendfsync"]) == ("yes", "always")
    assert config["maxmemory-policy"] == "noeviction"
    most = int(config["maxmemory"].removesuffix("mb"))
    assert most * 1.5 < int(container["resources"]["limits"]["memory"].removesuffix("Mi"))
    later = render("dev", "dev.redis.appendfsync=everysec")
    assert "appendfsync everysec" in of_kind(later, "Secret")["cg-coursegen-dev"]["stringData"]["redis.conf"]
