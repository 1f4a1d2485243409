"""Documents of a course: uploaded, listed, removed."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Final
from uuid import UUID

from services.api.courses import Courses
from services.api.document_types import recognise
from services.api.documents import Documents
from services.api.messages import Reply, Request, struct_reply
from services.api.models import DocumentList, DocumentReply
from services.api.routing import Answer, Operation
from services.api.uploads import receive_upload
from services.kernel.errors import NotFound

TAG: Final = "Documents"

_PATH: Final = "/api/courses/{course}/documents"
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class DocumentRoutes:
    """The routes about documents."""

    def __init__(self, courses: Courses, documents: Documents, *, largest: int, at_once: int, folder: Path) -> None:
        self._courses = courses
        self._documents = documents
        self._largest = largest
        self._folder = folder
        self._storing = asyncio.Semaphore(at_once)

    def operations(self) -> list[Operation]:
        """This module's part of the table."""
        return [
            Operation(
                method="GET",
                path=_PATH,
                handler=self.list_documents,
                tag=TAG,
                answers={200: Answer("The documents", DocumentList)},
            ),
            Operation(
                method="POST",
                path=_PATH,
                handler=self.upload_document,
                tag=TAG,
                uploads=True,
                answers={
                    201: Answer("The document", DocumentReply),
                    200: Answer("The document was uploaded before, with this name and content", DocumentReply),
                },
                errors=(409,),
            ),
            Operation(
                method="DELETE",
                path=f"{_PATH}/{{document}}",
                handler=self.delete_document,
                tag=TAG,
                answers={204: Answer("It is gone")},
                errors=(409,),
            ),
        ]

    async def list_documents(self, request: Request) -> Reply:
        """List the course's documents, in order, with what stage 2 found out about each."""
        course = await self._courses.find(request.path["course"], request.principal)
        rows = await self._documents.list(course["id"])
        return struct_reply(DocumentList(documents=[DocumentReply.of(row) for row in rows]))

    async def upload_document(self, request: Request) -> Reply:
        """Upload a document: PDF, DOCX, PPTX, HTML, Markdown or plain text, in the form field `file`."""
        course = await self._courses.find(request.path["course"], request.principal)
        await self._documents.refuse_early(course["id"], request.principal)
        async with receive_upload(request, largest=self._largest, folder=self._folder) as upload, self._storing:
            media_type = await asyncio.to_thread(recognise, upload.content, upload.size_bytes, upload.filename)
            row, is_new = await self._documents.add(
                course["id"],
                request.principal,
                filename=upload.filename,
                media_type=media_type,
                content=upload.content,
            )
        return struct_reply(DocumentReply.of(row), 201 if is_new else 200)

    async def delete_document(self, request: Request) -> Reply:
        """Remove a document from the course."""
        course = await self._courses.find(request.path["course"], request.principal)
        document = request.path["document"]
        if not _UUID.fullmatch(document):
            raise NotFound("The course has no such document.", documentId=document[:200])
        await self._documents.remove(course["id"], UUID(document), request.principal)
        return Reply(204)
