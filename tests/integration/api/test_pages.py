"""The pages: our own, which hold no data, and saq's, for administrators and for looking only."""

from __future__ import annotations

import re
from uuid import uuid4

from redis.asyncio import Redis

from services.kernel.queue import Producer, QueuedRow
from tests.support.api import RunningApi
from tests.support.tokens import admin_bearer

SAQ = "/admin/saq"
SAQ_PATHS = [
    "/",
    "/queues/q",
    "/queues/q/jobs/j",
    "/api/queues",
    "/api/queues/q",
    "/api/queues/q/jobs/j",
    "/static/app.js",
]
CHANGING = ["/api/queues/q/jobs/j/retry", "/api/queues/q/jobs/j/abort"]


async def test_the_page_s_files_are_open_and_hold_no_data(api: RunningApi) -> None:
    """Whoever has no token gets a page that says how to get in."""
    page = await api.client.get("/admin", headers={"Authorization": ""})
    paths = re.findall(r'(?:src|href)="(/admin/assets/[^"]+)"', page.text)
    assets = [await api.client.get(path, headers={"Authorization": ""}) for path in paths]

    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert [each.status_code for each in assets] == [200] * 3
    assert {each.headers["content-type"].partition(";")[0] for each in assets} == {
        "image/svg+xml",
        "text/css",
        "text/javascript",
    }


async def test_every_script_that_is_imported_is_served(api: RunningApi) -> None:
    """A name misspelt would leave a blank page."""
    seen, left = set(), {"admin.js"}
    while left:
        name = left.pop()
        seen.add(name)
        answer = await api.client.get(f"/admin/assets/{name}")
        assert answer.status_code == 200, name
        left |= (
            set(re.findall(r'^(?:import|export) .*? from "\./([^"]+)";', answer.text, re.MULTILINE | re.DOTALL)) - seen
        )

    assert len(seen) > 8


async def test_a_page_loads_and_tells_nothing_elsewhere(api: RunningApi) -> None:
    """By policy, and by what it says."""
    for path in ("/admin", "/admin/assets/admin.js", "/admin/assets/admin.css"):
        answer = await api.client.get(path)
        policy = answer.headers["content-security-policy"]

        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"https?://(?!www\.w3\.org/)", answer.text)


async def test_nothing_but_the_page_s_files_is_served(api: RunningApi) -> None:
    """They are read at start; a path leads nowhere else."""
    for name in ("nothing.js", "..%2fapp.py", "%2e%2e", "admin.py", "__init__.py"):
        assert (await api.client.get(f"/admin/assets/{name}")).status_code == 404


async def test_saq_s_page_is_for_administrators_only(api: RunningApi) -> None:
    """Every part of it: 401 without a token, 403 without the role, and nothing of the content (GAP15)."""
    for path in ("", *SAQ_PATHS):
        nobody = await api.client.get(SAQ + path, headers={"Authorization": ""})
        user = await api.client.get(SAQ + path)

        assert (nobody.status_code, user.status_code) == (401, 403), path
        assert user.json()["error"]["details"] == {"claim": "app_metadata.role"}


async def test_saq_s_page_can_change_nothing(api: RunningApi) -> None:
    """It is routed for reading only, its buttons' addresses too: 405, whoever asks."""
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for path in (*SAQ_PATHS, *CHANGING):
            answer = await api.client.request(method, SAQ + path, headers=admin_bearer())

            assert answer.status_code == 405, (method, path)
            assert answer.headers["allow"] == "GET, HEAD"
    for path in CHANGING:
        assert (await api.client.get(SAQ + path, headers=admin_bearer())).status_code == 404


async def test_saq_s_page_shows_what_really_waits(api: RunningApi, redis: Redis) -> None:
    """All priorities together, and each job."""
    queue, keys = "course-generation:documents", [str(uuid4()) for _ in range(6)]
    rows = [
        QueuedRow(
            key,
            (
                f'{{"function":"DOCUMENT_PROCESSING","queue":"{queue}","key":"{key}","kwargs":{{"payload":{{}}}},'
                f'"status":"queued","queued":1,"priority":{priority}}}'
            ).encode(),
            priority,
        )
        for key, priority in zip(keys, [1, 1, 3, 5, 5, 10], strict=True)
    ]
    await Producer(redis).enqueue_batch(queue, rows, 1)
    get = api.client.get
    queues = (await get(f"{SAQ}/api/queues", headers=admin_bearer())).json()["queues"]
    one = (await get(f"{SAQ}/api/queues/{queue}", headers=admin_bearer())).json()["queue"]
    job = (await get(f"{SAQ}/api/queues/{queue}/jobs/{keys[0]}", headers=admin_bearer())).json()["job"]
    missing = [await get(f"{SAQ}/api/queues/{path}", headers=admin_bearer()) for path in ("x", f"{queue}/jobs/x")]

    assert [(each["name"], each["queued"]) for each in queues if each["queued"]] == [(queue, 6)]
    assert sorted(each["key"] for each in one["jobs"]) == sorted(keys)
    assert (job["key"], job["status"]) == (keys[0], "queued")
    assert [each.status_code for each in missing] == [404, 404]


async def test_saq_s_page_is_whole(api: RunningApi) -> None:
    """The document and every file it names; the way to it needs no slash."""
    headers = admin_bearer()
    moved = await api.client.get(SAQ, headers=headers)
    page = await api.client.get(moved.headers["location"], headers=headers)
    paths = re.findall(r'(?:src|href)="([^"]+)"', page.text)

    assert (moved.status_code, page.status_code) == (307, 200)
    assert len(paths) == 6
    for path in paths:
        assert (await api.client.get(path, headers=headers)).status_code == 200, path
    assert (await api.client.get(f"{SAQ}/static/x.js", headers=headers)).status_code == 404
    assert "sha256-" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
