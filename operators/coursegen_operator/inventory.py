"""Fills the store by lists, and finds out on the way what can be watched.

Nothing is planned before the first inventory: a plan that misses a child would make it again. Later ones put right what
the watches have missed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from operators.coursegen_operator.errors import KindAbsent, NotPermitted
from operators.coursegen_operator.planning import Kind
from operators.coursegen_operator.resources import (
    FIELD_MANAGER,
    JOB,
    LABEL_MANAGED_BY,
    POD,
    Object,
    ObjectKey,
    ResourceType,
)
from operators.coursegen_operator.store import Store
from operators.coursegen_operator.watching import Selection
from services.kernel.logs import get_logger

_log = get_logger(__name__)

_LABELS = {LABEL_MANAGED_BY: FIELD_MANAGER}


class Lister(Protocol):
    """What of `Cluster` this needs."""

    async def snapshot(
        self, resource_type: ResourceType, namespace: str | None, *, labels: dict[str, str] | None = None
    ) -> tuple[list[Object], str]:
        """All objects, and the version at which that was true."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What an inventory came to."""

    selection: Selection
    absent: tuple[str, ...] = ()
    """Kinds of ours that the API server does not know: their definitions are not installed."""
    absent_children: frozenset[str] = frozenset()
    """Kinds of children that it does not know: whoever brings them may do so later."""


@dataclass(slots=True)
class _Round:
    """One inventory under way."""

    absent: set[ResourceType] = field(default_factory=set)
    refused: set[ResourceType] = field(default_factory=set)
    namespaces: list[str] = field(default_factory=list)
    refusal: str = ""


class Inventory:
    """Lists everything that the operator looks after, and what that owns."""

    def __init__(
        self,
        cluster: Lister,
        store: Store,
        kinds: Sequence[Kind],
        namespaces: Sequence[str],
        concern: Callable[[ObjectKey], None],
    ) -> None:
        """`concern` is told which resources to look at."""
        self._cluster = cluster
        self._store = store
        self._own = tuple(kind.type for kind in kinds)
        children = {child: None for kind in kinds for child in kind.child_types}
        self._children = tuple({**children, **({POD: None} if JOB in children else {})})
        self._namespaces = tuple(namespaces)
        self._concern = concern
        self._concerned: set[ObjectKey] = set()
        """Not told yet: not before what they own is known, and if that takes another inventory."""
        self._warned: set[str] = set()

    async def take(self) -> Taken:
        """List everything.

        Raises:
            NotPermitted: RBAC lets the operator see none of its resources.
            ClusterUnavailable: no answer.
        """
        taking = _Round()
        for namespace in self._namespaces or (None,):
            if await self._take_own(taking, namespace):
                taking.namespaces.append(namespace or "")
                for child in self._children:
                    await self._take_children(taking, child, namespace)
        while self._concerned:
            self._concern(self._concerned.pop())
        if not taking.namespaces:
            raise NotPermitted(taking.refusal)
        missing = taking.absent | taking.refused
        return Taken(
            Selection(
                tuple(each for each in (*self._own, *self._children) if each not in missing),
                tuple(each for each in taking.namespaces if each),
            ),
            tuple(each.kind for each in self._own if each in taking.absent),
            frozenset(each.kind for each in self._children if each in taking.absent),
        )

    async def _take_own(self, taking: _Round, namespace: str | None) -> bool:
        """Whether there is anything to look after in this namespace."""
        for own in self._own:
            try:
                await self._list(own, namespace)
            except KindAbsent:
                self._miss(taking, own)
            except NotPermitted as error:
                taking.refusal = error.message
                self._warn_once("a namespace is left out", error.message)
                return False
        return True

    async def _take_children(self, taking: _Round, child: ResourceType, namespace: str | None) -> None:
        try:
            await self._list(child, namespace, _LABELS)
        except KindAbsent:
            self._miss(taking, child)
        except NotPermitted as error:
            taking.refused.add(child)
            self._warn_once("a kind is not watched", error.message)

    async def _list(
        self, resource_type: ResourceType, namespace: str | None, labels: dict[str, str] | None = None
    ) -> None:
        items, version = await self._cluster.snapshot(resource_type, namespace, labels=labels)
        self._concerned |= self._store.replace(resource_type, namespace, items, version)

    def _miss(self, taking: _Round, resource_type: ResourceType) -> None:
        """A kind is not there: what was of it went with it, also when no watch has said so."""
        taking.absent.add(resource_type)
        self._concerned |= self._store.forget(resource_type)

    def _warn_once(self, event: str, reason: str) -> None:
        if reason not in self._warned:
            self._warned.add(reason)
            _log.warning(event, reason=reason)
