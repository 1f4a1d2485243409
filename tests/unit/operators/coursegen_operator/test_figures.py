"""Figures: the names that alerts are made of."""

from __future__ import annotations

from operators.coursegen_operator.figures import Figures
from operators.coursegen_operator.resources import ObjectKey
from services.kernel.metrics import REGISTRY

KEY = ObjectKey("DatabaseMigration", "default", "main")


def _condition(name: str) -> float | None:
    labels = {"kind": KEY.kind, "namespace": KEY.namespace, "name": KEY.name, "type": name}
    return REGISTRY.get_sample_value("coursegen_operator_resource_condition", labels)


def test_a_condition_is_one_nought_or_absent() -> None:
    """True, False, Unknown; those that no alert asks for are not shown, and of what is gone nothing is left."""
    figures = Figures()
    figures.conditions(
        KEY,
        [
            {"type": "Ready", "status": "False"},
            {"type": "Stalled", "status": "True"},
            {"type": "DriftDetected", "status": "Unknown"},
            {"type": "Reconciling", "status": "True"},
        ],
    )
    assert [_condition(each) for each in ("Ready", "Stalled", "DriftDetected", "Reconciling")] == [0, 1, None, None]
    figures.conditions(KEY, [{"type": "Ready", "status": "True"}, {"type": "Stalled", "status": "Unknown"}])
    assert [_condition(each) for each in ("Ready", "Stalled")] == [1, None]
    figures.forget_all()
    assert _condition("Ready") is None
    figures.forget(KEY)


def test_what_is_said_of_rules_is_shown() -> None:
    """Whether a Prometheus selects them, and whether the Prometheus Operator has refused them."""
    figures = Figures()
    said = [{"type": "RulesSelected", "status": "True"}, {"type": "RulesAccepted", "status": "False"}]
    figures.conditions(KEY, said)
    assert [_condition(each["type"]) for each in said] == [1, 0]
    figures.forget_all()


def test_looks_are_counted_by_kind_and_outcome() -> None:
    """From nought, so that a rate is seen from the first one on."""
    figures = Figures(["Counted"])
    labels = {"kind": "Counted", "outcome": "failed"}
    assert REGISTRY.get_sample_value("coursegen_operator_reconcile_total", labels) == 0
    figures.reconciled("Counted", "failed", 0.1)
    assert REGISTRY.get_sample_value("coursegen_operator_reconcile_total", labels) == 1
    assert REGISTRY.get_sample_value("coursegen_operator_reconcile_seconds_count", {"kind": "Counted"}) == 1


def test_the_rest_is_shown_too() -> None:
    """Leadership, queue, watches, calls, the Lease."""
    figures = Figures()
    figures.leads(True)
    figures.queue(lambda: 3, lambda: 4.5)
    figures.watching(lambda: 6.0)
    figures.watch_restarted()
    figures.called("apply")
    figures.call_failed("cluster_unavailable")
    figures.event("written")
    figures.lease_renewed(0.1)
    figures.lease_failed("timeout")

    assert REGISTRY.get_sample_value("coursegen_operator_is_leader") == 1
    assert REGISTRY.get_sample_value("coursegen_operator_queue_depth") == 3
    assert REGISTRY.get_sample_value("coursegen_operator_queue_oldest_seconds") == 4.5
    assert REGISTRY.get_sample_value("coursegen_operator_watch_oldest_seconds") == 6
    assert (REGISTRY.get_sample_value("coursegen_operator_api_calls_total", {"verb": "apply"}) or 0) >= 1
    figures.leads(False)
    assert REGISTRY.get_sample_value("coursegen_operator_is_leader") == 0
