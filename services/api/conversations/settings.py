"""What the api is told about messages."""

from __future__ import annotations

import dataclasses

from services.kernel.messages.settings import StreamSettings
from services.kernel.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class MessageSettings(StreamSettings):
    """How messages are accepted, and from whom."""

    messages_durability: str = setting(
        "MESSAGES_DURABILITY",
        default="redis",
        choices=("redis", "postgres"),
        doc="what has a message when it is accepted: redis, as durable as its `appendfsync` says, and its row follows; or "
        "postgres, which takes longer and loses nothing even when Redis is emptied",
    )
    messages_stream_percent: int = setting(
        "MESSAGES_STREAM_PERCENT",
        default=100,
        unit="%",
        minimum=0,
        maximum=100,
        doc="share of the conversations whose messages go through the stream; the others' are written at once, as with "
        "MESSAGES_DURABILITY=postgres. For a roll-out in steps, and 0 for a way back",
    )
    messages_lookup_seconds: float = setting(
        "MESSAGES_LOOKUP_SECONDS",
        default=0.5,
        unit="s",
        minimum=0,
        maximum=5,
        doc="longest wait for PostgreSQL to say whether a message is there already; after it the message is accepted, and its "
        "row still written once. 0 asks Redis alone",
    )
    messages_accept_seconds: float = setting(
        "MESSAGES_ACCEPT_SECONDS",
        default=2.0,
        unit="s",
        minimum=0.05,
        maximum=30,
        doc="longest wait for Redis to take a message, or to show one that has no row yet; after it 503 is answered, and a "
        "message must be sent again",
    )
    messages_payload_bytes: int = setting(
        "MESSAGES_PAYLOAD_BYTES",
        default=16_384,
        unit="bytes",
        minimum=256,
        doc="a longer content goes into the document store first, so that Redis keeps its place only",
    )
    messages_payload_average_bytes: int = setting(
        "MESSAGES_PAYLOAD_AVERAGE_BYTES",
        default=2048,
        unit="bytes",
        minimum=0,
        doc="while the contents of late are longer than this on the average, each that is longer than this goes there as well; "
        "0 leaves it to MESSAGES_PAYLOAD_BYTES alone",
    )
    ready_without_database: bool = setting(
        "READY_WITHOUT_DATABASE",
        default=False,
        doc="whether /readyz stays 200 while PostgreSQL does not answer and the stream's Redis does, so that a Service goes on "
        "sending messages; all else is 503 then. Only once this process has seen a schema that fits, and only where messages "
        "go through the stream",
    )
    messages_require_token: bool = setting(
        "MESSAGES_REQUIRE_TOKEN",
        default=True,
        doc="whether a message, and what is read of one, needs a token: then only its user can send and receive in his name. "
        "The local stack sets false; then a token may be missing, and one that is sent is checked all the same",
    )

    @property
    def stream_percent(self) -> int:
        """The share of the conversations whose messages go through the stream, whatever the reason."""
        return 0 if self.messages_durability == "postgres" else self.messages_stream_percent
