"""The engine that speaks to any endpoint with the OpenAI chat API: structured answers, checked against the sources.

Nothing the model says is believed: every answer must fit its schema, every citation must stand in the passage it
names, and a lesson that breaks a rule of the course is asked for again with the reason.
"""

from services.stage_worker.engines.openai.engine import OpenAIEngine
from services.stage_worker.engines.openai.settings import OpenAISettings

__all__ = ["OpenAIEngine", "OpenAISettings"]
