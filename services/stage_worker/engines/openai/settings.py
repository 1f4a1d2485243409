"""What the OpenAI-compatible engine is told."""

from __future__ import annotations

from dataclasses import dataclass

from services.kernel.settings import Secret, setting


@dataclass(frozen=True, kw_only=True)
class OpenAISettings:
    """Where the model is, what it may cost, and how long to wait for it. Part of the worker's settings."""

    openai_base_url: str = setting(
        "OPENAI_BASE_URL",
        default="https://api.openai.com/v1",
        doc="address of the API, up to but without /chat/completions",
    )
    openai_api_key: Secret | None = setting(
        "OPENAI_API_KEY", default=None, doc="the key sent as a bearer token; none for a local server without keys"
    )
    openai_model: str = setting("OPENAI_MODEL", default="gpt-4o-mini", doc="the model's name, as the endpoint knows it")
    openai_structure: str = setting(
        "OPENAI_STRUCTURE",
        default="json_schema",
        choices=("json_schema", "json_object"),
        doc="how the form of answers is asked for; json_object for servers that do not know schemas",
    )
    openai_seconds: float = setting(
        "OPENAI_TIMEOUT_SECONDS",
        default=120.0,
        unit="s",
        minimum=1,
        doc="time for one answer; long lessons take a minute",
    )
    openai_attempts: int = setting(
        "OPENAI_ATTEMPTS", default=4, unit="tries", minimum=1, maximum=20, doc="tries of one question, for any reason"
    )
    openai_longest_wait: float = setting(
        "OPENAI_LONGEST_WAIT_SECONDS",
        default=30.0,
        unit="s",
        minimum=0,
        doc="longest pause between tries; when the server asks for more, the job goes back to its queue instead",
    )
    openai_concurrency: int = setting(
        "OPENAI_CONCURRENCY",
        default=4,
        unit="requests",
        minimum=1,
        maximum=64,
        doc="lessons of one course in work at a time",
    )
    openai_max_requests: int = setting(
        "OPENAI_MAX_REQUESTS",
        default=400,
        unit="requests",
        minimum=1,
        doc="requests that one step of one course may take",
    )
    openai_max_tokens: int = setting(
        "OPENAI_MAX_TOKENS",
        default=3_000_000,
        unit="tokens",
        minimum=1,
        doc="tokens that one step of one course may take",
    )
    openai_max_cost: float = setting(
        "OPENAI_MAX_COST",
        default=0.0,
        minimum=0,
        doc="what one step of one course may cost, in the prices' currency; 0 for no limit",
    )
    openai_input_price: float = setting(
        "OPENAI_INPUT_PRICE", default=0.0, minimum=0, doc="price of a million tokens sent"
    )
    openai_output_price: float = setting(
        "OPENAI_OUTPUT_PRICE", default=0.0, minimum=0, doc="price of a million tokens received"
    )
