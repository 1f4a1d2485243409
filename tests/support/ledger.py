"""The check that decides whether a run with faults was survived: the ledger (reliability.md section 3).

Three parties are compared: what the load driver asked and was told, what PostgreSQL holds, and what an outside file saw
happen. Everything here is a pure function of that evidence, so that the checker itself can be tested with seeded faults;
`tests.support.evidence` collects it.

A run passes when nothing is lost, phantom, duplicate, stuck or divergent *and* every fault that was to happen is proved
to have happened. A run without a fired fault proves nothing and is void.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

TERMINAL = frozenset({"completed", "error", "cancelled"})
SUCCESS = range(200, 300)

Findings = dict[str, str]
"""What is wrong: the subject's identifier, and a sentence about it."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request, written down before it was sent."""

    number: int
    request: str
    """What makes two attempts the same request: repeats must be answered alike."""
    course_id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for an attempt; nothing is written down when nothing came back."""

    attempt: int
    status: int
    job_id: str | None = None


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One job that the database promises to do."""

    effect_id: str
    course_id: str
    run_number: int
    job_type: str
    document_id: str | None = None
    dead: bool = False
    """Given up by the relay, where an operator can see it."""
    processed: bool = True

    @property
    def work(self) -> str:
        """The piece of work, whichever row or delivery asks for it."""
        return f"{self.course_id}/{self.run_number}/{self.job_type}/{self.document_id or '-'}"


@dataclass(frozen=True, slots=True)
class Effect:
    """One row of `effect_ledger`."""

    effect_id: str
    course_id: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Call:
    """One line of the outside file: somebody performed this effect, whether or not it was committed."""

    effect_id: str


@dataclass(frozen=True, slots=True)
class Course:
    """How a course stands at the end."""

    course_id: str
    state: str | None
    run_number: int
    has_result: bool


@dataclass(frozen=True, slots=True)
class Arrival:
    """How often a course entered a state in one run, by its event log."""

    course_id: str
    run_number: int
    state: str
    times: int


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that was to happen `wanted` times, and how often it is proved to have happened."""

    name: str
    wanted: int
    fired: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that the three parties say."""

    attempts: tuple[Attempt, ...] = ()
    answers: tuple[Answer, ...] = ()
    rows: tuple[OutboxRow, ...] = ()
    effects: tuple[Effect, ...] = ()
    calls: tuple[Call, ...] | None = None
    """None when no outside file was kept."""
    courses: tuple[Course, ...] = ()
    arrivals: tuple[Arrival, ...] = ()
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found, by kind, and what makes the run void."""

    lost: Findings = field(default_factory=dict)
    phantom: Findings = field(default_factory=dict)
    duplicate: Findings = field(default_factory=dict)
    stuck: Findings = field(default_factory=dict)
    divergent: Findings = field(default_factory=dict)
    recovered: Findings = field(default_factory=dict)
    """Done though its client was never told so: allowed."""
    dead: Findings = field(default_factory=dict)
    """Given up in sight of an operator: neither lost nor stuck."""
    failed: Findings = field(default_factory=dict)
    """Courses that ended in error: an end like another for the ledger, but no fault of the machinery may cause one."""
    void: Findings = field(default_factory=dict)
    acked: int = 0
    effects: int = 0
    fired: int = 0

    @property
    def passed(self) -> bool:
        """Whether the run proves that the faults were survived."""
        return not (self.lost or self.phantom or self.duplicate or self.stuck or self.divergent or self.void)

    def __str__(self) -> str:
        sets = ("lost", "phantom", "duplicate", "stuck", "divergent", "recovered", "dead", "failed", "void")
        counts = ", ".join(f"{name} {len(getattr(self, name))}" for name in sets)
        head = f"{self.acked} acknowledged, {self.effects} effects, {self.fired} faults fired: {counts}"
        return "\n".join([head, *self._sentences(sets)])

    def _sentences(self, sets: Iterable[str]) -> Iterator[str]:
        for name in sets:
            if name in {"recovered", "dead"}:
                continue
            for subject, sentence in list(getattr(self, name).items())[:20]:
                yield f"  {name}: {subject}: {sentence}"


def check(evidence: Evidence) -> Verdict:
    """Judge a run."""
    return Verdict(
        lost=_lost(evidence),
        phantom=_phantom(evidence),
        duplicate=_duplicate(evidence),
        stuck=_stuck(evidence),
        divergent=_divergent(evidence),
        recovered=_recovered(evidence),
        dead={row.effect_id: f"{row.job_type} was given up" for row in evidence.rows if row.dead},
        failed={each.course_id: "the course ended in error" for each in evidence.courses if each.state == "error"},
        void=_void(evidence.faults),
        acked=len(_acked(evidence)),
        effects=len(evidence.effects),
        fired=sum(fault.fired for fault in evidence.faults),
    )


def _acked(evidence: Evidence) -> dict[str, str]:
    """The jobs that clients were promised, with their courses."""
    course_of = {attempt.number: attempt.course_id for attempt in evidence.attempts}
    return {
        answer.job_id: course_of[answer.attempt]
        for answer in evidence.answers
        if answer.status in SUCCESS and answer.job_id is not None
    }


def _lost(evidence: Evidence) -> Findings:
    decided = {effect.effect_id for effect in evidence.effects}
    dead = {row.effect_id for row in evidence.rows if row.dead}
    written = {row.effect_id for row in evidence.rows}
    courses = {course.course_id: course for course in evidence.courses}
    findings: Findings = {}
    for job, course_id in _acked(evidence).items():
        course = courses.get(course_id)
        if course is None:
            findings[job] = f"acknowledged, but its course {course_id} is not there"
        elif job not in written:
            findings[job] = "acknowledged, but its outbox row is not there"
        elif job not in decided | dead:
            findings[job] = "acknowledged, but without an effect"
        elif course.state == "completed" and not course.has_result:
            findings[job] = f"its course {course_id} is completed without a result"
    for call in evidence.calls or ():
        if call.effect_id in written and call.effect_id not in decided | dead:
            findings.setdefault(call.effect_id, "performed outside, but never committed")
    return findings


def _phantom(evidence: Evidence) -> Findings:
    attempted = {attempt.course_id for attempt in evidence.attempts}
    written = {row.effect_id for row in evidence.rows}
    called = None if evidence.calls is None else {call.effect_id for call in evidence.calls}
    findings: Findings = {}
    for effect in evidence.effects:
        if effect.course_id not in attempted:
            findings[effect.effect_id] = f"an effect on course {effect.course_id}, which nobody asked for"
        elif effect.effect_id not in written:
            findings[effect.effect_id] = "an effect of a job that was never written"
        elif called is not None and effect.outcome != "skipped" and effect.effect_id not in called:
            findings[effect.effect_id] = "an effect that the outside file never saw happen"
    for effect_id in (called or set()) - written:
        findings[effect_id] = "performed outside, but no such job was ever written"
    return findings


def _duplicate(evidence: Evidence) -> Findings:
    findings = _done_under_two_names(evidence)
    for arrival in evidence.arrivals:
        if arrival.times > 1:
            subject = f"{arrival.course_id}/{arrival.run_number}/{arrival.state}"
            findings[subject] = f"the run entered {arrival.state} {arrival.times} times"
    seen: set[str] = set()
    for effect in evidence.effects:
        if effect.effect_id in seen:
            findings[effect.effect_id] = "two rows in the ledger"
        seen.add(effect.effect_id)
    return findings


def _done_under_two_names(evidence: Evidence) -> Findings:
    work_of = {row.effect_id: row.work for row in evidence.rows}
    names: defaultdict[str, set[str]] = defaultdict(set)
    done = [effect.effect_id for effect in evidence.effects if effect.outcome == "applied"]
    for effect_id in [*done, *(call.effect_id for call in evidence.calls or ())]:
        if effect_id in work_of:
            names[work_of[effect_id]].add(effect_id)
    return {work: f"done under {len(ids)} identifiers" for work, ids in names.items() if len(ids) > 1}


def _stuck(evidence: Evidence) -> Findings:
    decided = {effect.effect_id for effect in evidence.effects}
    findings = {
        row.effect_id: f"its {row.job_type} job is {'queued' if row.processed else 'in the outbox'} and not done"
        for row in evidence.rows
        if row.effect_id not in decided and not row.dead
    }
    for course in evidence.courses:
        if course.state not in TERMINAL:
            findings[course.course_id] = f"the course stands at {course.state}"
    return findings


def _divergent(evidence: Evidence) -> Findings:
    request_of = {attempt.number: attempt.request for attempt in evidence.attempts}
    told: defaultdict[str, set[str]] = defaultdict(set)
    for answer in evidence.answers:
        if answer.status in SUCCESS:
            told[request_of[answer.attempt]].add(str(answer.job_id))
    return {
        request: f"the same request was answered with {len(jobs)} jobs"
        for request, jobs in told.items()
        if len(jobs) > 1
    }


def _recovered(evidence: Evidence) -> Findings:
    told = set(_acked(evidence).values())
    unanswered = {attempt.course_id for attempt in evidence.attempts} - told
    return {
        effect.effect_id: f"course {effect.course_id} was begun though its client was not told"
        for effect in evidence.effects
        if effect.course_id in unanswered
    }


def _void(faults: Iterable[Fault]) -> Findings:
    present = list(faults)
    if not present or not any(fault.fired for fault in present):
        return {"faults": "no fault fired: the run proves nothing"}
    return {
        fault.name: f"fired {fault.fired} of {fault.wanted} times" for fault in present if fault.fired < fault.wanted
    }


def counted(names: Iterable[str], wanted: Mapping[str, int]) -> tuple[Fault, ...]:
    """The faults that were `wanted`, with how often each of their names occurs in `names`."""
    fired = list(names)
    return tuple(Fault(name, times, fired.count(name)) for name, times in wanted.items())
