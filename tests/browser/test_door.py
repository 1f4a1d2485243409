"""How a browser gets in and out, in a real one."""

from __future__ import annotations

from typing import Any

from playwright.async_api import expect

from services.kernel.database import Database
from tests.browser.conftest import OpenAdmin, ticket_url
from tests.support.api import RunningApi
from tests.support.browsers import open_page
from tests.support.courses import add_course
from tests.support.tokens import ADMIN, USER, admin_bearer, bearer

AWAY = {"error": {"code": "database_unavailable", "message": "PostgreSQL does not answer.", "details": {}}}


async def test_a_ticket_lets_the_browser_in_and_leaves_no_trace(api: RunningApi, browser: Any) -> None:
    """The address is clean at once, no script can read the cookie, and a reload needs no other ticket."""
    url = await ticket_url(api)
    async with open_page(browser, api.url) as watched:
        page = watched.page
        await page.goto(url)
        await expect(page.get_by_role("heading", name="Leader")).to_be_visible()

        assert page.url == f"{api.url}/admin"
        assert await page.evaluate("document.cookie") == ""
        assert await page.evaluate("history.length") == 2  # the blank page and this one
        (cookie,) = await page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
        await page.reload()
        await expect(page.get_by_role("heading", name="Leader")).to_be_visible()


async def test_signing_out_ends_the_session(api: RunningApi, open_admin: OpenAdmin, db: Database) -> None:
    """Here and in the database; what was shown is gone."""
    page = (await open_admin()).page
    await expect(page.get_by_text(str(ADMIN))).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()

    assert await db.fetchval("SELECT count(*) FROM browser_sessions") == 0
    assert await page.context.cookies() == []
    assert await page.get_by_role("heading", name="Leader").count() == 0
    assert await page.get_by_role("navigation").count() == 0


async def test_a_used_ticket_says_how_to_get_another(api: RunningApi, browser: Any) -> None:
    """And takes one by hand: the address, or the ticket alone."""
    url = await ticket_url(api)
    await api.client.post("/api/sessions", json={"ticket": url.partition("#ticket=")[2]})
    async with open_page(browser, api.url) as watched:
        page = watched.page
        await page.goto(url)
        await expect(page.get_by_text("This ticket was used already, or is older than a minute.")).to_be_visible()
        await expect(page.get_by_text("coursegen admin open", exact=True)).to_be_visible()
        field = page.get_by_label("Ticket or its address")
        await field.fill("nonsense")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_text("That is no ticket")).to_be_visible()
        await field.fill(await ticket_url(api))
        await field.press("Enter")
        await expect(page.get_by_role("heading", name="Leader")).to_be_visible()


async def test_a_used_ticket_does_not_sign_out_who_is_signed_in(api: RunningApi, open_admin: OpenAdmin) -> None:
    """The link from a minute ago, clicked again in a window that is open."""
    page = (await open_admin()).page
    used = await ticket_url(api)
    await api.client.post("/api/sessions", json={"ticket": used.partition("#ticket=")[2]})
    await page.evaluate("url => { location.href = url }", used)
    await expect(page.get_by_text("This ticket was used already")).to_be_visible()

    await expect(page.get_by_role("heading", name="Leader")).to_be_visible()
    assert "ticket" not in page.url


async def test_a_ticket_of_somebody_else_does_not_go_unnoticed(api: RunningApi, open_admin: OpenAdmin) -> None:
    """A link may hold anybody's ticket: the page says in whose name it works from now on."""
    page = (await open_admin()).page
    await page.evaluate("url => { location.href = url }", await ticket_url(api, admin_bearer(USER)))
    await expect(page.get_by_text(f"You work as {USER} now; before this ticket it was {ADMIN}.")).to_be_visible()


async def test_who_is_no_administrator_sees_nothing(api: RunningApi, browser: Any, db: Database) -> None:
    """He is told so, and may go; not one question is put to the admin endpoints (GAP15)."""
    await add_course(db, title="Somebody's course")
    asked: list[str] = []
    async with open_page(browser, api.url) as watched:
        watched.page.on("request", lambda request: asked.append(request.url))
        await watched.page.goto(await ticket_url(api, bearer()))
        await expect(watched.page.get_by_role("heading", name="For administrators only")).to_be_visible()
        await expect(watched.page.get_by_text(str(USER)).first).to_be_visible()

    assert not any("/api/admin/" in url for url in asked)


async def test_a_session_that_ends_shows_at_the_next_look(open_admin: OpenAdmin, db: Database) -> None:
    """Expired, or signed out elsewhere: the data goes, and the way back in appears."""
    page = (await open_admin()).page
    await expect(page.get_by_role("heading", name="Leader")).to_be_visible()
    await db.execute("DELETE FROM browser_sessions")
    await expect(page.get_by_text("You are signed out: the session has ended.")).to_be_visible()

    assert await page.get_by_role("heading", name="Leader").count() == 0


async def test_an_outage_is_not_taken_for_being_signed_out(api: RunningApi, open_admin: OpenAdmin) -> None:
    """A page that is opened while the api cannot answer says so, and goes on when it can."""
    page = (await open_admin()).page
    await page.route("**/api/sessions", lambda route: route.fulfill(status=503, json=AWAY))
    await page.goto(f"{api.url}/admin#jobs")
    await page.reload()
    await expect(page.get_by_role("heading", name="Not available just now")).to_be_visible()
    await expect(page.get_by_text("PostgreSQL does not answer")).to_be_visible()
    await page.unroute_all()
    await expect(page.get_by_role("heading", name="Queues")).to_be_visible()


async def test_the_cookie_opens_the_live_stream(api: RunningApi, browser: Any, db: Database) -> None:
    """An EventSource can send no token; the cookie goes along by itself."""
    course = await add_course(db)
    async with open_page(browser, api.url) as watched:
        await watched.page.goto(await ticket_url(api, bearer()))
        await watched.page.get_by_role("button", name="Sign out").wait_for()
        told = await watched.page.evaluate(
            """path => new Promise((resolve, reject) => {
                const stream = new EventSource(path);
                stream.addEventListener("progress", (event) => { stream.close(); resolve(JSON.parse(event.data)); });
                stream.onerror = () => { stream.close(); reject(new Error("refused")); };
            })""",
            f"/api/courses/{course}/events",
        )

    assert told["generation_status"] == "pending"


async def test_another_site_cannot_use_the_cookie(api: RunningApi, browser: Any, db: Database) -> None:
    """A page elsewhere tries to change something in the signed-in browser's name: it arrives without the cookie."""
    course = await add_course(db, state="stage_2_init")
    async with open_page(browser, api.url) as watched:
        page = watched.page
        await page.goto(await ticket_url(api, bearer()))
        await page.get_by_role("button", name="Sign out").wait_for()
        await page.goto(f"{api.url.replace('127.0.0.1', 'localhost')}/openapi.json")  # no policy of its own forbids it
        cancel = f"{api.url}/api/courses/{course}/cancel"
        async with page.expect_response(cancel) as answer:
            await page.evaluate(
                "url => void fetch(url, {method: 'POST', mode: 'no-cors', credentials: 'include'})", cancel
            )
        sent = await (await answer.value).request.all_headers()
        watched.elsewhere.clear()

    assert ((await answer.value).status, "cookie" in sent) == (401, False)
    assert await db.fetchval("SELECT generation_status::text FROM courses") == "stage_2_init"
