"""What an OpenAI-compatible endpoint answers, as far as it is read. Unknown fields are ignored."""

from __future__ import annotations

import msgspec


class Message(msgspec.Struct, frozen=True):
    """What the model said, or that it refused to."""

    content: str | None = None
    refusal: str | None = None


class Choice(msgspec.Struct, frozen=True):
    """One answer; only the first is read."""

    message: Message
    finish_reason: str | None = None


class Usage(msgspec.Struct, frozen=True):
    """Tokens the endpoint charged for."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Completion(msgspec.Struct, frozen=True):
    """The body of a successful response."""

    choices: tuple[Choice, ...]
    usage: Usage | None = None


class Fault(msgspec.Struct, frozen=True):
    """What went wrong, in the endpoint's words."""

    message: str | None = None
    code: str | int | None = None
    type: str | None = None


class FaultBody(msgspec.Struct, frozen=True):
    """The body of a refused request."""

    error: Fault | str | None = None

    def text(self) -> str:
        """The words, or nothing."""
        return self.error if isinstance(self.error, str) else (self.error.message or "" if self.error else "")

    def kind(self) -> str:
        """The code or type, or nothing."""
        return str(self.error.code or self.error.type or "") if isinstance(self.error, Fault) else ""
