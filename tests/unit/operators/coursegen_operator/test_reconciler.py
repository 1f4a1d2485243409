"""One look: writes what is not as it should be, once, and says what is wrong."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from operators.coursegen_operator.errors import (
    AdmissionDenied,
    ClusterUnavailable,
    KindAbsent,
    NotPermitted,
    ObjectRefused,
    QuotaExceeded,
    WriteConflict,
)
from operators.coursegen_operator.reconciler import PATIENCE, StoredReader
from operators.coursegen_operator.resources import (
    ANNOTATION_RECONCILE_AT,
    CRON_JOB,
    JOB,
    LABEL_MANAGED_BY,
    LABEL_OWNER_UID,
    NAMESPACE,
    RETENTION_POLICY,
    Object,
    ObjectKey,
)
from services.kernel.metrics import REGISTRY
from tests.support.pretended_kind import sample
from tests.unit.operators.coursegen_operator.conftest import CRON_JOB_KEY, KEY, Grounds, job_key


async def test_children_are_made_with_owner_and_labels_and_the_status_tells_of_them(grounds: Grounds) -> None:
    """The second look finds what the first has made."""
    grounds.cluster.edit(KEY, lambda item: item["spec"].update(runs=2))
    await grounds.settle()

    made = grounds.cluster.objects[job_key(1)]
    uid = grounds.cluster.objects[KEY]["metadata"]["uid"]
    assert made["metadata"]["labels"] == {"sample": "yes", LABEL_MANAGED_BY: "coursegen-operator", LABEL_OWNER_UID: uid}
    assert [(each["uid"], each["controller"]) for each in made["metadata"]["ownerReferences"]] == [(uid, True)]
    assert "finalizers" not in made["metadata"]
    assert grounds.status["cronJobName"] == "sample"
    assert grounds.status["jobs"] == 2
    assert grounds.status["observedGeneration"] == 2
    assert grounds.condition("Ready")["status"] == "True"


async def test_an_idle_resource_costs_no_call(grounds: Grounds) -> None:
    """Twice is once, however often, whatever the time."""
    await grounds.settle()
    grounds.cluster.calls.clear()
    told = list(grounds.told)
    for _ in range(3):
        grounds.clock.pass_by(600)
        await grounds.look()

    assert grounds.cluster.calls.total() == 0
    assert grounds.told == told


async def test_events_are_told_with_a_change_of_the_status_only(grounds: Grounds) -> None:
    """The same notice in every plan is news once."""
    await grounds.settle()
    assert set(grounds.told) == {("sample", "Counted")}
    before = len(grounds.told)
    grounds.cluster.edit(KEY, lambda item: item["metadata"].setdefault("labels", {}).update(a="b"))
    await grounds.settle()
    assert len(grounds.told) == before

    grounds.cluster.edit(KEY, lambda item: item["spec"].update(runs=1))
    await grounds.settle()
    assert len(grounds.told) > before


async def test_a_condition_keeps_the_time_at_which_it_came_about(grounds: Grounds) -> None:
    """Another message, another generation: the same since."""
    await grounds.settle()
    since = grounds.condition("Ready")["lastTransitionTime"]
    grounds.clock.pass_by(100)
    grounds.cluster.edit(KEY, lambda item: item["spec"].update(value="2"))
    await grounds.settle()
    assert (grounds.condition("Ready")["lastTransitionTime"], grounds.status["observedGeneration"]) == (since, 2)

    grounds.cluster.edit(KEY, lambda item: item["spec"].update(broken=True))
    await grounds.settle()
    assert grounds.condition("Ready")["lastTransitionTime"] != since
    assert grounds.condition("Stalled")["status"] == "True"


@pytest.mark.parametrize(
    "harm",
    [
        lambda item: item["spec"].update(schedule="* * * * *"),
        lambda item: item["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["env"].append(
            {"name": "EVIL", "value": "1"}
        ),
        lambda item: item["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"].clear(),
        lambda item: item["metadata"].update(labels={}),
        lambda item: item["metadata"].pop("ownerReferences"),
    ],
    ids=["a field", "one more in a list", "an emptied list", "the labels", "the owner"],
)
async def test_an_edited_child_is_put_right(grounds: Grounds, harm: object) -> None:
    """By the next look, which the edit itself brings about; what others have added to maps stays."""
    await grounds.settle()
    wanted = copy.deepcopy(grounds.cluster.objects[CRON_JOB_KEY])
    grounds.cluster.edit(CRON_JOB_KEY, lambda item: item["metadata"].update(annotations={"note": "mine"}))
    grounds.cluster.edit(CRON_JOB_KEY, harm)  # type: ignore[arg-type]
    await grounds.settle()

    found = grounds.cluster.objects[CRON_JOB_KEY]
    assert found["spec"] == wanted["spec"]
    assert found["metadata"]["labels"] == wanted["metadata"]["labels"]
    assert found["metadata"]["ownerReferences"] == wanted["metadata"]["ownerReferences"]
    assert found["metadata"]["annotations"] == {"note": "mine"}


async def test_what_a_webhook_makes_of_a_child_is_not_written_over_for_ever(grounds: Grounds) -> None:
    """Once for each change of what is wanted, of what is there, and after each start."""
    grounds.cluster.webhook = _mirror
    await grounds.settle()
    grounds.cluster.calls.clear()
    await grounds.look()
    assert grounds.cluster.calls.total() == 0

    grounds.cluster.edit(CRON_JOB_KEY, lambda item: item["spec"].update(schedule="* * * * *"))
    await grounds.settle()
    assert grounds.cluster.objects[CRON_JOB_KEY]["spec"]["schedule"] == "0 2 * * *"
    grounds.cluster.edit(KEY, lambda item: item["spec"].update(schedule="5 5 * * *"))
    await grounds.settle()
    assert grounds.cluster.objects[CRON_JOB_KEY]["spec"]["schedule"] == "5 5 * * *"
    grounds.cluster.webhook = lambda _: None
    grounds.restart()
    await grounds.settle()
    assert "mirror" not in str(grounds.cluster.objects[CRON_JOB_KEY])


@pytest.mark.parametrize("is_asked", [False, True])
async def test_what_a_webhook_has_made_of_a_child_is_put_right_when_it_is_gone(
    grounds: Grounds, is_asked: bool
) -> None:
    """By the next resync, or as soon as somebody asks; until then each resync tries once, which changes nothing."""
    grounds.cluster.webhook = _mirror
    await grounds.settle()
    before = grounds.cluster.objects[CRON_JOB_KEY]
    for _ in range(2):
        grounds.cluster.calls.clear()
        grounds.clock.pass_by(600)
        await grounds.settle()
        await grounds.look()
        assert grounds.cluster.calls == {("apply", CRON_JOB.kind): 1, ("patch", CRON_JOB.kind): 1}
        assert grounds.cluster.objects[CRON_JOB_KEY] == before

    grounds.cluster.webhook = lambda _: None
    await grounds.settle()
    assert "mirror" in str(grounds.cluster.objects[CRON_JOB_KEY])
    if is_asked:
        grounds.cluster.edit(KEY, lambda item: item["metadata"].update(annotations={ANNOTATION_RECONCILE_AT: "now"}))
    else:
        grounds.clock.pass_by(540)  # a resync may come a tenth sooner
    await grounds.settle()
    assert "mirror" not in str(grounds.cluster.objects[CRON_JOB_KEY])


def _mirror(item: Object) -> None:
    if item["kind"] == CRON_JOB.kind:
        (container,) = item["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        container["image"] = "mirror.example/sample:1"


async def test_a_deleted_child_comes_back(grounds: Grounds) -> None:
    """With the next look."""
    await grounds.settle()
    grounds.cluster.drop(CRON_JOB_KEY)
    await grounds.settle()

    assert grounds.children(CRON_JOB.kind) == ["sample"]


async def test_a_field_that_is_wanted_no_more_is_taken_away_also_after_a_restart(grounds: Grounds) -> None:
    """No comparison shows it; every start applies once."""
    grounds.cluster.edit(KEY, lambda item: item["spec"].update(suspend=True))
    await grounds.settle()
    assert grounds.cluster.objects[CRON_JOB_KEY]["spec"]["suspend"] is True
    grounds.cluster.edit(KEY, lambda item: item["spec"].pop("suspend"))
    grounds.restart()
    await grounds.settle()

    assert "suspend" not in grounds.cluster.objects[CRON_JOB_KEY]["spec"]


async def test_a_job_is_never_changed(grounds: Grounds) -> None:
    """What it was made with is what ran."""
    grounds.cluster.edit(KEY, lambda item: item["spec"].update(runs=1))
    await grounds.settle()
    grounds.cluster.edit(KEY, lambda item: item["spec"].update(value="2"))
    await grounds.settle()

    env = grounds.cluster.objects[job_key(0)]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert env == [{"name": "A", "value": "1"}]


async def test_what_is_obsolete_is_deleted_once(grounds: Grounds) -> None:
    """And nothing else."""
    grounds.cluster.edit(KEY, lambda item: item["spec"].update(runs=3))
    await grounds.settle()
    grounds.cluster.edit(KEY, lambda item: item["spec"].update(runs=1))
    await grounds.settle()

    assert grounds.children(JOB.kind) == ["sample-run-0"]
    assert grounds.cluster.calls["delete", JOB.kind] == 2


async def test_nothing_of_somebody_else_is_touched(grounds: Grounds) -> None:
    """The status says what is in the way, and which command removes it."""
    grounds.cluster.add(
        {
            "apiVersion": "batch/v1",
            "kind": CRON_JOB.kind,
            "metadata": {"name": "sample"},
            "spec": {"schedule": "theirs"},
        }
    )
    verdict = await grounds.look()

    assert grounds.cluster.objects[CRON_JOB_KEY]["spec"] == {"schedule": "theirs"}
    assert grounds.condition("Stalled")["reason"] == "ChildRefused"
    assert "kubectl -n default delete cronjobs/sample" in grounds.condition("Ready")["message"]
    assert verdict.look_again_seconds == 60.0

    grounds.cluster.drop(CRON_JOB_KEY)
    await grounds.settle()
    assert grounds.condition("Ready")["status"] == "True"


async def test_children_of_a_predecessor_are_waited_for(grounds: Grounds) -> None:
    """A resource made anew finds what the garbage collector has not come to yet."""
    await grounds.settle()
    grounds.cluster.drop(KEY)
    grounds.cluster.add(sample())
    with pytest.raises(Exception, match="earlier owner"):
        await grounds.look()
    grounds.cluster.drop(CRON_JOB_KEY)
    await grounds.settle()

    owner = grounds.cluster.objects[CRON_JOB_KEY]["metadata"]["ownerReferences"][0]["uid"]
    assert owner == grounds.cluster.objects[KEY]["metadata"]["uid"]


async def test_a_resource_that_goes_is_left_alone(grounds: Grounds) -> None:
    """What it owns goes with it: making it again would keep a foreground deletion from ending."""
    await grounds.settle()
    grounds.cluster.edit(KEY, lambda item: item["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"))
    grounds.cluster.drop(CRON_JOB_KEY)
    verdict = await grounds.look()

    assert verdict.is_gone
    assert grounds.children(CRON_JOB.kind) == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NotPermitted("see `kubectl auth can-i`"), "NotPermitted"),
        (ObjectRefused("spec.schedule: no"), "ObjectRefused"),
        (AdmissionDenied("no such registry"), "AdmissionDenied"),
    ],
)
async def test_a_refusal_stalls_and_is_tried_again_a_minute_later(
    grounds: Grounds, error: Exception, reason: str
) -> None:
    """No hot loop; once it is allowed, all is well."""
    grounds.cluster.refuses["apply", CRON_JOB.kind] = error
    verdict = await grounds.look()
    assert (grounds.condition("Stalled")["status"], grounds.condition("Stalled")["reason"]) == ("True", reason)
    assert verdict.look_again_seconds == 60.0
    writes = grounds.cluster.calls["apply", "RetentionPolicy"]
    await grounds.look()
    assert grounds.cluster.calls["apply", "RetentionPolicy"] == writes

    grounds.cluster.refuses.clear()
    await grounds.settle()
    assert grounds.condition("Ready")["status"] == "True"


async def test_an_api_server_without_an_answer_changes_no_condition(grounds: Grounds) -> None:
    """Nobody need act; the queue tries again."""
    grounds.cluster.refuses["apply", CRON_JOB.kind] = ClusterUnavailable()
    with pytest.raises(ClusterUnavailable):
        await grounds.look()

    assert grounds.status == {"observedGeneration": -1}


async def test_a_quota_is_told_at_once_and_waited_for(grounds: Grounds) -> None:
    """It frees itself when something goes: nothing stalls, `helm --wait` waits, and the queue's pauses grow."""
    grounds.cluster.refuses["apply", CRON_JOB.kind] = QuotaExceeded(
        "exceeded quota; see: kubectl -n default describe quota"
    )
    for _ in range(PATIENCE + 1):
        with pytest.raises(QuotaExceeded):
            await grounds.look()
        told = grounds.condition("Reconciling")
        assert (told["status"], told["reason"]) == ("True", "QuotaExceeded")
        assert told["message"] == "exceeded quota; see: kubectl -n default describe quota; the operator tries again"
        assert grounds.condition("Stalled")["status"] == "False"
    assert grounds.told == [("sample", "QuotaExceeded")]

    grounds.cluster.refuses.clear()
    await grounds.settle()
    assert grounds.condition("Ready")["status"] == "True"


async def test_an_error_that_comes_again_and_again_is_told(grounds: Grounds) -> None:
    """Nobody waits for ever without a word; it is told once, and forgotten once it is over."""
    await grounds.settle()
    grounds.cluster.edit(KEY, lambda item: item["spec"].update(schedule="0 3 * * *"))
    grounds.cluster.refuses["apply", CRON_JOB.kind] = ClusterUnavailable("the API server says 500: no")
    for _ in range(PATIENCE - 1):
        with pytest.raises(ClusterUnavailable):
            await grounds.look()
    assert grounds.condition("Ready")["status"] == "True"
    with pytest.raises(ClusterUnavailable):
        await grounds.look()
    told = grounds.condition("Reconciling")
    assert (told["status"], told["reason"]) == ("True", "ClusterUnavailable")
    see = "kubectl -n default describe rtp/sample"
    assert told["message"] == f"the API server says 500: no; the operator tries again; see: {see}"
    assert grounds.condition("Ready")["status"] == grounds.condition("Stalled")["status"] == "False"
    assert grounds.status["cronJobName"] == "sample"

    version = grounds.cluster.objects[KEY]["metadata"]["resourceVersion"]
    with pytest.raises(ClusterUnavailable):
        await grounds.look()
    assert grounds.cluster.objects[KEY]["metadata"]["resourceVersion"] == version

    grounds.cluster.refuses.clear()
    await grounds.settle()
    assert grounds.condition("Ready")["status"] == "True"
    grounds.cluster.edit(KEY, lambda item: item["spec"].update(schedule="0 4 * * *"))
    grounds.cluster.faults.append("lost")
    with pytest.raises(ClusterUnavailable):
        await grounds.look()
    assert grounds.condition("Ready")["status"] == "True"


async def test_an_error_that_cannot_be_told_is_tried_again_all_the_same(grounds: Grounds) -> None:
    """While nothing can be written, the log says it."""
    grounds.cluster.refuses["apply", CRON_JOB.kind] = ClusterUnavailable()
    grounds.cluster.refuses["apply", KEY.kind] = ClusterUnavailable()
    for _ in range(PATIENCE + 1):
        with pytest.raises(ClusterUnavailable):
            await grounds.look()


async def test_a_status_that_was_planned_on_an_older_one_is_refused_and_planned_anew(grounds: Grounds) -> None:
    """By a leader that was paused while its successor wrote. An error, so that its pauses grow; it needs no watch to learn."""
    await grounds.settle()
    grounds.cluster.edit(KEY, lambda item: item["spec"].update(broken=True))
    grounds.cluster.listeners.clear()
    grounds.cluster.edit(KEY, lambda item: item["status"].update(jobs=7))
    with pytest.raises(WriteConflict):
        await grounds.look()
    assert grounds.status["jobs"] == 7
    assert grounds.condition("Ready")["status"] == "True"

    await grounds.look()
    assert grounds.status["jobs"] == 0
    assert grounds.condition("Stalled")["status"] == "True"


async def test_a_child_that_has_changed_since_it_was_seen_is_not_written_over(grounds: Grounds) -> None:
    """By a leader that was paused while its successor wrote; what is there is read anew, and needs no watch."""
    await grounds.settle()
    grounds.cluster.edit(KEY, lambda item: item["spec"].update(schedule="0 8 * * *"))
    grounds.cluster.listeners.clear()
    grounds.cluster.edit(CRON_JOB_KEY, lambda item: item["spec"].update(schedule="0 9 * * *"))
    with pytest.raises(WriteConflict):
        await grounds.look()
    assert grounds.cluster.objects[CRON_JOB_KEY]["spec"]["schedule"] == "0 9 * * *"

    await grounds.look()
    assert grounds.cluster.objects[CRON_JOB_KEY]["spec"]["schedule"] == "0 8 * * *"


async def test_a_child_of_the_same_name_that_was_made_anew_is_another_one(grounds: Grounds) -> None:
    """Nor is one made again where the one that was seen has gone; the next look knows, and makes it, though no watch told."""
    await grounds.settle()
    grounds.cluster.edit(KEY, lambda item: item["spec"].update(schedule="0 8 * * *"))
    grounds.cluster.listeners.clear()
    grounds.cluster.drop(CRON_JOB_KEY)
    with pytest.raises(WriteConflict):
        await grounds.look()
    assert CRON_JOB_KEY not in grounds.cluster.objects

    await grounds.look()
    assert grounds.cluster.objects[CRON_JOB_KEY]["spec"]["schedule"] == "0 8 * * *"


async def test_looks_that_fail_in_a_row_count_as_errors_from_the_fifth_on(grounds: Grounds) -> None:
    """So that an alert can tell a fault that lasts from one that passes; a look that succeeds begins anew."""

    def counted(outcome: str) -> float:
        labels = {"kind": KEY.kind, "outcome": outcome}
        return REGISTRY.get_sample_value("coursegen_operator_reconcile_total", labels) or 0.0

    await grounds.settle()
    retried, hindered = counted("retried"), counted("hindered")
    grounds.kind.defect = ClusterUnavailable()
    with capture_logs() as lines:
        for _ in range(PATIENCE + 1):
            with pytest.raises(ClusterUnavailable):
                await grounds.look()
    levels = [line["log_level"] for line in lines if line["event"] == "cannot reconcile now"]
    assert levels == ["info"] * (PATIENCE - 1) + ["warning"] * 2  # the runbook's command leaves info out
    assert (counted("retried") - retried, counted("hindered") - hindered) == (PATIENCE - 1, 2)

    grounds.kind.defect = None
    await grounds.settle()
    grounds.kind.defect = ClusterUnavailable()
    with pytest.raises(ClusterUnavailable):
        await grounds.look()
    assert (counted("retried") - retried, counted("hindered") - hindered) == (PATIENCE, 2)


async def test_without_an_answer_a_conflict_stays_one(grounds: Grounds) -> None:
    """The resource cannot be read anew: the watch will tell."""
    await grounds.settle()
    grounds.cluster.edit(KEY, lambda item: item["spec"].update(broken=True))
    grounds.cluster.listeners.clear()
    grounds.cluster.edit(KEY, lambda item: item["status"].update(jobs=7))
    grounds.cluster.refuses["get", KEY.kind] = ClusterUnavailable()
    for _ in range(PATIENCE + 1):
        with pytest.raises(WriteConflict):
            await grounds.look()


async def test_a_defect_is_told_and_tried_again(grounds: Grounds) -> None:
    """Of a planner that raises, the resource says so; what else its status says stays."""
    await grounds.settle()
    grounds.kind.defect = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await grounds.look()
    assert grounds.condition("Reconciling")["reason"] == "ReconcileError"
    assert grounds.status["cronJobName"] == "sample"

    grounds.kind.defect = None
    await grounds.settle()
    assert grounds.condition("Reconciling")["status"] == "False"


async def test_the_request_to_look_now_is_echoed(grounds: Grounds) -> None:
    """So that whoever asked sees that it was seen."""
    grounds.cluster.edit(KEY, lambda item: item["metadata"].update(annotations={ANNOTATION_RECONCILE_AT: "17"}))
    await grounds.settle()

    assert grounds.status["lastHandledReconcileAt"] == "17"


async def test_a_plan_may_ask_to_be_looked_at_again(grounds: Grounds) -> None:
    """Sooner than the resync."""
    await grounds.settle()
    grounds.cluster.edit(KEY, lambda item: item["spec"].update(lookAgain=7.0))
    await grounds.settle()

    assert (await grounds.look()).look_again_seconds == 7.0


async def test_an_absent_kind_of_child_is_told(grounds: Grounds) -> None:
    """A planner knows of it mostly; the race is no crash."""
    grounds.cluster.absent.add(CRON_JOB.kind)
    await grounds.look()

    assert grounds.condition("Stalled")["reason"] == "KindAbsent"
    assert isinstance(KindAbsent(), Exception)


async def test_what_is_watched_is_read_from_the_store(grounds: Grounds) -> None:
    """By the label of the owner only; the rest is asked for. One that is confined does not ask beyond its namespaces."""
    grounds.cluster.edit(KEY, lambda item: item["spec"].update(runs=1))
    await grounds.settle()
    resource = grounds.cluster.objects[KEY]
    labels = {LABEL_OWNER_UID: resource["metadata"]["uid"]}
    reader = StoredReader(grounds.cluster, grounds.store, resource, frozenset({JOB.kind}), is_confined=True)
    grounds.cluster.calls.clear()
    assert [each["metadata"]["name"] for each in await reader.list(JOB, "default", labels=labels)] == ["sample-run-0"]
    assert await reader.list(JOB, "default", labels={**labels, "another": "label"}) == []
    assert grounds.cluster.calls.total() == 0

    assert len(await reader.list(JOB, "default")) == 1
    assert len(await reader.list(CRON_JOB, "default", labels=labels)) == 1
    assert await reader.get(JOB, "default", "sample-run-0") is not None
    assert grounds.cluster.calls.total() == 3
    with pytest.raises(NotPermitted):
        await reader.list(JOB, None)
    for another in ("elsewhere", ""):
        with pytest.raises(NotPermitted):
            await reader.get(NAMESPACE, "", another)
    assert grounds.cluster.calls.total() == 3
    await reader.get(NAMESPACE, "", "default")  # a Role in it is enough
    assert grounds.cluster.calls["get", NAMESPACE.kind] == 1


async def test_a_child_of_a_kind_that_nobody_watches_is_missed(grounds: Grounds) -> None:
    """With every look that wants it, once it is there; not when all is watched, and not when no child is wanted."""
    missed: list[frozenset[str]] = []
    reconciler = grounds.reconciler
    reconciler.missed = missed.append
    reconciler.watched = frozenset({RETENTION_POLICY.kind, JOB.kind})
    for _ in range(2):
        await reconciler.look(KEY)
        assert grounds.children(CRON_JOB.kind) == ["sample"]
    assert missed == [frozenset({CRON_JOB.kind})] * 2

    reconciler.watched |= {CRON_JOB.kind}
    await reconciler.look(KEY)
    assert len(missed) == 2


_SPECS = st.fixed_dictionaries(
    {
        "runs": st.integers(0, 3),
        "schedule": st.sampled_from(["0 2 * * *", "0 4 * * 0"]),
        "value": st.sampled_from("ab"),
    },
    optional={"suspend": st.booleans(), "broken": st.booleans()},
)
_STEPS = st.one_of(
    st.tuples(st.just("spec"), _SPECS),
    st.tuples(st.just("drop"), st.sampled_from([CRON_JOB_KEY, job_key(0), job_key(1)])),
    st.tuples(st.just("harm"), st.sampled_from([CRON_JOB_KEY])),
    st.tuples(st.just("restart"), st.none()),
    st.tuples(st.just("faults"), st.lists(st.sampled_from(["", "lost", "mute"]), max_size=6)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_STEPS, max_size=8))
async def test_whatever_happens_all_is_as_the_spec_says_in_the_end(steps: list[tuple[str, object]]) -> None:
    """Edits, deletions, lost calls, lost answers, restarts in between: each run is made once, and looking again is nothing."""
    grounds = Grounds()
    grounds.cluster.add(sample())
    for what, argument in steps:
        _do(grounds, what, argument)
        await grounds.settle(most=40)
    grounds.cluster.faults.clear()
    await grounds.settle()

    spec = grounds.cluster.objects[KEY]["spec"]
    assert grounds.children(JOB.kind) == [f"sample-run-{number}" for number in range(spec["runs"])]
    assert grounds.cluster.objects[CRON_JOB_KEY]["spec"]["schedule"] == spec["schedule"]
    assert grounds.cluster.objects[CRON_JOB_KEY]["spec"].get("suspend", False) == spec.get("suspend", False)
    assert grounds.status["jobs"] == spec["runs"]
    before = grounds.cluster.writes
    await grounds.look()
    assert grounds.cluster.writes == before


def _do(grounds: Grounds, what: str, argument: object) -> None:
    if what == "spec":
        assert isinstance(argument, dict)
        grounds.cluster.edit(KEY, lambda item: item.update(spec=dict(argument)))
    elif what == "restart":
        grounds.restart()
    elif what == "faults":
        assert isinstance(argument, list)
        grounds.cluster.faults.extend(argument)
    elif isinstance(argument, ObjectKey) and argument in grounds.cluster.objects:
        if what == "drop":
            grounds.cluster.drop(argument)
        else:
            grounds.cluster.edit(argument, _harm)


def _harm(item: Object) -> None:
    item["spec"]["schedule"] = "harm"
    item["metadata"]["labels"] = {}
