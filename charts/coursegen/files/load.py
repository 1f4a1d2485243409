"""The load test: many courses initiated at the same moment, of one user.

The limits of courses at once are raised for its time and put back, also when it is stopped in between.
"""

import collections
import contextlib
import os
import signal
import sys
import threading
import time
import urllib.error
import uuid
from concurrent.futures import ThreadPoolExecutor

from client import KEEP, Caller, Refused, answer, check, delete, depth, finish, metrics, until

COURSES = int(os.environ["COURSES"])
RUN = f"10ad7e57-{uuid.uuid4().hex[:4]}-4{uuid.uuid4().hex[:3]}-8000"
SCOPES = ("global", "PREMIUM")
MOST = 10_000
GROWING = ("fsm", "total"), ("outbox", "jobsCreated")


def course(number):
    """The identifier of one course."""
    return f"{RUN}-{number:012d}"


@contextlib.contextmanager
def raised_limits():
    """While the block runs, nobody of this tier is refused."""
    admin = Caller(role="admin")
    shown = admin.call("GET", "/api/admin/concurrency")["limits"]
    before = {each["scope"]: each["slots"] if each["overridden"] else None for each in shown}
    try:
        for scope in SCOPES:
            admin.call("PUT", f"/api/admin/limits/{scope}", {"slots": MOST})
        time.sleep(2)  # every api looks once a second
        yield
    finally:
        for scope in SCOPES:
            admin.call("PUT", f"/api/admin/limits/{scope}", {"slots": before[scope]})


class Depth:
    """The deepest that the outbox was seen."""

    def __init__(self, caller):
        self._caller = caller
        self._enough = threading.Event()
        self.deepest = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self):
        """Look no more."""
        self._enough.set()
        self._thread.join()

    def _watch(self):
        while not self._enough.wait(0.1):
            self.deepest = max(self.deepest, depth(self._caller))


def initiate(caller, gate, number):
    """One request, once everybody is there: how it was answered, and in how many seconds."""
    body = {"courseId": course(number), "title": f"load-test-course-{number}", "hasFiles": False}
    gate.wait()
    began = time.monotonic()
    try:
        answered = '"success":true' in caller.ask("POST", "/api/trpc/generation.initiate", body)
        said = "success" if answered else "no success"
    except urllib.error.HTTPError as error:
        said = f"status {error.code}"
    except OSError as error:
        said = type(error).__name__
    return said, time.monotonic() - began


def initiate_all(caller):
    """All requests at the same moment; prints how they were answered."""
    gate = threading.Barrier(COURSES)
    with ThreadPoolExecutor(COURSES) as pool:
        answers = list(pool.map(lambda number: initiate(caller, gate, number), range(1, COURSES + 1)))
    said = collections.Counter(each for each, _ in answers)
    check("every request is answered with success", said["success"] == COURSES, dict(said))
    times = sorted(seconds * 1000 for _, seconds in answers)
    middle, late = times[(COURSES - 1) // 2], times[max(0, round(COURSES * 0.95) - 1)]
    print(f"        time to the answer: p50 {middle:.0f} ms, p95 {late:.0f} ms, slowest {times[-1]:.0f} ms", flush=True)


def begun(caller):
    """How many courses began with stage_4_init by API_INITIATE."""

    def began(number):
        events = caller.call("GET", f"/api/courses/{course(number)}/history?limit=1")["events"]
        return bool(events) and (events[0]["newState"], events[0]["triggeredBy"]) == ("stage_4_init", "API_INITIATE")

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(began, range(1, COURSES + 1)))


def counted(seconds, caller, before):
    """All numbers, once they have grown by these courses or the time is over; whether they have."""

    def grown(now):
        return all(now[part][name] - before[part][name] >= COURSES for part, name in GROWING)

    return answer(seconds, lambda: metrics(caller), grown)


def counters(before, after):
    """The numbers grew by these courses and by no failure."""
    for part, name in GROWING:
        grown = after[part][name] - before[part][name]
        check(f"{part}.{name} grew by at least {COURSES}", grown >= COURSES, grown)
    for part, name in (("fsm", "failed"), ("outbox", "jobsFailed")):
        grown = after[part][name] - before[part][name]
        check(f"{part}.{name} did not grow", grown == 0, grown)
    if before["fsm"]["failed"] == 0:
        check("fsm.successRate is 100", after["fsm"]["successRate"] == 100, after["fsm"]["successRate"])


def measure(caller):
    before, waiting = metrics(caller), depth(caller)
    watch = Depth(caller)
    began = time.monotonic()
    with raised_limits():
        began = time.monotonic()
        initiate_all(caller)

    left = began + 30 - time.monotonic()
    _, drained = counted(left, caller, before)
    check("all of it left the outbox within 30 s", drained, f"{time.monotonic() - began:.1f} s")
    check("every course began in stage_4_init", (found := begun(caller)) == COURSES, found)
    check("the outbox is as deep as before", until(60, lambda: depth(caller) <= waiting), waiting)
    watch.stop()
    print(f"        deepest seen: {watch.deepest}", flush=True)
    after, _ = counted(20, caller, before)
    counters(before, after)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # limits go back on every way out
    caller = Caller()
    print(f"        {COURSES} courses, {RUN}-…", flush=True)
    try:
        measure(caller)
    except Refused as refusal:
        check(str(refusal), False)
    if not KEEP:
        delete(caller, map(course, range(1, COURSES + 1)))
    finish("load test")


main()
