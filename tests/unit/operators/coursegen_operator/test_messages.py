"""Whatever is stuck or at work names a command that can be typed as it stands: every place of the code that says so is played."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from operators.coursegen_operator import conditions
from operators.coursegen_operator.answers import error_of
from operators.coursegen_operator.conditions import MESSAGE_BYTES
from operators.coursegen_operator.errors import ClusterUnavailable, KindAbsent, NotPermitted, WriteConflict
from operators.coursegen_operator.identity import Identity
from operators.coursegen_operator.jobs.starting import Obstacle
from operators.coursegen_operator.migrations.permission import Hold
from operators.coursegen_operator.planning import Observed
from operators.coursegen_operator.reconciler import PATIENCE, Reconciler
from operators.coursegen_operator.resources import CRON_JOB, PROMETHEUS_RULE, Object
from services.kernel.logs import scrub_text
from services.kernel.texts import shortened
from tests.support.pretended_kind import sample
from tests.unit.operators.coursegen_operator.alerts import scene as alerts
from tests.unit.operators.coursegen_operator.conftest import KEY, Grounds
from tests.unit.operators.coursegen_operator.migrations import world as migrations
from tests.unit.operators.coursegen_operator.retention import world as retention

CODE = Path(conditions.__file__).parent
_VERBS = {
    "annotate",
    "api-resources",
    "auth",
    "delete",
    "describe",
    "edit",
    "explain",
    "get",
    "logs",
    "patch",
    "rollout",
}
_OF_THE_CLUSTER = {"api-resources", "explain"}
_PLACEHOLDER = re.compile(r"<[^>]*>|\b[A-Z]{4,}\b(?<!BACKUP)|…|\.\.\.")
_COMMAND = re.compile(r"kubectl .*?(?=`|; (?=[a-zA-Z$])|\. (?=[A-Z])| \((?!date)|$)")
_HOLDING = {"expand_hold", "_loss_hold"}
"""Where a Hold ends in Stalled; the others end in ContractPending, and Ready stays True."""

Site = tuple[str, int, int]
"""A file, and the lines of a call in it."""


@dataclass
class Heard:
    """What was said, and where in the code."""

    said: list[tuple[str, str]] = field(default_factory=list)
    """Reason and message."""
    places: set[tuple[str, int]] = field(default_factory=set)

    def note(self, depth: int, reason: str, message: str) -> None:
        """Of the frame so many callers up."""
        frame = sys._getframe(depth + 1)
        self.places.add((frame.f_code.co_filename, frame.f_lineno))
        if Path(frame.f_code.co_filename).is_relative_to(CODE):
            self.said.append((reason, message))


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    """Listens to everything that says stuck or working, and to what they say it of."""
    found, standing = Heard(), conditions.standing

    def listening(reason: str, message: str, **statuses: Any) -> Any:
        if statuses["ready"] == "False":
            found.note(2, reason, message)
        return standing(reason, message, **statuses)

    monkeypatch.setattr(conditions, "standing", listening)
    for each in (Obstacle, Hold):
        monkeypatch.setattr(each, "__init__", _listening(found, each.__init__))
    return found


def _listening(heard: Heard, make: Callable[..., None]) -> Callable[..., None]:
    def init(self: object, reason: str, message: str, *more: Any, **named: Any) -> None:
        code = sys._getframe(1).f_code
        if "permission" not in code.co_filename or code.co_name in _HOLDING:
            heard.note(1, reason, message)
        make(self, reason, message, *more, **named)

    return init


def sites() -> Iterator[Site]:
    """Every call of the code by which something is stuck or at work, or waits for what makes it so."""
    for file in sorted(CODE.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for call in ast.walk(function):
                    if (
                        isinstance(call, ast.Call)
                        and isinstance(call.func, ast.Name)
                        and _speaks(call.func.id, function.name)
                    ):
                        yield (str(file), call.lineno, call.end_lineno or call.lineno)


def _speaks(name: str, function: str) -> bool:
    return name in {"stuck", "working", "Obstacle"} or (name == "Hold" and function in _HOLDING)


def commands_in(message: str) -> list[list[str]]:
    """The words of each command that a message names. Raises for one that no shell would read."""
    return [shlex.split(found) for found in _COMMAND.findall(message)]


def migrating(**spec: Any) -> migrations.World:
    """A DatabaseMigration."""
    return migrations.World(migrations.new_resource(**spec))


def play_migrations() -> None:
    """Plan, apply, fail, be given up, be held, wait for others."""
    world = migrating(image="shop:2", retry={"maxAttempts": 2})
    world.settle()
    world.begin()
    world.look()
    world.finish()
    world.settle()
    world.begin()
    world.look()
    world.edit(image="shop:3")
    world.look()
    for fate in ("unreachable", "locked", "error", "error"):
        _fail(migrating(image="shop:2", retry={"maxAttempts": 1 + (fate != "error")}), fate)
    lost = migrating(image="shop:2")
    lost.settle()
    lost.finish("lost")
    lost.look()
    alone = migrating(image="shop:2")
    alone.settle()
    alone.begin()
    alone.jobs.clear()
    alone.look()


def _fail(world: migrations.World, fate: Any) -> None:
    world.settle()
    for _ in range(2):
        if world.unfinished:
            world.finish(fate)
            world.settle()


def play_holds() -> None:
    """An approval, a policy, a backup, a suspension, a schema that differs."""
    for spec in (
        {"image": "shop:2", "approval": "Manual"},
        {"image": "shop:3"},
        {"image": "shop:3", "policy": {"destructive": "Allow"}},
        {"image": "shop:2", "suspend": True},
    ):
        world = migrating(**spec)
        world.settle()
        if world.unfinished:
            world.finish()
            world.settle()
    world = migrating(drift={"mode": "Fail"})
    world.drifted = True
    for _ in range(3):
        world.settle()
        if world.unfinished:
            world.finish()
    world.settle()


def play_obstacles() -> None:
    """Everything that keeps a pod from starting, while it may pass by itself and afterwards, of both kinds that have Jobs."""
    for reason, message in (
        ("ErrImagePull", "not found"),
        ("InvalidImageName", "x:y:z"),
        ("CreateContainerConfigError", 'secret "db" not found'),
        ("CreateContainerError", "no room"),
    ):
        world = migrating()
        world.settle()
        world.begin(waiting={"reason": reason, "message": message})
        policy = _running_policy()
        policy.pod_of("run", waiting={"reason": reason, "message": message})
        _look_on(world, policy)
    unplaced = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    world = migrating()
    world.settle()
    world.begin(waiting={"reason": "ContainerCreating"})
    next(iter(world.pods.values()))["status"]["conditions"] = [unplaced]
    policy = _running_policy()
    policy.pod_of("run", unplaced, waiting={})
    _look_on(world, policy)
    for is_suspended in (False, True):
        world = migrating()
        world.settle()
        world.job["spec"]["suspend"] = is_suspended
        policy = _running_policy()
        policy.pods.clear()
        _look_on(world, policy)


def _look_on(world: migrations.World, policy: retention.World) -> None:
    for _ in range(2):
        world.look()
        policy.look()
        world.wait(61)
        policy.now = policy.now.replace(minute=policy.now.minute + 2)


def _running_policy() -> retention.World:
    policy = retention.World()
    policy.settle()
    policy.start_job("run")
    return policy


def play_retention() -> None:
    """A CronJob that is not there yet, or that a webhook suspends, a day that never comes, a time zone that nobody knows."""
    retention.World().look()
    retention.World(webhook=retention.maintenance).settle()
    for spec in ({"schedule": "0 0 31 2 *"}, {"timeZone": "Mars/Olympus"}):
        policy = retention.World(retention.new_resource(**spec))
        policy.look()


def play_alerts() -> None:
    """Rules that may not be read, as the API server says and as nobody says; rules that would not work."""
    refused = error_of(403, _refusal("prometheusrules"), "list", PROMETHEUS_RULE, alerts.NAMESPACE, "")
    for more in ({"said": str(refused)}, {}):
        scene = alerts.Scene(alerts.policy())
        observed = scene.observed()
        around = {**observed.around, "denied": [{"what": "prometheusrules", "why": "Forbidden", **more}]}
        alerts.AlertKind().plan(scene.resource, Observed(observed.now, observed.children, around))
    group = {"name": "mine", "rules": [{**alerts.GOOD_GROUP["rules"][0], "expr": "sum("}]}
    alerts.Scene(alerts.policy(extraGroups=[group])).look()


ANSWERS: list[tuple[int, Any]] = [
    (401, {"message": "Unauthorized"}),
    (403, None),
    (
        403,
        {
            "message": 'cronjobs.batch is forbidden: User "system:serviceaccount:ops:operator" cannot patch resource "cronjobs"'
        },
    ),
    (403, {"message": 'cronjobs.batch "sample" is forbidden: exceeded quota: few, requested: count/cronjobs.batch=1'}),
    (403, {"message": 'cronjobs.batch "sample" is forbidden: cannot set blockOwnerDeletion'}),
    (403, {"message": 'admission webhook "images.example" denied the request: ' + "no such registry; " * 200}),
    (
        422,
        {
            "message": "cronjobs.batch \"sample\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"
        },
    ),
    (400, {"message": 'admission webhook "images.example" denied the request without explanation'}),
    (404, None),
    (409, {"message": "the object has been modified"}),
    (422, {"message": "spec.schedule: Invalid value"}),
    (500, {"message": "failed to create typed patch object: .spec.colour: field not declared in schema"}),
    (503, None),
]
"""What an API server may say to a write."""


async def play_refusals(identity: Identity) -> None:
    """Every answer of the API server, a foreign child, a defect, and what is said of both once it has lasted."""
    for code, status in ANSWERS:
        await _lasting(identity, error_of(code, status, "apply", CRON_JOB, "default", "sample", identity))
    for error in (ZeroDivisionError(), ClusterUnavailable(), WriteConflict(), KindAbsent(), NotPermitted("no")):
        await _lasting(identity, error)
    await _lasting(identity, None)


async def _lasting(identity: Identity, error: Exception | None) -> None:
    grounds = Grounds()
    grounds.cluster.add(sample())
    grounds.reconciler = Reconciler(
        grounds.cluster, grounds.store, [grounds.kind], grounds, grounds.figures, grounds.clock, identity=identity
    )
    if error is None:
        grounds.cluster.add(
            {"apiVersion": "batch/v1", "kind": CRON_JOB.kind, "metadata": {"name": "sample"}, "spec": {}}
        )
    elif isinstance(error, ZeroDivisionError):
        grounds.kind.defect = error
    else:
        grounds.cluster.refuses["apply", CRON_JOB.kind] = error
    for _ in range(PATIENCE + 1):
        with suppress(Exception):
            await grounds.look(KEY)
    message = str(grounds.condition("Ready")["message"])
    assert commands_in(message), message


def _refusal(plural: str) -> Object:
    user = "system:serviceaccount:ops:operator"
    return {"reason": "Forbidden", "message": f'{plural} is forbidden: User "{user}" cannot list resource "{plural}"'}


@pytest.mark.parametrize(
    "identity", [Identity("ops", "operator", "operator-0"), Identity()], ids=["in a pod", "elsewhere"]
)
async def test_what_is_stuck_or_at_work_names_a_command_that_can_be_typed(heard: Heard, identity: Identity) -> None:
    """A shell reads it, kubectl knows its verb, it says in which namespace, and nothing in it is left to be filled in."""
    for play in (play_migrations, play_holds, play_obstacles, play_retention, play_alerts):
        play()
    await play_refusals(identity)

    silent = [
        f"{Path(file).relative_to(CODE)}:{first}"
        for file, first, last in sites()
        if not any((file, line) in heard.places for line in range(first, last + 1))
    ]
    assert silent == [], "says so too, and is not played here"
    wrong = [
        f"{reason}: {message}" for reason, message in heard.said if (reason, message) and not _can_be_typed(message)
    ]
    assert wrong == []
    assert len({reason for reason, _ in heard.said}) > 20


def _can_be_typed(message: str) -> bool:
    shown = shortened(scrub_text(message), MESSAGE_BYTES)
    commands = commands_in(shown)
    return bool(commands) and all(map(_is_typable, commands))


def _is_typable(words: list[str]) -> bool:
    text = " ".join(words)
    verb = words[3] if words[1] == "-n" else words[1]
    has_place = (
        bool({"-n", "-A", "--all-namespaces"} & set(words)) or verb in _OF_THE_CLUSTER or _names_the_cluster(words)
    )
    return verb in _VERBS and has_place and not _PLACEHOLDER.search(text)


def _names_the_cluster(words: list[str]) -> bool:
    """Whether it asks for what is in no namespace."""
    return any(word.startswith(("validating", "namespace")) for word in words)


@pytest.mark.parametrize(
    "message",
    [
        "see: kubectl -n shop logs job/<name>",
        "see: kubectl auth can-i list pods --as=system:serviceaccount:NAMESPACE:ACCOUNT -n shop",
        "set it right with kubectl edit",
        "see its log for RetentionPolicy/default/sample",
        "see: kubectl -n shop patch dbm/main -p '{",
        "see: kubectl describe pod/x",
    ],
)
def test_a_command_that_cannot_be_typed_is_noticed(message: str) -> None:
    """By the test above."""
    with suppress(ValueError):
        assert not _can_be_typed(message)
