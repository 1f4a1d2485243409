"""Beginning, cancelling and repeating a run (contract.md a.1, a.2)."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from services.api.auth import Principal
from services.api.client_keys import client_key
from services.api.courses import Courses
from services.api.messages import Reply, Request, struct_reply
from services.api.models import CourseReply, InitiateBody, InitiateReply
from services.api.routes.courses import CourseRoutes
from services.api.routing import Answer, Operation
from services.api.webhooks import WebhookDoor
from services.kernel import tracing
from services.kernel.commands import Initiation, InitiationRequest
from services.kernel.errors import Conflict
from services.kernel.initiation import CommandHandler
from services.kernel.logs import bind_context, get_logger

TAG: Final = "Generation"

_log = get_logger(__name__)


class GenerationRoutes:
    """The routes that begin and end runs."""

    def __init__(self, commands: CommandHandler, courses: Courses, views: CourseRoutes, webhooks: WebhookDoor) -> None:
        self._commands = commands
        self._webhooks = webhooks
        self._courses = courses
        self._views = views

    def operations(self) -> list[Operation]:
        """This module's part of the table."""
        initiated = {200: Answer("Accepted, or a repeat of an accepted request", InitiateReply)}
        begins: dict[str, Any] = {
            "method": "POST",
            "tag": TAG,
            "accepts": InitiateBody,
            "answers": initiated,
            "errors": (403, 404, 409, 429),
            "takes_key": True,
        }
        return [
            Operation(path="/api/trpc/generation.initiate", handler=self.initiate, **begins),
            Operation(path="/api/coursegen/generate", handler=self.generate, **begins),
            Operation(
                method="POST",
                path="/api/courses/{course}/cancel",
                handler=self.cancel,
                tag=TAG,
                answers={200: Answer("The course, cancelled", CourseReply)},
                errors=(409,),
            ),
            Operation(
                method="POST",
                path="/api/courses/{course}/retry",
                handler=self.retry,
                tag=TAG,
                answers=initiated,
                errors=(409, 429),
                takes_key=True,
            ),
        ]

    async def initiate(self, request: Request) -> Reply:
        """Begin to generate a course.

        A `courseId` that does not exist is created when a `title` comes with it. The same request again is answered with
        the same job for 24 hours; an `Idempotency-Key` begins a new run of a finished, failed or cancelled course.
        """
        body = await request.read_json(InitiateBody)
        self._webhooks.admit(body.webhook_url)
        return await self._begin(request, body)

    async def generate(self, request: Request) -> Reply:
        """Begin to generate a course, for clients of the older path; the same as `generation.initiate`."""
        return await self.initiate(request)

    async def cancel(self, request: Request) -> Reply:
        """End the run under way. What is finished of it is kept in the history; a course cancelled already stays so."""
        course = await self._courses.find(request.path["course"], request.principal)
        await self._courses.cancel(course["id"], request.principal, request.request_id)
        _log.info("course cancelled", courseId=str(course["id"]))
        return await self._views.show(await self._courses.find(str(course["id"]), request.principal))

    async def retry(self, request: Request) -> Reply:
        """Begin a new run of a course whose last one failed or was cancelled, with the same settings."""
        course = await self._courses.find(request.path["course"], request.principal)
        status = course["status"]
        if status == "completed" or (status == "pending" and course["run_number"] == 1):
            raise Conflict(f"There is nothing to retry: the course is `{status}`.", status=status)
        return await self._begin(request, InitiateBody(course_id=course["id"], has_files=course["has_files"]))

    async def _begin(self, request: Request, body: InitiateBody) -> Reply:
        caller = request.principal
        command = _command(body, caller, client_key(request, body.idempotency_key), request.request_id)
        with bind_context(courseId=str(body.course_id)):
            initiation = await self._commands.initiate(command)
            said = "generation replayed" if initiation.from_cache else "generation initiated"
            _log.info(said, jobId=str(initiation.job_id), runNumber=initiation.run_number)
        return struct_reply(_reply(initiation))


def _command(body: InitiateBody, caller: Principal, key: str | None, request_id: str) -> InitiationRequest:
    return InitiationRequest(
        course_id=body.course_id,
        user_id=caller.user_id,
        organization_id=caller.organization_id,
        title=body.title,
        has_files=body.has_files,
        style=body.style,
        language=body.language,
        webhook_url=body.webhook_url,
        tier=caller.tier,
        priority=caller.priority,
        client_key=key,
        request_id=request_id,
        traceparent=tracing.current_header(),
    )


def _reply(initiation: Initiation) -> InitiateReply:
    return InitiateReply(
        success=True,
        job_id=initiation.job_id,
        course_id=initiation.course_id,
        from_cache=True if initiation.from_cache else msgspec.UNSET,
    )
