"""What a stage worker is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.kernel.objects import ObjectStoreSettings
from services.kernel.settings import CommonSettings, load, setting
from services.kernel.webhooks.deliveries import QUEUE as WEBHOOKS
from services.stage_worker.engines.openai.settings import OpenAISettings
from services.stage_worker.parsing.sandbox import SandboxLimits
from services.stage_worker.webhooks.settings import DeliverySettings

PIPELINE: Final = "course-generation"
SHORT_NAMES: Final = ("documents", "analysis", "generation")
_DEFAULT_CONCURRENCY: Final = 2
_OWN_CONCURRENCY: Final = {WEBHOOKS: 16}
"""Of queues whose jobs only wait for others; named ones replace it."""
_MOST_CONCURRENT: Final = 256


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many jobs of one queue a worker has in hand at a time."""

    general: int = _DEFAULT_CONCURRENCY
    special: tuple[tuple[str, int], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Concurrency:
        """Read ``4`` or ``documents=1,analysis=4`` (or both: ``2,documents=1``).

        Raises:
            ValueError: saying what to write instead.
        """
        general, special = _DEFAULT_CONCURRENCY, []
        for part in filter(None, (each.strip() for each in text.split(","))):
            name, equals, number = part.rpartition("=")
            jobs = _count(number)
            if equals:
                special.append((queue_name(name.strip()), jobs))
            else:
                general = jobs
        return cls(general, tuple(special))

    def of(self, queue: str) -> int:
        """The number for a queue, by its full name."""
        return dict(self.special).get(queue, _OWN_CONCURRENCY.get(queue, self.general))


def _count(text: str) -> int:
    if not text.strip().isdigit() or not 1 <= int(text) <= _MOST_CONCURRENT:
        raise ValueError(f"write a number from 1 to {_MOST_CONCURRENT} or queue=number, not {text.strip()!r}")
    return int(text)


def queue_name(name: str) -> str:
    """The full name of a queue: `documents`, `analysis` and `generation` are short for the pipeline's (D12)."""
    return f"{PIPELINE}:{name}" if name in SHORT_NAMES else name


def _queues(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(queue_name(part.strip()) for part in text.split(",") if part.strip()))


@dataclass(frozen=True, kw_only=True)
class WorkerSettings(CommonSettings, ObjectStoreSettings, OpenAISettings, DeliverySettings):
    """The settings of `python -m services.stage_worker`."""

    queues: tuple[str, ...] = setting(
        "STAGE_WORKER_QUEUES",
        default=(*(queue_name(name) for name in SHORT_NAMES), WEBHOOKS),
        parse=_queues,
        doc="queues to take jobs from: documents, analysis, generation, webhooks (the default is all four), or full names",
    )
    concurrency: Concurrency = setting(
        "STAGE_WORKER_CONCURRENCY",
        default=Concurrency(),
        parse=Concurrency.parse,
        unit="jobs",
        doc="jobs in hand at a time, of each queue: 4, or documents=1,analysis=4; 2 by default, webhooks=16",
    )
    engine: str = setting("ENGINE", default="offline", doc="who plans and writes: offline, openai, or a plugin's")
    plugins: tuple[str, ...] = setting(
        "STAGE_WORKER_PLUGINS", default=(), doc="functions that add stages and engines: package.module:function,..."
    )
    sandbox_processes: int = setting(
        "SANDBOX_PROCESSES",
        default=2,
        unit="processes",
        minimum=1,
        maximum=256,
        doc="documents read and courses written offline at the same time, each in a child process; one per core",
    )
    sandbox_memory: int = setting(
        "SANDBOX_MEMORY_BYTES",
        default=1 << 30,
        unit="bytes",
        minimum=256 << 20,
        doc="address space of one child process; a document that needs more is rejected with its reason",
    )
    document_seconds: float = setting(
        "DOCUMENT_SECONDS", default=120.0, unit="s", minimum=1, maximum=590, doc="time to read one document"
    )
    engine_seconds: float = setting(
        "ENGINE_SECONDS", default=600.0, unit="s", minimum=1, maximum=890, doc="time of the offline engine for one step"
    )
    layer2: bool = setting(
        "LAYER2_LISTENER", default=True, doc="whether this worker listens for queued jobs of uninitialised courses"
    )
    effect_sink: Path | None = setting(
        "EFFECT_SINK_FILE", default=None, doc="file that gets a line for each call of an effect; for fault tests"
    )

    @property
    def sandbox_limits(self) -> SandboxLimits:
        """What the child processes are allowed."""
        return SandboxLimits(
            processes=self.sandbox_processes,
            memory_bytes=self.sandbox_memory,
            parse_seconds=self.document_seconds,
            engine_seconds=self.engine_seconds,
        )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> WorkerSettings:
        """Read the environment.

        Raises:
            SettingsInvalid: with every fault found.
        """
        return load(cls, environ)
