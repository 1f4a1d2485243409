"""What this worker can do: stages by job type, engines by name. Plugins add theirs the way the built-in ones are added.

A plugin is a function that takes a `Registry`; `STAGE_WORKER_PLUGINS=package.module:function` names it. docs/EXTENDING.md
shows one whole, and a test runs that page.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from services.kernel.database import Database
from services.kernel.errors import SettingsInvalid
from services.stage_worker.engines.interface import Engine
from services.stage_worker.parsing.sandbox import Sandbox
from services.stage_worker.runner import Follower
from services.stage_worker.settings import WorkerSettings
from services.stage_worker.stages.document_processing import Fetch, Parse
from services.stage_worker.stages.stage import Stage
from services.stage_worker.webhooks.delivery import WebhookOutlet


@dataclass(frozen=True, slots=True)
class Workbench:
    """What a stage may need, opened and closed by the worker."""

    db: Database
    engine: Engine
    fetch: Fetch
    parse: Parse
    outlet: WebhookOutlet


@dataclass(frozen=True, slots=True)
class EngineMeans:
    """What an engine may need, opened and closed by the worker."""

    settings: WorkerSettings
    sandbox: Sandbox
    """Child processes with limits, for heavy or dangerous work."""


@runtime_checkable
class Closing(Protocol):
    """What an engine has that keeps connections: the worker closes it at the end."""

    async def close(self) -> None:
        """Let go of everything."""


StageFactory = Callable[[Workbench], Stage[Any, Any]]
EngineFactory = Callable[[EngineMeans], Engine]


class Registry:
    """Collects what plugins and the worker itself have to offer."""

    def __init__(self) -> None:
        self._stages: list[StageFactory] = []
        self._engines: dict[str, EngineFactory] = {}
        self._followers: dict[str, tuple[Follower, ...]] = {}

    def add_stage(self, factory: StageFactory) -> None:
        """Offer a stage; its `job_type` and `queue` say which jobs it takes."""
        self._stages.append(factory)

    def add_engine(self, name: str, factory: EngineFactory) -> None:
        """Offer an engine under the name that the setting ENGINE chooses it by; a later one replaces an earlier."""
        self._engines[name] = factory

    def follow(self, job_type: str, *, queue: str, then: str) -> None:
        """Write a job of type `then` for `queue` in the very transaction in which a job of `job_type` takes effect."""
        self._followers[job_type] = (*self.followers_of(job_type), Follower(queue, then))

    def followers_of(self, job_type: str) -> tuple[Follower, ...]:
        """The jobs to write after one of `job_type`."""
        return self._followers.get(job_type, ())

    def engine(self, means: EngineMeans) -> Engine:
        """The engine that the settings choose.

        Raises:
            SettingsInvalid: nobody offers it.
        """
        name = means.settings.engine
        factory = self._engines.get(name)
        if factory is None:
            known = ", ".join(sorted(self._engines))
            raise SettingsInvalid([f"ENGINE: there is no engine {name!r}; choose one of {known}"])
        return factory(means)

    def stages(self, bench: Workbench) -> dict[str, dict[str, Stage[Any, Any]]]:
        """The stages by queue and job type.

        Raises:
            SettingsInvalid: two stages take the same job type from one queue.
        """
        found: dict[str, dict[str, Stage[Any, Any]]] = {}
        for stage in (factory(bench) for factory in self._stages):
            takers = found.setdefault(stage.queue, {})
            if stage.job_type in takers:
                raise SettingsInvalid([f"two stages take {stage.job_type} from the queue {stage.queue}"])
            takers[stage.job_type] = stage
        return found


def load_plugins(registry: Registry, names: Iterable[str]) -> None:
    """Let every plugin add what it offers.

    Raises:
        SettingsInvalid: naming each plugin that cannot be loaded, and why.
    """
    faults: list[str] = []
    for name in names:
        module, _, function = name.partition(":")
        try:
            register = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError, ValueError) as error:
            faults.append(f"STAGE_WORKER_PLUGINS: {name!r} is no package.module:function that can be loaded: {error}")
            continue
        register(registry)
    if faults:
        raise SettingsInvalid(faults)
