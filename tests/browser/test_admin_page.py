"""The admin page, in a real browser on a real api: what it shows, what it changes, and how it fails."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import orjson
from playwright.async_api import Page, expect
from redis.asyncio import Redis

from services.kernel.database import Database
from services.kernel.queue import Inspector, Producer, QueuedRow
from tests.browser.conftest import OpenAdmin
from tests.support.api import RunningApi
from tests.support.browsers import PHONE
from tests.support.courses import add_course
from tests.support.tokens import ADMIN, admin_bearer

DOCUMENTS, ANALYSIS = "course-generation:documents", "course-generation:analysis"
VIEWS = ("overview", "jobs", "concurrency", "dead-letters", "activity")

# Every visible text against what is behind it, by the formula of WCAG 2; the worst first.
CONTRASTS = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const light = (colour) => {
    const unit = /^color\\(/.test(colour) ? 1 : 255;
    const [r, g, b] = parse(colour.replace("color(srgb", "")).map((v) => v / unit)
      .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (!/^rgba\\(.*, 0\\)$/.test(colour) && colour !== "transparent") return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest(":disabled, .hidden, .skip")) continue;
    const [one, two] = [light(getComputedStyle(element).color), light(ground(element))].sort((a, b) => b - a);
    found.push([(one + 0.05) / (two + 0.05), walker.currentNode.data.trim().slice(0, 40)]);
  }
  return found.sort((a, b) => a[0] - b[0]);
}"""


async def put_jobs(redis: Redis, queue: str, priorities: list[int], course: UUID | None = None) -> list[str]:
    """Jobs that wait, as the relay would put them."""
    keys = [str(uuid4()) for _ in priorities]
    rows = []
    for key, priority in zip(keys, priorities, strict=True):
        payload = {"courseId": str(course or uuid4()), "runNumber": 1}
        body = {"function": "DOCUMENT_PROCESSING", "queue": queue, "key": key, "kwargs": {"payload": payload}}
        body |= {"status": "queued", "queued": 1_700_000_000_000, "priority": priority, "timeout": 600, "retries": 5}
        rows.append(QueuedRow(key, orjson.dumps(body), priority))
    await Producer(redis).enqueue_batch(queue, rows, 1)
    return keys


async def add_dead_row(db: Database, course: UUID, error: str, job_type: str = "STRUCTURE_ANALYSIS") -> UUID:
    """An outbox row without tries left."""
    outbox_id: UUID = await db.fetchval(
        "INSERT INTO job_outbox (entity_id, queue_name, job_type, max_retries, retry_count, last_error)"
        " VALUES ($1, 'course-generation', $2, 5, 5, $3) RETURNING outbox_id",
        course, job_type, error,
    )  # fmt: skip
    return outbox_id


def row(page: Page, table: str, text: str) -> Any:
    """The rows of a table that hold a text."""
    return page.get_by_role("table", name=table, exact=True).get_by_role("row").filter(has_text=text)


async def cells(page: Page, table: str, text: str) -> dict[str, str]:
    """What stands in the first such row, by column."""
    found: dict[str, str] = await row(page, table, text).first.evaluate(
        "row => Object.fromEntries([...row.cells].map(cell => [cell.dataset.label, cell.innerText.trim()]))"
    )
    return found


async def test_queues_and_jobs_are_shown_with_their_priority(open_admin: OpenAdmin, redis: Redis) -> None:
    """What waits by priority; each job with status and priority, in the order of service; fresh by itself."""
    keys = await put_jobs(redis, DOCUMENTS, [1, 1, 1, 5, 10])
    page = (await open_admin("jobs")).page
    await expect(row(page, "Jobs", "DOCUMENT_PROCESSING")).to_have_count(5)
    queue = await cells(page, "Queues", DOCUMENTS)
    jobs = (
        await page.get_by_role("table", name="Jobs", exact=True)
        .locator("tbody tr")
        .evaluate_all(
            "rows => rows.map(row => [row.cells[0].innerText, row.cells[1].innerText.replace('priority', '').trim(),"
            " row.cells[3].innerText.trim()])"
        )
    )

    assert queue["Waiting"] == "5"
    assert queue["By priority"].replace("priority", "").split() == ["10", "×1", "5", "×1", "1", "×3"]
    assert queue["Workers"] == "none"
    assert jobs == [
        ["waiting", str(p), key] for p, key in zip([10, 5, 1, 1, 1], [keys[4], keys[3], *keys[:3]], strict=True)
    ]
    await put_jobs(redis, DOCUMENTS, [3])
    await expect(row(page, "Jobs", "DOCUMENT_PROCESSING")).to_have_count(6)
    await page.get_by_label("State").select_option("running")
    await expect(page.get_by_text("No jobs here.")).to_be_visible()
    assert page.url.endswith("#jobs?state=running")


async def test_a_queue_is_paused_and_resumed_by_keyboard(open_admin: OpenAdmin, redis: Redis, db: Database) -> None:
    """The dialog holds the focus, Escape changes nothing, Enter does; who and why is on record."""
    await put_jobs(redis, ANALYSIS, [1])
    page = (await open_admin()).page
    pause = page.get_by_role("button", name=f"Pause {ANALYSIS}")
    await pause.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog", name=f"Pause {ANALYSIS}?")).to_be_visible()
    for _ in range(20):  # as fast as it goes: no question may be closed by the end of the one before
        await page.keyboard.press("Escape")
        await page.keyboard.press("Enter")
        await expect(page.get_by_label("Reason")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(pause).to_be_focused()
    assert (await Inspector(redis).overview([ANALYSIS]))[0].paused is False

    await page.keyboard.press("Enter")
    await page.get_by_label("Reason").fill("the model is being replaced")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text(f"{ANALYSIS} is paused.")).to_be_visible()
    assert (await Inspector(redis).overview([ANALYSIS]))[0].paused is True
    assert await db.fetchval("SELECT paused FROM queue_controls WHERE saq_queue = $1", ANALYSIS) is True

    await expect(row(page, "Queues", ANALYSIS)).to_contain_text("paused")
    shown = (await cells(page, "Queues", ANALYSIS))["Queue"]
    assert "paused" in shown
    assert f"by {ADMIN}: the model is being replaced" in shown.replace("\n", "")
    await page.get_by_role("button", name=f"Resume {ANALYSIS}").click()
    await expect(page.get_by_text(f"{ANALYSIS} goes on.")).to_be_visible()
    await page.get_by_role("link", name="Activity").click()
    await expect(row(page, "Actions, the latest first", ANALYSIS)).to_have_count(2)
    done = await cells(page, "Actions, the latest first", "the model is being replaced")
    assert done["Who"] == str(ADMIN)
    assert (await Inspector(redis).overview([ANALYSIS]))[0].paused is False


async def test_dead_letters_are_replayed_and_discarded_after_a_dry_run(
    api: RunningApi, open_admin: OpenAdmin, db: Database
) -> None:
    """What would happen is shown first; no is no; then exactly those, and the rest stays."""
    course = await add_course(db, state="stage_4_init")
    replayed = await add_dead_row(db, course, "Redis said OOM")
    kept = await add_dead_row(db, course, "no such queue <img src=x onerror=alert(1)>")
    discarded = await add_dead_row(db, await add_course(db, state="stage_4_init"), "refused for good")
    page = (await open_admin("dead-letters")).page
    table = "Dead letters, the latest first"
    await expect(row(page, table, "STRUCTURE_ANALYSIS")).to_have_count(3)
    await expect(row(page, table, "<img src=x onerror=alert(1)>")).to_have_count(1)  # it is a text

    await row(page, table, "OOM").get_by_role("checkbox").check()
    await page.get_by_role("button", name="Replay 1 chosen").click()
    await expect(page.get_by_role("dialog", name="Replay 1 dead letter?")).to_contain_text(str(replayed))
    await page.get_by_role("button", name="Cancel").click()
    assert await db.fetchval("SELECT count(*) FROM job_outbox WHERE retry_count >= max_retries") == 3
    await page.get_by_role("button", name="Replay 1 chosen").click()
    await page.get_by_role("button", name="Replay 1", exact=True).click()
    await expect(page.get_by_text("1 dead letter replayed.")).to_be_visible()
    await expect(row(page, table, "STRUCTURE_ANALYSIS")).to_have_count(2)

    await page.get_by_label("Reason contains").fill("for good")
    await page.get_by_label("Reason contains").press("Enter")
    await expect(row(page, table, "STRUCTURE_ANALYSIS")).to_have_count(1)
    await page.get_by_role("button", name="Discard all that match…").click()
    await expect(page.get_by_role("dialog", name="Discard 1 dead letter?")).to_contain_text(str(discarded))
    await page.get_by_role("button", name="Discard 1", exact=True).click()
    await expect(page.get_by_text("1 dead letter discarded.")).to_be_visible()
    await expect(
        page.get_by_role("main").get_by_text("match", exact=False).first
    ).to_be_visible()  # nothing matches now
    await page.get_by_role("button", name="Clear").click()
    await expect(row(page, table, "STRUCTURE_ANALYSIS")).to_have_count(1)

    left = (await api.client.get("/api/admin/dead-letters", headers=admin_bearer())).json()
    assert [each["id"] for each in left["deadLetters"]] == [f"outbox:{kept}"]
    assert await db.fetchval("SELECT count(*) FROM admin_actions") == 2


async def test_counters_are_shown_with_drift_and_limits_changed(
    open_admin: OpenAdmin, redis: Redis, db: Database
) -> None:
    """A counter that is off stands out; the global limit is set and reset; the counters are rebuilt."""
    page = (await open_admin("concurrency")).page
    await expect(page.get_by_role("heading", name="Limits")).to_be_visible()
    await redis.set("concurrency:global", 2)
    await expect(page.get_by_role("definition").filter(has_text="+2")).to_be_visible()
    await page.get_by_role("button", name="Change the limit of global").click()
    await page.get_by_role("spinbutton").fill("0")
    await page.get_by_role("button", name="Change", exact=True).click()
    await expect(page.get_by_role("dialog")).to_be_visible()  # the browser itself refuses 0
    await page.get_by_role("spinbutton").fill("7")
    await page.get_by_role("button", name="Change", exact=True).click()
    await expect(page.get_by_text("global: 7 courses at once.")).to_be_visible()
    assert await db.fetchval("SELECT slots FROM concurrency_limits WHERE scope = 'global'") == 7
    await page.get_by_role("button", name="Reset the limit of global").click()
    await expect(page.get_by_role("button", name="Reset the limit of global")).to_have_count(0)
    await page.get_by_role("button", name="Rebuild from PostgreSQL").click()
    await expect(page.get_by_role("definition").filter(has_text="+2")).to_have_count(0)

    assert int(await redis.get("concurrency:global") or 0) == 0


async def test_an_outage_is_shown_beside_what_was_known(open_admin: OpenAdmin, redis: Redis) -> None:
    """The last figures stay, with a note; when the api answers again the note goes."""
    await put_jobs(redis, DOCUMENTS, [1])
    page = (await open_admin()).page
    await expect(row(page, "Queues", DOCUMENTS)).to_have_count(1)
    await page.route("**/api/admin/**", lambda route: route.abort())
    await expect(page.get_by_text("The api does not answer.").first).to_be_visible()
    await expect(page.get_by_text("not current")).to_be_visible()
    await expect(row(page, "Queues", DOCUMENTS)).to_have_count(1)
    await page.unroute_all()
    await expect(page.get_by_text("not current")).to_have_count(0)

    assert await page.get_by_text("The api does not answer.").count() == 0


async def test_refreshing_can_be_stopped(open_admin: OpenAdmin) -> None:
    """For whoever wants to read in peace; nothing is asked then."""
    page = (await open_admin()).page
    asked: list[str] = []
    await expect(page.get_by_text("live", exact=True)).to_be_visible()
    await page.get_by_role("button", name="Stop refreshing").click()
    await expect(page.get_by_text("stopped", exact=True)).to_be_visible()
    await asyncio.sleep(2)  # the round under way when the button was pressed comes to its end
    page.on("request", lambda request: asked.append(request.url))
    await asyncio.sleep(4)

    assert asked == []
    await page.get_by_role("button", name="Refresh again by itself").click()
    async with page.expect_request("**/api/admin/queues"):
        pass


async def test_every_view_can_be_read_on_a_phone_in_light_and_dark(
    open_admin: OpenAdmin, redis: Redis, db: Database
) -> None:
    """Nothing sticks out of the window, every text has the contrast of WCAG AA, every control a name."""
    course = await add_course(db, state="stage_4_init")
    await put_jobs(redis, DOCUMENTS, [1, 5, 10], course)
    await add_dead_row(db, course, "a reason that is long enough to be broken over several lines of a small window")
    for scheme in ("light", "dark"):
        page = (await open_admin(viewport=PHONE, color_scheme=scheme, reduced_motion="reduce")).page
        for view in VIEWS:
            await page.goto(f"{page.url.partition('#')[0]}#{view}")
            await expect(page.locator("nav a[aria-current=page]")).to_have_attribute("href", f"#{view}")
            await expect(page.locator("main .panel").first).to_be_visible()
            await expect(page.locator("main [aria-busy=true]")).to_have_count(0)

            assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], view
            worst, text = (await page.evaluate(CONTRASTS))[0]
            assert worst >= 4.5, (scheme, view, text)
            nameless = await page.locator("button, a, input, select").evaluate_all(
                "all => all.filter(e => !(e.innerText || e.getAttribute('aria-label') || e.labels?.length)).length"
            )
            assert nameless == 0


async def test_the_page_is_walked_by_keyboard(open_admin: OpenAdmin) -> None:
    """The first stop skips the bar; views are links; the focus follows into the content."""
    page = (await open_admin()).page
    await expect(page.get_by_role("heading", name="Leader")).to_be_visible()
    await page.reload()
    await expect(page.get_by_role("heading", name="Leader")).to_be_visible()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Jobs").first).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Jobs", level=2)).to_be_visible()
    await expect(page).to_have_title("Jobs · coursegen admin")
    await expect(page.locator("main")).to_be_focused()
    await page.go_back()
    await expect(page.get_by_role("heading", name="Leader")).to_be_visible()


async def test_saq_s_page_works_beside_it(api: RunningApi, open_admin: OpenAdmin, redis: Redis) -> None:
    """It counts what waits, lists it, shows a job, offers no button, and breaks no rule of its policy."""
    (key,) = await put_jobs(redis, DOCUMENTS, [10])
    await put_jobs(redis, DOCUMENTS, [1, 3])
    page = (await open_admin()).page
    await page.get_by_role("link", name="saq", exact=True).click()
    await expect(page.get_by_role("row").filter(has_text=DOCUMENTS)).to_contain_text("3")
    assert page.url == f"{api.url}/admin/saq/"
    await page.get_by_role("link", name=DOCUMENTS).click()
    await expect(page.get_by_text(key)).to_be_visible()
    await page.get_by_text(key).click()
    await expect(page.get_by_text("Nothing can be changed here.", exact=False)).to_have_count(
        0
    )  # it is drawn, not text
    await expect(page.get_by_role("cell", name="DOCUMENT_PROCESSING")).to_be_visible()
    await expect(page.get_by_role("button", name="Retry")).to_have_count(0)
    await page.get_by_role("link", name="coursegen admin").click()

    await expect(page.get_by_role("heading", name="Leader")).to_be_visible()
