"""Courses: created, listed, shown, deleted; their history and their result."""

from __future__ import annotations

from typing import Any, Final

from services.api.client_keys import client_key
from services.api.courses import Courses
from services.api.cursors import (
    DEFAULT_PAGE,
    LARGEST_PAGE,
    decode_place,
    decode_position,
    encode_place,
    encode_position,
    page_size,
)
from services.api.documents import Documents
from services.api.messages import Reply, Request, json_reply, struct_reply
from services.api.models import (
    CoursePage,
    CourseReply,
    CourseSummary,
    CreateCourseBody,
    DocumentReply,
    EventPage,
    EventReply,
)
from services.api.routing import Answer, Operation, QueryParameter
from services.api.webhooks import WebhookDoor
from services.kernel.database import Row
from services.kernel.errors import InvalidInput, NotReady
from services.kernel.logs import get_logger
from services.kernel.states import Status

TAG: Final = "Courses"

MARKDOWN_TYPE: Final = b"text/markdown; charset=utf-8"
_COURSE: Final = "/api/courses/{course}"

_PAGING = (
    QueryParameter(
        "limit",
        "most things of the page",
        {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": DEFAULT_PAGE},
    ),
    QueryParameter("cursor", "`nextCursor` of the page before", {"type": "string"}),
)
_STATUS_FILTER = QueryParameter("status", "only courses in this state", {"type": "string", "enum": list(Status)})

_log = get_logger(__name__)


class CourseRoutes:
    """The routes about courses."""

    def __init__(self, courses: Courses, documents: Documents, webhooks: WebhookDoor) -> None:
        self._courses = courses
        self._documents = documents
        self._webhooks = webhooks

    def operations(self) -> list[Operation]:
        """This module's part of the table."""
        shown = Answer("The course", CourseReply)
        return [
            self._get(
                "/api/courses", self.list_courses, Answer("A page of courses", CoursePage), (*_PAGING, _STATUS_FILTER)
            ),
            Operation(
                method="POST",
                path="/api/courses",
                handler=self.create_course,
                tag=TAG,
                accepts=CreateCourseBody,
                answers={201: shown, 200: Answer("The course that was created under this key before", CourseReply)},
                errors=(409,),
                takes_key=True,
            ),
            self._get(_COURSE, self.show_course, shown),
            Operation(
                method="DELETE", path=_COURSE, handler=self.delete_course, tag=TAG, answers={204: Answer("It is gone")}
            ),
            self._get(f"{_COURSE}/history", self.history, Answer("A page of events", EventPage), _PAGING),
            self._get(f"{_COURSE}/result", self.result, Answer("The finished course", schema="Course"), errors=(409,)),
            self._get(
                f"{_COURSE}/result.md",
                self.result_markdown,
                Answer("The finished course as Markdown", content_type="text/markdown"),
                errors=(409,),
            ),
        ]

    @staticmethod
    def _get(
        path: str, handler: Any, answer: Answer, query: tuple[QueryParameter, ...] = (), errors: tuple[int, ...] = ()
    ) -> Operation:
        return Operation(
            method="GET", path=path, handler=handler, tag=TAG, answers={200: answer}, query=query, errors=errors
        )

    async def list_courses(self, request: Request) -> Reply:
        """List your courses, newest first."""
        query = request.query()
        size = page_size(query)
        status = query.get("status")
        if status is not None and status not in set(Status):
            raise InvalidInput(f"`status` must be one of {', '.join(Status)}.", field="status")
        rows = await self._courses.page(request.principal, decode_place(query), status, size + 1)
        shown = rows[:size]
        more = len(rows) > size
        return struct_reply(
            CoursePage(
                courses=[_summary(row) for row in shown],
                next_cursor=encode_place(shown[-1]["created_at"], shown[-1]["id"]) if more else None,
            )
        )

    async def create_course(self, request: Request) -> Reply:
        """Create a course to upload documents to. The token must name an organisation.

        The same request with the same `Idempotency-Key` is answered with the same course for 24 hours, as it stands then.
        """
        body = await request.read_json(CreateCourseBody)
        self._webhooks.admit(body.webhook_url)
        made = await self._courses.create(body, request.principal, client_key(request))
        if not made.is_new:
            return await self.show(made.course)
        _log.info("course created", courseId=str(made.course["id"]))
        location = (b"location", b"/api/courses/" + str(made.course["id"]).encode())
        return struct_reply(_course(made.course, []), 201, (location,))

    async def show_course(self, request: Request) -> Reply:
        """Show one of your courses, by UUID or slug, with progress and documents."""
        return await self.show(await self._courses.find(request.path["course"], request.principal))

    async def show(self, row: Row) -> Reply:
        """The answer that shows the course in `row`."""
        documents = await self._documents.list(row["id"])
        return struct_reply(_course(row, [DocumentReply.of(each) for each in documents]))

    async def delete_course(self, request: Request) -> Reply:
        """Delete a course with its documents, history and result. A run under way ends."""
        course = await self._courses.find(request.path["course"], request.principal)
        await self._courses.delete(course["id"], request.principal)
        return Reply(204)

    async def history(self, request: Request) -> Reply:
        """List what happened to the course, oldest first."""
        course = await self._courses.find(request.path["course"], request.principal)
        query = request.query()
        size = page_size(query)
        rows = await self._courses.events(course["id"], decode_position(query), size + 1)
        shown = rows[:size]
        more = len(rows) > size
        return struct_reply(
            EventPage(
                events=[EventReply.of(row) for row in shown],
                next_cursor=encode_position(shown[-1]["position"]) if more else None,
            )
        )

    async def result(self, request: Request) -> Reply:
        """Fetch the finished course as JSON; its schema is in the repository."""
        course = await self._courses.find(request.path["course"], request.principal)
        row = await self._courses.result(course["id"]) if course["status"] == "completed" else None
        if row is None:
            raise _not_ready(course)
        return json_reply(row["result"])

    async def result_markdown(self, request: Request) -> Reply:
        """Fetch the finished course as Markdown."""
        course = await self._courses.find(request.path["course"], request.principal)
        text = await self._courses.markdown(course["id"]) if course["status"] == "completed" else None
        if text is None:
            raise _not_ready(course)
        disposition = f'inline; filename="{course["slug"]}.md"'.encode()
        return Reply(200, text.encode(), MARKDOWN_TYPE, ((b"content-disposition", disposition),))


def _not_ready(course: Row) -> NotReady:
    status = course["status"]
    if status == "error":
        return NotReady(
            f"The generation failed: {course['error_message'] or 'see the history'}. Retry it with POST …/retry.",
            status=status,
        )
    return NotReady(f"The course is not finished: it is `{status}`.", status=status)


def _summary(row: Row) -> CourseSummary:
    fields = dict(row.items())
    fields["error"] = fields.pop("error_message")
    return CourseSummary(**fields)


def _course(row: Row, documents: list[DocumentReply]) -> CourseReply:
    fields = dict(row.items())
    fields["error"] = fields.pop("error_message")
    del fields["user_id"]
    return CourseReply(**fields, documents=documents)
