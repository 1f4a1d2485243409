"""The stage that sends: one job is one attempt, and its effect is what became of it.

A worker that dies between sending and the commit leaves the job undecided; it is delivered again and sent again, under the
same `webhook-id`, by which the receiver knows it. An attempt that failed is no failure of the job: the job's effect is then
the moment of the next attempt, or the dead letter.

Fault point: `webhook.sent`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import ClassVar, Final

from services.kernel import metrics, spans, tracing
from services.kernel.clock import Clock, SystemClock
from services.kernel.database import Database, Row
from services.kernel.envelopes import Job
from services.kernel.errors import CoursegenError, UpstreamUnavailable
from services.kernel.faults import reach
from services.kernel.logs import get_logger
from services.kernel.queries import Queries
from services.kernel.webhooks.deliveries import JOB_TYPE, QUEUE
from services.kernel.webhooks.secrets import SecretVault
from services.kernel.webhooks.signing import signed_headers
from services.kernel.webhooks.urls import Target, UrlRules
from services.stage_worker.stages.course_run import CourseRun
from services.stage_worker.stages.stage import NothingToDo, Stage
from services.stage_worker.stages.transaction import StageTransaction
from services.stage_worker.webhooks.resolving import on_behalf_of
from services.stage_worker.webhooks.schedule import RetrySchedule, seconds_asked
from services.stage_worker.webhooks.sender import Answer, AttemptFailed, Sender

MOST_PER_RECEIVER: Final = 4
"""Attempts of one worker at one receiver at a time: a slow receiver must not hold up the others."""

MOST_PER_ORGANIZATION: Final = 8
"""Attempts of one worker for one organisation at a time: nobody with many slow receivers takes all places."""

_GONE: Final = 410
_BUSY_SECONDS: Final = 2.0
_USER_AGENT = f"coursegen/{metadata.version('coursegen')}"

_ATTEMPTS = metrics.counter("webhook_attempts", "Attempts at webhooks by how they ended", ("event_type", "result"))
_SECONDS = metrics.histogram("webhook_attempt_duration_seconds", "Time of an attempt, answer included")

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WebhookOutlet:
    """What sending takes."""

    sender: Sender
    vault: SecretVault
    rules: UrlRules
    schedule: RetrySchedule


@dataclass(frozen=True, slots=True)
class Attempt:
    """How an attempt ended, and what follows."""

    status: int | None
    error: str | None = None
    """None when the receiver has accepted."""
    pause: float | None = None
    """Seconds until the next one; None when there is none."""

    @property
    def result(self) -> str:
        """In a word, for metrics and logs."""
        if self.error is None:
            return "delivered"
        return "dead" if self.pause is None else "failed"


class WebhookDelivery(Stage[Job, Attempt]):
    """The job `WEBHOOK_DELIVERY`."""

    job_type: ClassVar[str] = JOB_TYPE
    queue: ClassVar[str] = QUEUE
    any_run: ClassVar[bool] = True
    model = Job

    def __init__(self, db: Database, outlet: WebhookOutlet, clock: Clock | None = None) -> None:
        self._db = db
        self._outlet = outlet
        self._clock = clock or SystemClock()
        self._in_hand: Counter[Hashable] = Counter()
        self._sql = Queries.load("services.kernel", "webhooks.sql")

    async def compute(self, job: Job, course: CourseRun) -> Attempt:
        """Send it once.

        Raises:
            NothingToDo: a later attempt or a person has overtaken this one.
            UpstreamUnavailable: enough attempts at this receiver or of this organisation are under way; none was made.
            WebhookUrlRefused: the address is not allowed (any more).
        """
        row = await self._db.fetchrow(self._sql["attempt_of"], job.outbox_id)
        if row is None:
            raise NothingToDo("this attempt is not the one under way any more")
        target = self._outlet.rules.target(row["url"])
        with self._place(target.origin, MOST_PER_RECEIVER), self._place(row["organization_id"], MOST_PER_ORGANIZATION):
            attempt = await self._send(job, row, target)
        await reach("webhook.sent")
        self._report(row, target, attempt)
        return attempt

    async def commit(self, tx: StageTransaction, prepared: Attempt) -> None:
        """Write down what became of it."""
        outbox_id = tx.job.outbox_id
        if prepared.error is None:
            await tx.connection.execute(self._sql["record_delivered"], outbox_id, prepared.status)
        elif prepared.pause is None:
            await tx.connection.execute(self._sql["bury"], outbox_id, prepared.status, prepared.error)
        else:
            fields = (outbox_id, prepared.status, prepared.error, prepared.pause)
            await tx.connection.execute(self._sql["record_failed"], *fields)

    async def reject(self, tx: StageTransaction, error: CoursegenError) -> None:
        """Keep it as a dead letter: it cannot be sent as it stands."""
        await tx.connection.execute(self._sql["bury"], tx.job.outbox_id, None, error.message)

    @contextmanager
    def _place(self, whose: Hashable, most: int) -> Iterator[None]:
        if self._in_hand[whose] >= most:
            raise UpstreamUnavailable(f"{whose} is busy with other webhooks", retry_after=_BUSY_SECONDS)
        self._in_hand[whose] += 1
        try:
            yield
        finally:
            self._in_hand[whose] -= 1
            self._in_hand += Counter()  # forgets receivers with nothing in hand

    async def _send(self, job: Job, row: Row, target: Target) -> Attempt:
        secrets = await self._outlet.vault.valid(self._db, row["organization_id"])
        body = row["body"].encode()
        timestamp = int(self._clock.now().timestamp())
        headers: dict[str, str] = {
            "Content-Type": "application/json",
            "User-Agent": _USER_AGENT,
            **signed_headers(secrets, str(row["delivery_id"]), timestamp, body),
            **({"X-Request-ID": str(job.request_id)} if _is_header(job.request_id) else {}),
        }
        facts: dict[str, spans.Attribute] = {"http.request.method": "POST", "server.address": target.host}
        started = self._clock.monotonic()
        try:
            with on_behalf_of(row["organization_id"]), spans.calling("POST webhook", facts) as call:
                answer = await self._outlet.sender.post(target, headers | tracing.outgoing(), body)
                call.attributes["http.response.status_code"] = answer.status
                call.has_failed = not answer.is_accepted
        except AttemptFailed as failure:
            return self._failed(row, None, str(failure), None)
        finally:
            _SECONDS.observe(self._clock.monotonic() - started, metrics.exemplar())
        return self._judged(row, answer)

    def _judged(self, row: Row, answer: Answer) -> Attempt:
        if answer.is_accepted:
            return Attempt(answer.status)
        said = f": {answer.quote}" if answer.quote else ""
        if answer.status == _GONE:
            return Attempt(answer.status, f"the receiver answered 410, it wants no more{said}")
        if 300 <= answer.status <= 399:
            said = ", and redirects are not followed"
        asked = seconds_asked(answer.retry_after, self._clock.now())
        return self._failed(row, answer.status, f"the receiver answered {answer.status}{said}", asked)

    def _failed(self, row: Row, status: int | None, error: str, asked: float | None) -> Attempt:
        return Attempt(status, error, self._outlet.schedule.pause(row["attempts"] + 1, asked))

    def _report(self, row: Row, target: Target, attempt: Attempt) -> None:
        _ATTEMPTS.labels(row["event_type"], attempt.result).inc()
        log = _log.info if attempt.error is None else _log.warning
        log(
            "webhook sent" if attempt.error is None else "webhook not accepted",
            webhookId=str(row["delivery_id"]),
            eventType=row["event_type"],
            receiver=target.origin,
            attempt=row["attempts"] + 1,
            status=attempt.status,
            result=attempt.result,
            **({} if attempt.error is None else {"reason": attempt.error, "next_seconds": attempt.pause}),
        )


def _is_header(text: str | None) -> bool:
    """Whether a client's request id may stand in a header; rows can be written by hand."""
    return text is not None and text.isascii() and text.isprintable() and text == text.strip() != ""
