"""The smoke test: a message through api, stream, persistence-worker and database, then a course through api, outbox, relay,
queue, worker and database.

What others do at the same time only makes the counters grow faster. Without MESSAGES=true no message is tried: nobody writes
what is in the stream, or nothing is put there. The message stays, in a conversation of its own: nobody can delete one.
"""

import json
import os
import time
import uuid

from client import CLOSED, DEADLINE, KEEP, SECONDS, Caller, Refused, answer, check, delete, finish, metrics, until

MESSAGES = os.environ.get("MESSAGES") == "true"
WORKERS = {"stage_2": "documents", "stage_4": "analysis", "stage_5": "generation"}


def grown(before, after, *path):
    """How much a number of the metrics has grown."""
    for name in path:
        before, after = before[name], after[name]
    return after - before


def order(caller, course):
    """Initiate the course; the job's identifier."""
    body = {"courseId": course, "title": "test-course-deployment-1", "hasFiles": False}
    text = caller.say("POST", "/api/trpc/generation.initiate", body)
    check("initiate answers compact JSON with success", '"success":true' in text)
    return json.loads(text)["jobId"]


def follow(caller, course):
    """The state in which the course ends; each state is printed."""
    state = None
    while time.monotonic() < DEADLINE:
        seen = caller.call("GET", f"/api/courses/{course}/check-status")["generation_status"]
        if seen != state:
            state = seen
            print(f"        {state}", flush=True)
        if state in CLOSED:
            break
        time.sleep(0.5)
    return state


def advice(state):
    """What to type when the course is kept in a state, or has failed in it."""
    kubectl, name = f"kubectl -n {os.environ['NAMESPACE']}", os.environ["FULLNAME"]
    worker = f"{name}-worker-{WORKERS.get(str(state)[:7], 'documents')}"
    print(
        f"        Do the relay and the worker of this stage run? {kubectl} get deployment {name}-outbox-relay {worker}"
    )
    print(
        f"        What do they say? {kubectl} logs deployment/{name}-outbox-relay; {kubectl} logs deployment/{worker}"
    )


def counted(caller, before):
    """Whether the metrics show this course, within their usual delay."""
    numbers = ("fsm", "total"), ("fsm", "success"), ("fsm", "cacheHits"), ("outbox", "jobsCreated")
    after, _ = answer(20, lambda: metrics(caller), lambda now: all(grown(before, now, *each) >= 1 for each in numbers))
    for each in numbers:
        check(f"{'.'.join(each)} grew", grown(before, after, *each) >= 1, grown(before, after, *each))
    check("outbox.health.alive", after["outbox"]["health"]["alive"] is True)


def send_message(caller):
    """A message is accepted once, gets its row and is shown in its conversation."""
    conversation = f"smoke-test-{uuid.uuid4()}"
    body = {
        "conversationId": conversation,
        "senderId": caller.user,
        "clientMessageId": "m-1",
        "content": "test-message-deployment-1",
    }
    message = caller.call("POST", "/api/messages", body)["messageId"]
    print(f"        message {message}", flush=True)
    again = caller.call("POST", "/api/messages", body)
    check("the same message again is the same", (again["messageId"], again["idempotentHit"]) == (message, True))

    def state():
        return caller.call("GET", f"/api/messages/{message}")["state"]

    until(SECONDS / 2, lambda: state() != "pending")  # the rest is the course's
    check("the message is persisted", (seen := state()) == "persisted", seen)
    if seen != "persisted":
        kubectl, name = f"kubectl -n {os.environ['NAMESPACE']}", f"{os.environ['FULLNAME']}-persistence-worker"
        print(
            f"        Does it run, and what does it say? {kubectl} get deployment {name}; {kubectl} logs deployment/{name}"
        )
        return
    shown = caller.call("GET", f"/api/conversations/{conversation}/messages")["messages"]
    found = [(each["messageId"], each["content"]) for each in shown]
    check("its conversation shows it", found == [(message, body["content"])])


def take_course(caller):
    """A course is accepted once, goes through every stage and is counted."""
    course = f"5a0ce7e5-{uuid.uuid4().hex[:4]}-4{uuid.uuid4().hex[:3]}-8000-{uuid.uuid4().hex[:12]}"
    before = metrics(caller)
    try:
        job = order(caller, course)
        print(f"        course {course}, job {job}", flush=True)
        check("the same request again has the same jobId", order(caller, course) == job)
        event = caller.call("GET", f"/api/courses/{course}/history?limit=1")["events"][0]
        check("the first event is stage_4_init by API_INITIATE",
              (event["newState"], event["triggeredBy"]) == ("stage_4_init", "API_INITIATE"))  # fmt: skip
        state = follow(caller, course)
        check("the course is completed", state == "completed", state)
        if state != "completed":
            advice(state)
        counted(caller, before)
    finally:
        if not KEEP:
            delete(caller, [course])


def main():
    caller = Caller()
    for trip in (send_message, take_course) if MESSAGES else (take_course,):
        try:
            trip(caller)
        except Refused as refusal:
            check(str(refusal), False)
    finish("smoke test")


main()
