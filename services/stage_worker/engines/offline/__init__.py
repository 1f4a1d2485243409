"""The engine that needs nothing but the documents: extractive, deterministic, without a network.

Every sentence of a lesson is the material's own and cited; what is ours (objectives, exercises, a line here and
there) comes from the phrase pack of the lesson's language and names its subject.
"""

from services.stage_worker.engines.offline.engine import OfflineEngine, analyse_sync, generate_sync

__all__ = ["OfflineEngine", "analyse_sync", "generate_sync"]
