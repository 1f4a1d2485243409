"""The five `metrics.*` routes and `/api/health/outbox`, open to all (contract.md a.4, a.5, TRAP35)."""

from __future__ import annotations

import re
from typing import Final

from services.api.messages import Reply, Request, json_reply
from services.api.metrics_models import AllNumbers, FallbackNumbers, FsmNumbers, Health, OutboxHealth, OutboxNumbers
from services.api.routing import Answer, Operation
from services.api.shared_figures import SharedFigures
from services.kernel import metrics

TAG: Final = "Metrics"

_WANTS_TEXT = re.compile(rb"text/plain|application/openmetrics-text")


class MetricsRoutes:
    """The routes that show numbers."""

    def __init__(self, figures: SharedFigures, *, always_200: bool) -> None:
        self._figures = figures
        self._always_200 = always_200

    def operations(self) -> list[Operation]:
        """This module's part of the table."""
        handlers = {
            "/api/trpc/metrics.getAll": (
                self.get_all,
                Answer("The numbers", AllNumbers, also=("text/plain", "application/openmetrics-text")),
            ),
            "/api/trpc/metrics.getFSM": (self.get_fsm, Answer("The numbers", FsmNumbers)),
            "/api/trpc/metrics.getOutbox": (self.get_outbox, Answer("The numbers", OutboxNumbers)),
            "/api/trpc/metrics.getFallbacks": (self.get_fallbacks, Answer("The numbers", FallbackNumbers)),
            "/api/trpc/metrics.healthCheck": (self.health_check, Answer("Healthy", Health)),
            "/api/health/outbox": (self.outbox_health, Answer("The outbox and its relay", OutboxHealth)),
        }
        return [
            Operation(
                method="GET",
                path=path,
                handler=handler,
                tag=TAG,
                answers={200: answer}
                | ({503: Answer("Not healthy; same body", Health)} if answer.model is Health else {}),
                public=True,
            )
            for path, (handler, answer) in handlers.items()
        ]

    async def get_all(self, request: Request) -> Reply:
        """All numbers: JSON, or Prometheus' text format or OpenMetrics for a client that accepts that (TRAP4).

        All who ask within a second are answered from one look, those for JSON and those for text each from theirs; `readAt`
        says in JSON when it was taken. While more than 1000 rows wait it may be ten seconds old. Without PostgreSQL the text is
        `system_healthy 0` and no more, with 200: whoever scrapes it is to hear of that.
        """
        accepted = request.header(b"accept") or b""
        if _WANTS_TEXT.search(accepted) and b"application/json" not in accepted:
            page = metrics.shared_page(accepted.decode("latin-1"), await self._figures.text())
            return Reply(200, page.body, page.content_type.encode())
        return json_reply(await self._figures.all())

    async def get_fsm(self, request: Request) -> Reply:
        """How initiations went, a second ago at most (`readAt`)."""
        del request
        return json_reply(await self._figures.fsm())

    async def get_outbox(self, request: Request) -> Reply:
        """How the outbox and its relay were a second ago at most, or, while more than 1000 rows wait, ten (`readAt`)."""
        del request
        return json_reply(await self._figures.outbox())

    async def get_fallbacks(self, request: Request) -> Reply:
        """How often Layers 2 and 3 had to step in, as of a second ago at most (`readAt`)."""
        del request
        return json_reply(await self._figures.fallbacks())

    async def health_check(self, request: Request) -> Reply:
        """Whether the system as a whole is healthy, by four criteria. It follows the relay, not this instance (TRAP40).

        The verdict may be a second old, and ten when PostgreSQL is slow, so that it costs next to nothing however many load
        balancers ask.
        """
        del request
        verdict = await self._figures.verdict()
        return json_reply(verdict, 200 if verdict["healthy"] or self._always_200 else 503)

    async def outbox_health(self, request: Request) -> Reply:
        """Whether the relay lives and how many rows wait: a second ago at most, or, while more than 1000 wait, ten (`readAt`)."""
        del request
        return json_reply(await self._figures.outbox_health())
