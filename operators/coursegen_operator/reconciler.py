"""One look at a resource, the same for every kind: what is there, what should be, what is to be written.

::

    store ──resource──▶ observe ──▶ plan ──▶ children ──▶ status, when it has changed ──▶ Events

Looking twice writes once. Every write is one that may be made again, so that the operator may end between any two of them:
a Job has a name that says which one it is, the rest is applied. The status is written last, so that it never tells of a
child that is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from operators.coursegen_operator.child import uid_of
from operators.coursegen_operator.children import ChildRefused, Children
from operators.coursegen_operator.comparison import without_nothing
from operators.coursegen_operator.conditions import Condition, merged, stuck, working
from operators.coursegen_operator.errors import (
    AdmissionDenied,
    KindAbsent,
    LeadershipLost,
    NotPermitted,
    ObjectGone,
    ObjectRefused,
    QuotaExceeded,
    WriteConflict,
)
from operators.coursegen_operator.figures import Figures
from operators.coursegen_operator.identity import Identity
from operators.coursegen_operator.keyed_queue import Verdict
from operators.coursegen_operator.planning import Kind, Notice, Observed, Plan, Reader
from operators.coursegen_operator.resources import (
    ANNOTATION_RECONCILE_AT,
    LABEL_OWNER_UID,
    NAMESPACE,
    Object,
    ObjectKey,
    ResourceType,
)
from operators.coursegen_operator.store import Store
from services.kernel.clock import Clock
from services.kernel.errors import CoursegenError, RetryableError
from services.kernel.logs import bind_context, get_logger

_log = get_logger(__name__)

ANNOTATION_LENGTH: Final = 1_024
"""How much of an annotation a status repeats; it may have 256 KiB."""
REFUSED_SECONDS: Final = 60.0
"""When to look again at what a person has to put right outside of the resource, such as RBAC."""
RECONCILE_ERROR: Final = "ReconcileError"
"""The reason for a defect of the operator itself."""
PATIENCE: Final = 5
"""So many looks in a row that fail are told, though nobody need act: some ten seconds. From then on they count as errors."""
_REFUSALS: Final = (ChildRefused, ObjectRefused, AdmissionDenied, NotPermitted, KindAbsent)
"""What another look does not put right, unless a person acts."""


class Writer(Reader, Protocol):
    """What of `Cluster` a look needs."""

    async def create(self, resource_type: ResourceType, manifest: Object) -> Object:
        """Write a new object."""

    async def apply(self, resource_type: ResourceType, manifest: Object) -> Object:
        """Make an object have these fields."""

    async def apply_status(self, resource_type: ResourceType, resource: Object, status: Object) -> Object:
        """Make a resource have this status."""

    async def merge(self, resource_type: ResourceType, namespace: str, name: str, patch: Object) -> Object:
        """Replace fields of an object."""

    async def delete(self, resource_type: ResourceType, item: Object) -> None:
        """Delete an object."""


class Teller(Protocol):
    """What of `Recorder` a look needs."""

    def tell(self, resource: Object, notice: Notice) -> None:
        """Have an Event written."""


class StoredReader:
    """Reads what is watched from the store, and the rest from the API server.

    One that is confined to namespaces reads nothing of all namespaces and nothing of the cluster: the answer would be the same,
    and an alarm in an audit. A namespace that is named is read, also beyond its own: a kind asks for one only where its resource
    says so, as `prometheusSelector` does.
    """

    def __init__(
        self, cluster: Reader, store: Store, resource: Object, watched: frozenset[str], *, is_confined: bool = False
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._resource = resource
        self._watched = watched
        self._is_confined = is_confined

    async def get(self, resource_type: ResourceType, namespace: str, name: str) -> Object | None:
        """As `Reader.get`."""
        is_own = resource_type == NAMESPACE and name == self._resource["metadata"]["namespace"]
        self._stay(resource_type, name if is_own else namespace)
        return await self._cluster.get(resource_type, namespace, name)

    async def list(
        self, resource_type: ResourceType, namespace: str | None, *, labels: Mapping[str, str] | None = None
    ) -> list[Object]:
        """As `Reader.list`; what belongs to the resource itself costs no call."""
        self._stay(resource_type, namespace)
        wanted = dict(labels or {})
        is_own = wanted.get(LABEL_OWNER_UID) == uid_of(self._resource)
        if not is_own or resource_type.kind not in self._watched:
            return await self._cluster.list(resource_type, namespace, labels=labels)
        return [
            item
            for item in self._store.owned(self._resource, frozenset({resource_type.kind}))
            if wanted.items() <= (item["metadata"].get("labels") or {}).items()
        ]

    def _stay(self, resource_type: ResourceType, namespace: str | None) -> None:
        if self._is_confined and not namespace:
            raise NotPermitted(
                f"{resource_type.plural} beyond the namespaces of OPERATOR_WATCH_NAMESPACES are not read"
            )


class Reconciler:
    """Looks at resources of every kind, one at a time or several beside each other."""

    def __init__(
        self,
        cluster: Writer,
        store: Store,
        kinds: Sequence[Kind],
        recorder: Teller,
        figures: Figures,
        clock: Clock,
        *,
        identity: Identity | None = None,
        is_confined: bool = False,
    ) -> None:
        """`identity` is who looks; `is_confined`: it looks after some namespaces only, and reads nothing beyond them."""
        self.watched: frozenset[str] = frozenset()
        """The kinds that the store has all of."""
        self.missed: Callable[[frozenset[str]], None] = lambda _: None
        """Told the kinds of children that are wanted and not watched: nobody would see an edit of one."""
        self._cluster = cluster
        self._store = store
        self._kinds = {kind.type.kind: kind for kind in kinds}
        self._recorder = recorder
        self._figures = figures
        self._clock = clock
        self._identity = identity or Identity()
        self._is_confined = is_confined
        """But for what a resource names beyond them: see `StoredReader`."""
        self._children = Children(cluster, store, clock)
        self._failures: dict[ObjectKey, int] = {}
        """Looks in a row that another one may put right."""

    async def look(self, key: ObjectKey) -> Verdict:
        """Bring the resource one step nearer to what it should be.

        Raises:
            CoursegenError: the API server did not answer, or not as hoped; look again.
        """
        began = self._clock.monotonic()
        outcome = "retried"  # also when the operator is told to stop meanwhile
        with bind_context(kind=key.kind, namespace=key.namespace, name=key.name):
            try:
                outcome, verdict = await self._look(key)
                self._failures.pop(key, None)
            except LeadershipLost:
                raise
            except RetryableError as error:
                if self._failed_again(key):
                    outcome = "hindered"
                    _log.warning("cannot reconcile now", reason=error.message)
                else:
                    _log.info("cannot reconcile now", reason=error.message)
                if outcome == "hindered" or isinstance(error, QuotaExceeded):  # the cluster's word, and no lost call
                    await self._lose_patience(key, error)
                raise
            except Exception:
                outcome = "failed"
                _log.exception("cannot reconcile, for a defect")
                raise
            finally:
                self._figures.reconciled(key.kind, outcome, self._clock.monotonic() - began)
        return verdict

    async def _look(self, key: ObjectKey) -> tuple[str, Verdict]:
        resource = self._store.get(key)
        if resource is None or resource["metadata"].get("deletionTimestamp"):
            self._figures.forget(key)
            self._children.forget(key)
            return "gone", Verdict(is_gone=True)
        kind = self._kinds[key.kind]
        try:
            return await self._carry_out(kind, resource, await self._plan(kind, resource))
        except ObjectGone:  # deleted meanwhile; the watch will say so
            return "gone", Verdict(look_again_seconds=REFUSED_SECONDS)
        except _REFUSALS as error:
            _log.warning("refused", reason=error.message)
            said = f"{error.message}; next: kubectl -n {key.namespace} edit {kind.type.short}/{key.name}"
            await self._tell_fault(kind, resource, stuck(reason_of(error), _once(error.message, said)))
            return "refused", Verdict(look_again_seconds=REFUSED_SECONDS)
        except (RetryableError, LeadershipLost):
            raise
        except Exception as error:
            said = f"the operator failed ({type(error).__name__}) and tries again; see: {self._log_of(kind, key)}"
            await self._tell_fault(kind, resource, working(RECONCILE_ERROR, said))
            raise

    def _failed_again(self, key: ObjectKey) -> bool:
        """One more look has failed; whether they have for a while."""
        self._failures[key] = self._failures.get(key, 0) + 1
        return self._failures[key] >= PATIENCE

    async def _lose_patience(self, key: ObjectKey, error: RetryableError) -> None:
        """Say what is in the way; whoever waits for the resource waits for that."""
        resource = self._store.get(key)
        if resource is not None:
            kind = self._kinds[key.kind]
            said = f"{error.message}; the operator tries again"
            told = _once(said, f"{said}; see: {self._log_of(kind, key)}")
            await self._tell_fault(kind, resource, working(reason_of(error), told))

    def _log_of(self, kind: Kind, key: ObjectKey) -> str:
        """The command that shows what this process has said about it; without a pod, what it has told of it."""
        return self._identity.log or f"kubectl -n {key.namespace} describe {kind.type.short}/{key.name}"

    async def _plan(self, kind: Kind, resource: Object) -> Plan:
        reader = StoredReader(self._cluster, self._store, resource, self.watched, is_confined=self._is_confined)
        around = await kind.observe(reader, resource)
        children = self._store.owned(resource, frozenset(each.kind for each in kind.child_types))
        return kind.plan(resource, Observed(self._clock.now(), children, around))

    async def _carry_out(self, kind: Kind, resource: Object, plan: Plan) -> tuple[str, Verdict]:
        written = await self._children.bring_about(resource, plan, kind.child_types)
        if unwatched := frozenset(child.type.kind for child in plan.children) - self.watched:
            self.missed(unwatched)
        told = await self._write_status(kind, resource, plan.status)
        if told:
            for notice in plan.notices:
                self._recorder.tell(resource, notice)
        if written:  # the plan that follows from it comes at once, and finds nothing to write
            _log.info("children written", names=written)
            return "changed", Verdict(look_again_seconds=0.0)
        return ("changed" if told else "unchanged"), Verdict(plan.look_again_seconds)

    async def _write_status(self, kind: Kind, resource: Object, status: Object) -> bool:
        """Write what the plan says; whether it was anything new."""
        before: Object = resource.get("status") or {}
        new = self._complete(resource, before, status)
        self._figures.conditions(_key(resource), new["conditions"])
        if new == before:
            return False
        try:
            made = await self._cluster.apply_status(kind.type, resource, new)
        except WriteConflict:
            await self._read_anew(kind, resource)
            raise
        self._store.put(made)
        return bool(made.get("status") != before)  # else the API server writes it another way than we do

    async def _read_anew(self, kind: Kind, resource: Object) -> None:
        """Have the next look see what this one has missed, also while no watch is open."""
        metadata = resource["metadata"]
        try:
            found = await self._cluster.get(kind.type, metadata["namespace"], metadata["name"])
        except CoursegenError:
            return
        if found is not None:
            self._store.put(found)

    def _complete(self, resource: Object, before: Object, status: Object) -> Object:
        """The status with what every status has: the generation it is of, dated conditions, the request it has seen."""
        generation = int(resource["metadata"].get("generation", 0))
        conditions = [Condition.of(each) for each in status.get("conditions") or ()]
        new: Object = without_nothing(status)
        new["observedGeneration"] = generation
        new["conditions"] = merged(before.get("conditions") or [], conditions, generation, self._clock.now())
        asked = (resource["metadata"].get("annotations") or {}).get(ANNOTATION_RECONCILE_AT)
        handled = new.get("lastHandledReconcileAt") or asked or before.get("lastHandledReconcileAt")
        if handled:
            new["lastHandledReconcileAt"] = str(handled)[:ANNOTATION_LENGTH]
        return new

    async def _tell_fault(self, kind: Kind, resource: Object, conditions: Sequence[Condition]) -> None:
        """Say what is wrong in the three conditions of every kind; the rest of the status stays."""
        status: Object = {**(resource.get("status") or {})}
        names = {condition.type for condition in conditions}
        kept = [each for each in status.get("conditions") or [] if each["type"] not in names]
        status["conditions"] = [condition.as_object() for condition in conditions] + kept
        try:
            if await self._write_status(kind, resource, status):
                self._recorder.tell(resource, Notice(conditions[0].reason, conditions[0].message, warning=True))
        except CoursegenError as error:
            _log.warning("cannot say what is wrong", reason=error.message)


def _once(said: str, with_command: str) -> str:
    """`said` where it names a command already."""
    return said if "kubectl " in said else with_command


def reason_of(error: CoursegenError) -> str:
    """Its code, as a condition's reason is written."""
    return "".join(word.capitalize() for word in error.code.split("_"))


def _key(resource: Object) -> ObjectKey:
    metadata = resource["metadata"]
    return ObjectKey(resource["kind"], metadata.get("namespace", ""), metadata["name"])
