"""The stages and engines that come with the worker, added to the registry exactly as a plugin adds its own."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from services.kernel.objects import DocumentStore
from services.stage_worker.engines.interface import Engine
from services.stage_worker.registry import EngineMeans, Registry
from services.stage_worker.stages.document_processing import DocumentProcessing, Fetch
from services.stage_worker.stages.structure_analysis import StructureAnalysis
from services.stage_worker.stages.structure_generation import StructureGeneration


def register(registry: Registry) -> None:
    """Offer the three pipeline stages and the two engines."""
    registry.add_stage(lambda bench: DocumentProcessing(bench.db, bench.fetch, bench.parse))
    registry.add_stage(lambda bench: StructureAnalysis(bench.db, bench.engine))
    registry.add_stage(lambda bench: StructureGeneration(bench.db, bench.engine))
    registry.add_engine("offline", _offline)
    registry.add_engine("openai", _openai)


def fetching(store: DocumentStore) -> Fetch:
    """How a stored document becomes a file that a parser can open."""

    async def fetch(object_key: UUID, path: Path) -> None:
        with path.open("wb") as file:
            async for piece in store.read(object_key):
                file.write(piece)

    return fetch


def _offline(means: EngineMeans) -> Engine:
    from services.stage_worker.engines.offline.engine import OfflineEngine

    return OfflineEngine(means.sandbox)


def _openai(means: EngineMeans) -> Engine:
    from services.stage_worker.engines.openai.engine import OpenAIEngine

    return OpenAIEngine(means.settings, preparing=_offline(means))
