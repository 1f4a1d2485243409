"""The stages and engines that come with the worker, added to the registry exactly as a plugin adds its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from services.kernel.errors import SettingsInvalid
from services.kernel.objects import DocumentStore
from services.kernel.webhooks.secrets import SecretVault
from services.stage_worker.engines.interface import Engine
from services.stage_worker.registry import EngineMeans, Registry
from services.stage_worker.stages.document_processing import DocumentProcessing, Fetch
from services.stage_worker.stages.structure_analysis import StructureAnalysis
from services.stage_worker.stages.structure_generation import StructureGeneration
from services.stage_worker.webhooks.delivery import WebhookDelivery, WebhookOutlet
from services.stage_worker.webhooks.network import GuardedBackend
from services.stage_worker.webhooks.schedule import RetrySchedule
from services.stage_worker.webhooks.sender import Sender, tls_context
from services.stage_worker.webhooks.settings import DeliverySettings


def register(registry: Registry) -> None:
    """Offer the three pipeline stages, webhooks, and the two engines."""
    registry.add_stage(lambda bench: DocumentProcessing(bench.db, bench.fetch, bench.parse))
    registry.add_stage(lambda bench: StructureAnalysis(bench.db, bench.engine))
    registry.add_stage(lambda bench: StructureGeneration(bench.db, bench.engine))
    registry.add_stage(lambda bench: WebhookDelivery(bench.db, bench.outlet))
    registry.add_engine("offline", _offline)
    registry.add_engine("openai", _openai)


def fetching(store: DocumentStore) -> Fetch:
    """How a stored document becomes a file that a parser can open."""

    async def fetch(object_key: UUID, path: Path) -> None:
        with path.open("wb") as file:
            async for piece in store.read(object_key):
                file.write(piece)

    return fetch


@asynccontextmanager
async def webhook_outlet(settings: DeliverySettings) -> AsyncIterator[WebhookOutlet]:
    """What sending webhooks takes, open for as long as the block runs.

    Raises:
        SettingsInvalid: the file of authorities cannot be read.
    """
    rules = settings.url_rules
    try:
        context = tls_context(settings.webhook_ca_file)
    except OSError as error:  # ssl's own errors are of this kind too
        raise SettingsInvalid([f"WEBHOOK_CA_FILE: {settings.webhook_ca_file} cannot be used: {error}"]) from error
    sender = Sender(GuardedBackend(rules.addresses), context, seconds=settings.webhook_seconds)
    try:
        yield WebhookOutlet(sender, SecretVault(settings.webhook_keys), rules, RetrySchedule(settings.webhook_delays))
    finally:
        await sender.close()


def _offline(means: EngineMeans) -> Engine:
    from services.stage_worker.engines.offline.engine import OfflineEngine

    return OfflineEngine(means.sandbox)


def _openai(means: EngineMeans) -> Engine:
    from services.stage_worker.engines.openai.engine import OpenAIEngine

    return OpenAIEngine(means.settings, preparing=_offline(means))
