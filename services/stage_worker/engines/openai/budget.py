"""The budget: what one step of one course may take from the endpoint. It is checked before every request."""

from __future__ import annotations

from services.kernel.errors import PermanentError
from services.stage_worker.engines.openai.settings import OpenAISettings

_MILLION = 1_000_000


class BudgetExhausted(PermanentError):
    """The course would take more from the model than its budget allows."""

    code = "budget_exhausted"


class Budget:
    """Counts requests, tokens and cost; answers from the cache are free."""

    def __init__(self, settings: OpenAISettings) -> None:
        self._settings = settings
        self.requests = 0
        self.tokens = 0
        self.cost = 0.0

    def take_request(self) -> None:
        """Count one request before it is made.

        Raises:
            BudgetExhausted: it must not be made.
        """
        limits = self._settings
        if self.requests >= limits.openai_max_requests:
            raise self._exhausted("OPENAI_MAX_REQUESTS", limits.openai_max_requests)
        if self.tokens >= limits.openai_max_tokens:
            raise self._exhausted("OPENAI_MAX_TOKENS", limits.openai_max_tokens)
        if limits.openai_max_cost and self.cost >= limits.openai_max_cost:
            raise self._exhausted("OPENAI_MAX_COST", limits.openai_max_cost)
        self.requests += 1

    def count(self, sent: int, received: int) -> None:
        """Count the tokens of an answer."""
        self.tokens += sent + received
        prices = self._settings
        self.cost += (sent * prices.openai_input_price + received * prices.openai_output_price) / _MILLION

    def _exhausted(self, setting: str, limit: float) -> BudgetExhausted:
        return BudgetExhausted(
            f"The course has used up its budget for the language model ({setting}={limit:g}). "
            "Use fewer or shorter documents, or ask the operator to raise the limit.",
            requests=self.requests,
            tokens=self.tokens,
        )
