"""The operator's parts around an API server in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from operators.coursegen_operator.figures import Figures
from operators.coursegen_operator.keyed_queue import Verdict
from operators.coursegen_operator.planning import Notice
from operators.coursegen_operator.reconciler import Reconciler
from operators.coursegen_operator.resources import CRON_JOB, JOB, RETENTION_POLICY, Object, ObjectKey
from operators.coursegen_operator.store import Store
from services.kernel.errors import CoursegenError
from tests.support.clocks import StandingClock
from tests.support.pretended_cluster import PretendedCluster
from tests.support.pretended_kind import PretendedKind, sample

KEY = ObjectKey(RETENTION_POLICY.kind, "default", "sample")


@dataclass
class Grounds:
    """A reconciler, and whatever it works with; the store follows the cluster at once."""

    cluster: PretendedCluster = field(default_factory=PretendedCluster)
    clock: StandingClock = field(default_factory=StandingClock)
    kind: PretendedKind = field(default_factory=PretendedKind)
    told: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """A new process, which knows what a list shows."""
        self.store = Store()
        self.figures = Figures([RETENTION_POLICY.kind])
        self.reconciler = Reconciler(self.cluster, self.store, [self.kind], self, self.figures, self.clock)
        self.cluster.listeners[:] = [self.follow]
        for item in self.cluster.objects.values():
            self.store.put(item)

    def follow(self, what: str, item: Object) -> None:
        """What the watches do."""
        if what == "DELETED":
            self.store.remove(item)
        else:
            self.store.put(item)

    def tell(self, resource: Object, notice: Notice) -> None:
        """As `Recorder.tell`."""
        self.told.append((resource["metadata"]["name"], notice.reason))

    async def look(self, key: ObjectKey = KEY) -> Verdict:
        """One look."""
        return await self.reconciler.look(key)

    async def settle(self, key: ObjectKey = KEY, most: int = 10) -> None:
        """Look until there is nothing to do; lost calls are made again."""
        for _ in range(most):
            try:
                verdict = await self.look(key)
            except CoursegenError:
                continue
            if verdict.look_again_seconds != 0.0:
                return
        raise AssertionError(f"still at it after {most} looks")

    @property
    def status(self) -> Object:
        """The status of the sample."""
        found: Object = self.cluster.objects[KEY]["status"]
        return found

    def condition(self, name: str) -> Object:
        """One of its conditions."""
        found: Object = next(each for each in self.status["conditions"] if each["type"] == name)
        return found

    def children(self, kind: str) -> list[str]:
        """The names of what is there of that kind."""
        return [key.name for key in sorted(self.cluster.objects) if key.kind == kind]


@pytest.fixture
def grounds() -> Grounds:
    """With one resource of the pretended kind."""
    made = Grounds()
    made.cluster.add(sample())
    return made


CRON_JOB_KEY = ObjectKey(CRON_JOB.kind, "default", "sample")


def job_key(number: int) -> ObjectKey:
    """The Job of the sample's run."""
    return ObjectKey(JOB.kind, "default", f"sample-run-{number}")
