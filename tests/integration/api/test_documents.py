"""Documents over HTTP: streamed in, checked by content, kept behind one interface."""

from __future__ import annotations

import asyncio
import io
import zipfile
from typing import Any
from uuid import UUID, uuid4

import docx
import httpx
import pytest

from services.api.auth import Principal
from services.kernel.database import Database
from services.kernel.errors import CourseBusy, Forbidden, NotFound
from services.kernel.objects import ABANDONED_AFTER, DocumentStore, PostgresShelf
from services.kernel.settings import Secret
from tests.support.api import RunningApi, running_api
from tests.support.courses import add_course, add_documents
from tests.support.tokens import USER, bearer
from tests.support.waiting import eventually

TEXT = "# Глава\n\nТекст.\n".encode()


def path(course_id: UUID) -> str:
    """Where its documents are."""
    return f"/api/courses/{course_id}/documents"


async def upload(
    api: RunningApi, course_id: UUID, content: bytes = TEXT, name: str = "a.md", **options: Any
) -> httpx.Response:
    """Send one file."""
    return await api.client.post(path(course_id), files={"file": (name, content)}, **options)


async def stored(db: Database) -> tuple[int, int, int]:
    """Documents, objects, chunks."""
    row = await db.fetchrow(
        "SELECT (SELECT count(*) FROM documents) AS d, (SELECT count(*) FROM stored_objects) AS o,"
        " (SELECT count(*) FROM stored_object_chunks) AS c"
    )
    assert row is not None
    return row["d"], row["o"], row["c"]


async def content_of(db: Database, document_id: str) -> bytes:
    """What a stage worker would read."""
    key = await db.fetchval("SELECT object_key FROM documents WHERE id = $1", UUID(document_id))
    return b"".join([piece async for piece in DocumentStore(db, PostgresShelf(db)).read(key)])


async def test_a_document_is_stored_and_listed_in_order(api: RunningApi, db: Database) -> None:
    """What comes out is what went in."""
    course_id = await add_course(db)
    first = (await upload(api, course_id)).json()
    large = TEXT * 40_000
    second = (await upload(api, course_id, large, "Большая глава.md")).json()
    listed = (await api.client.get(path(course_id))).json()["documents"]

    assert listed == [first, second]
    assert (second["filename"], second["mediaType"], second["sizeBytes"]) == (
        "Большая глава.md",
        "text/markdown",
        len(large),
    )
    assert (first["position"], second["position"], first["status"]) == (0, 1, "uploaded")
    assert await content_of(db, second["id"]) == large
    assert (await api.client.get(f"/api/courses/{course_id}")).json()["documents"] == listed


async def test_the_same_upload_again_is_the_same_document(api: RunningApi, db: Database) -> None:
    """A client that lost the answer may repeat it: 201, then 200; another name or content is another document."""
    course_id = await add_course(db)
    answers = [await upload(api, course_id) for _ in range(2)]
    other = await upload(api, course_id, name="b.md")

    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].json() == answers[1].json()
    assert other.status_code == 201
    assert await stored(db) == (2, 2, 2)


async def test_uploads_at_once_get_places_of_their_own(api: RunningApi, db: Database) -> None:
    """No two documents in one position."""
    course_id = await add_course(db)
    answers = await asyncio.gather(*(upload(api, course_id, TEXT + bytes([65 + n]), f"{n}.md") for n in range(12)))

    assert {answer.status_code for answer in answers} == {201}
    assert sorted(answer.json()["position"] for answer in answers) == list(range(12))


def bomb() -> bytes:
    """A DOCX that unpacks to 40 MB."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("word/document.xml", bytes(40 * 1024 * 1024))
    return out.getvalue()


def word() -> bytes:
    """A real DOCX."""
    document, out = docx.Document(), io.BytesIO()
    document.save(out)
    return out.getvalue()


BAD: dict[str, tuple[bytes, str, int, str]] = {
    "empty": (b"", "a.md", 400, "document_rejected"),
    "broken PDF": (b"%PDF-1.7\n1 0 obj", "a.pdf", 400, "document_rejected"),
    "broken DOCX": (word()[:2000], "a.docx", 400, "document_rejected"),
    "zip bomb": (bomb(), "a.docx", 400, "document_rejected"),
    "picture": (b"\x89PNG\r\n\x1a\n\x00", "a.png", 415, "unsupported_media_type"),
    "picture called PDF": (b"\x89PNG\r\n\x1a\n\x00", "a.pdf", 415, "unsupported_media_type"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_document_that_cannot_be_used_is_refused_and_not_kept(api: RunningApi, db: Database, name: str) -> None:
    """With a reason to act on."""
    content, filename, status, code = BAD[name]
    answer = await upload(api, await add_course(db), content, filename)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert len(answer.json()["error"]["message"]) > 20
    assert await stored(db) == (0, 0, 0)


async def test_a_body_that_is_no_form_is_refused(api: RunningApi, db: Database) -> None:
    """415 for another type, 400 for a damaged form or one without a file."""
    course_id = await add_course(db)
    typed = {"Content-Type": "multipart/form-data; boundary=X"}

    assert (await api.client.post(path(course_id), json={})).status_code == 415
    assert (await api.client.post(path(course_id))).status_code == 415
    assert (await api.client.post(path(course_id), content=b"junk", headers=typed)).status_code == 400
    assert (await api.client.post(path(course_id), content=b"--X--", headers=typed)).status_code == 400
    assert (await api.client.post(path(course_id), files={"document": ("a.md", TEXT)})).status_code == 400
    assert await stored(db) == (0, 0, 0)


async def test_an_upload_is_refused_before_its_bytes_are_read(api: RunningApi, db: Database) -> None:
    """Without a token, for others' courses, for unknown ones."""
    theirs = await add_course(db, user=UUID(int=0xBAD))

    assert (await upload(api, theirs, headers={"Authorization": ""})).status_code == 401
    assert (await upload(api, theirs)).status_code == 403
    assert (await upload(api, uuid4())).status_code == 404
    assert await stored(db) == (0, 0, 0)


async def test_a_running_course_keeps_its_documents(api: RunningApi, db: Database) -> None:
    """Adding and removing is 409 until the run ends."""
    course_id = await add_course(db)
    document = (await upload(api, course_id)).json()["id"]
    await api.client.post("/api/coursegen/generate", json={"courseId": str(course_id)})

    assert (await upload(api, course_id, b"more", "b.md")).json()["error"]["code"] == "course_busy"
    assert (await api.client.delete(f"{path(course_id)}/{document}")).status_code == 409
    await api.client.post(f"/api/courses/{course_id}/cancel")
    assert (await api.client.delete(f"{path(course_id)}/{document}")).status_code == 204


async def test_a_run_that_begins_while_a_document_arrives_does_not_get_it(api: RunningApi, db: Database) -> None:
    """What was free when the upload began is checked again when it is whole; its bytes do not stay."""
    course_id = await add_course(db)
    await api.client.post("/api/coursegen/generate", json={"courseId": str(course_id)})
    caller = Principal(user_id=USER, tier="FREE", organization_id=None, is_admin=False)
    with pytest.raises(CourseBusy):
        await api.parts.documents.add(
            course_id, caller, filename="a.md", media_type="text/markdown", content=io.BytesIO(TEXT)
        )

    assert await stored(db) == (0, 0, 0)


async def test_what_a_store_cannot_remove_now_is_swept_later(
    app_database_url: str, redis_url: str, db: Database
) -> None:
    """A deleted course is gone although its S3 does not answer; the register still knows the object."""
    settings = {
        "object_store": "s3://documents",
        "object_store_endpoint": "http://127.0.0.1:9",
        "object_store_access_key": Secret("key"),
        "object_store_secret_key": Secret("secret"),
    }
    course_id = await add_course(db)
    await add_documents(db, course_id, ["# A"])
    async with running_api(app_database_url, redis_url, **settings) as api:
        assert (await api.client.delete(f"/api/courses/{course_id}")).status_code == 204
        assert (await api.client.get(f"/api/courses/{course_id}")).status_code == 404

    assert await db.fetchval("SELECT count(*) FROM stored_objects WHERE course_id IS NULL") == 1


async def test_a_document_is_removed_with_its_bytes(api: RunningApi, db: Database) -> None:
    """Unknown ones, others' ones and nonsense are 404."""
    course_id, other = await add_course(db), await add_course(db)
    foreign = (await add_documents(db, other, ["# A"]))[0]
    document = (await upload(api, course_id)).json()["id"]

    for name in (foreign, uuid4(), "x", "%00", "../x"):
        assert (await api.client.delete(f"{path(course_id)}/{name}")).status_code == 404
    assert (await api.client.delete(f"{path(course_id)}/{document}")).status_code == 204
    assert await stored(db) == (1, 1, 1)


async def test_limits_are_settings(app_database_url: str, redis_url: str, db: Database) -> None:
    """Size and number; at the limit a repeated upload is still recognised."""
    async with running_api(app_database_url, redis_url, max_upload_bytes=1000, max_documents=2) as api:
        course_id = await add_course(db)
        assert (await upload(api, course_id, b"x" * 1001)).status_code == 413
        assert (await upload(api, course_id, b"x" * 200_000)).status_code == 413
        assert (await upload(api, course_id, b"x" * 1000)).status_code == 201
        assert (await upload(api, course_id, b"y")).status_code == 201
        assert (await upload(api, course_id, b"z")).json()["error"]["code"] == "too_many_documents"
        assert (await upload(api, course_id, b"y")).status_code == 200

    assert await stored(db) == (2, 2, 2)


async def test_a_course_that_is_more_than_full_refuses_before_reading(
    app_database_url: str, redis_url: str, db: Database
) -> None:
    """After the limit was lowered, say."""
    async with running_api(app_database_url, redis_url, max_documents=1) as api:
        course_id = await add_course(db)
        await add_documents(db, course_id, ["# A", "# B"])

        assert (await upload(api, course_id)).json()["error"]["code"] == "too_many_documents"


async def test_a_course_may_go_or_change_hands_at_any_moment(api: RunningApi, db: Database) -> None:
    """What was found is looked at again under the lock."""
    caller = Principal(user_id=USER, tier="FREE", organization_id=None, is_admin=False)
    with pytest.raises(NotFound):
        await api.parts.documents.remove(uuid4(), uuid4(), caller)
    with pytest.raises(Forbidden):
        await api.parts.documents.remove(await add_course(db, user=UUID(int=0xBAD)), uuid4(), caller)


async def test_a_client_that_goes_away_leaves_nothing(api: RunningApi, db: Database) -> None:
    """Half an upload is none."""
    course_id = await add_course(db)
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    head = (
        f"POST {path(course_id)} HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer()['Authorization']}\r\n"
        "Content-Type: multipart/form-data; boundary=X\r\nContent-Length: 500000\r\n\r\n"
        '--X\r\nContent-Disposition: form-data; name="file"; filename="a.md"\r\n\r\n'
    )
    writer.write(head.encode() + b"x" * 300_000)
    await writer.drain()
    writer.close()
    await asyncio.sleep(0.1)
    del reader

    assert (await api.client.get(path(course_id))).json() == {"documents": []}
    assert await stored(db) == (0, 0, 0)


async def test_abandoned_objects_are_swept(api: RunningApi, db: Database) -> None:
    """What a killed process or a deleted course left; what is in use or still arriving stays."""
    course_id = await add_course(db)
    await upload(api, course_id)
    age = ABANDONED_AFTER.total_seconds() + 1
    await db.execute(
        "INSERT INTO stored_objects (object_key, course_id) SELECT gen_random_uuid(), $1 FROM generate_series(1, 250)",
        course_id,
    )
    await db.execute("UPDATE stored_objects SET created_at = now() - $1 * interval '1 second'", age)
    await db.execute("INSERT INTO stored_objects (object_key, course_id) VALUES (gen_random_uuid(), $1)", course_id)
    await db.execute("INSERT INTO stored_objects (object_key, completed_at) VALUES (gen_random_uuid(), now())")
    removed = await DocumentStore(db, PostgresShelf(db)).sweep()

    assert removed == 251
    assert await stored(db) == (1, 2, 1)


async def test_the_api_sweeps_by_itself(app_database_url: str, redis_url: str, db: Database) -> None:
    """At its start, and from time to time."""
    await db.execute("INSERT INTO stored_objects (object_key, completed_at) VALUES (gen_random_uuid(), now())")
    async with running_api(app_database_url, redis_url):

        async def gone() -> bool:
            return await stored(db) == (0, 0, 0)

        await eventually(gone, within=5)
