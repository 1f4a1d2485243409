"""The conditions of an AlertPolicy, and the Events that tell of their change. Each failure names the next command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from operators.coursegen_operator.alerts.acceptance import PARTLY, TOLD_BYTES, Acceptance
from operators.coursegen_operator.alerts.selection import Selection
from operators.coursegen_operator.alerts.surroundings import NAMESPACES, Surroundings
from operators.coursegen_operator.conditions import Condition, done, find, stuck
from operators.coursegen_operator.planning import Notice
from operators.coursegen_operator.resources import ANNOTATION_RECONCILE_AT, Object
from services.kernel.texts import shortened

GENERATED: Final = "RulesGenerated"
SELECTED: Final = "RulesSelected"
ACCEPTED: Final = "RulesAccepted"

FAULTS_TOLD: Final = 3
FAULT_BYTES: Final = 220
NAMES_TOLD: Final = 4

Told = tuple[Condition, ...]


class Telling:
    """What is said of one policy."""

    def __init__(self, resource: Object, rule_name: str) -> None:
        """Speak of `resource`, whose rule is called `rule_name`."""
        self._namespace: str = resource["metadata"]["namespace"]
        self._name: str = resource["metadata"]["name"]
        self._rule = rule_name

    def applied(self, counts: Mapping[str, int]) -> Told:
        """The rule is as it should be."""
        written = (
            f"{counts['alertCount']} alerts and {counts['recordCount']} recorded series in {counts['groupCount']} groups "
            f"are in PrometheusRule {self._rule}"
        )
        return (*done("Applied", written), Condition(GENERATED, "True", "Generated", written))

    def suspended(self) -> Told:
        """No rule, since the policy says so."""
        resume = '{"spec":{"suspend":false}}'
        message = f"suspended: no alert is watched. To go on: {self._kubectl('patch')} --type=merge -p '{resume}'"
        return self._no_rule_wanted("Suspended", message)

    def operator_absent(self) -> Told:
        """No rule, since nobody would read it."""
        message = (
            "the cluster has no kind PrometheusRule: install the Prometheus Operator; this is noticed within ten minutes, "
            f'or at once by {self._kubectl("annotate")} {ANNOTATION_RECONCILE_AT}="$(date +%s)" --overwrite. '
            "For a Prometheus without it: docs/ALERTS.md"
        )
        return self._no_rule_wanted("PrometheusOperatorAbsent", message)

    def nothing_enabled(self) -> Told:
        """No rule, since nothing is asked for."""
        message = f"no preset is enabled, and there are no slos and no extraGroups. Next: {self._kubectl('edit')}"
        return self._no_rule_wanted("NothingEnabled", message)

    def not_permitted(self, refusal: str) -> Told:
        """No rule can be written; `refusal` is how the API server has said so, and the command that shows it."""
        shows = f"kubectl auth can-i list prometheusrules.monitoring.coreos.com -n {self._namespace}"
        message = f"the operator may not list PrometheusRules in this namespace: {refusal or f'see: {shows}'}"
        generated = Condition(GENERATED, "False", "NotPermitted", message)
        return (*stuck("NotPermitted", message), generated, *self.no_rule("NotPermitted"))

    def invalid(self, faults: Sequence[str], *, is_kept: bool) -> Told:
        """The rule would not work, and is not written."""
        first = "; ".join(shortened(fault, FAULT_BYTES) for fault in faults[:FAULTS_TOLD])
        more = f"; and {len(faults) - FAULTS_TOLD} more" if len(faults) > FAULTS_TOLD else ""
        kept = f" PrometheusRule {self._rule} stays as it was." if is_kept else " Nothing is written."
        message = f"{first}{more}.{kept} Next: {self._kubectl('edit')}"
        return (*stuck("RulesInvalid", message), Condition(GENERATED, "False", "RulesInvalid", message))

    def no_rule(self, reason: str) -> Told:
        """Nobody can select or accept what is not there."""
        message = "there is no PrometheusRule"
        return (Condition(SELECTED, "Unknown", reason, message), Condition(ACCEPTED, "Unknown", reason, message))

    def selected(self, selections: Sequence[Selection], around: Surroundings, named: str) -> Condition:
        """Whether a Prometheus takes the rule."""
        takers = [selection for selection in selections if selection.selected == "True"]
        if takers:
            notes = [f"{each.name}: {each.message}" for each in takers if each.message][:NAMES_TOLD]
            message = f"selected by {len(takers)} of {len(selections)}: {_names(takers)}"
            return Condition(SELECTED, "True", "Selected", ". ".join([message, *notes]))
        unsure = [selection for selection in selections if selection.selected == "Unknown"]
        if unsure or not around.sees_all:
            return Condition(SELECTED, "Unknown", "NotPermitted", self._hidden(unsure, around))
        wish = (
            f"; prometheusSelector names {named}, which is not there" if named and not _has(selections, named) else ""
        )
        if not selections:
            return Condition(
                SELECTED,
                "False",
                "NoPrometheus",
                f"there is no Prometheus and no ThanosRuler to select the rule{wish}. Next: kubectl get prometheuses,"
                f"thanosrulers -A; where none is wanted: {self._kubectl('edit')} (spec.suspend: true)",
            )
        why = "; ".join(f"{each.name}: {each.message}" for each in selections[:NAMES_TOLD])
        next_one = f"Next: {self._kubectl('edit')} (spec.ruleLabels), or change the selector"
        return Condition(
            SELECTED, "False", "NotSelected", f"none of {len(selections)} selects the rule. {why}{wish}. {next_one}"
        )

    def accepted(self, found: Acceptance) -> Condition:
        """Whether the Prometheus Operator has accepted the rule."""
        hint = ""
        if found.standing != "True" or found.reason == PARTLY:
            hint = f". Next: kubectl -n {self._namespace} describe prometheusrule/{self._rule}"
        return Condition(ACCEPTED, found.standing, found.reason, shortened(found.message, TOLD_BYTES) + hint)

    def _hidden(self, unsure: Sequence[Selection], around: Surroundings) -> str:
        look = "Next: kubectl get prometheuses,thanosrulers -A -o yaml | grep -A6 -i 'rule.*selector'"
        if unsure:
            return f"{_names(unsure)} may select the rule: {unsure[0].message}. {look}"
        what = " and ".join(sorted(what for what, why in around.denied if why == "Forbidden" and what != NAMESPACES))
        return f"the operator may not list {what} beyond its namespaces, and none that it sees selects the rule. {look}"

    def _no_rule_wanted(self, reason: str, message: str) -> Told:
        return (*done(reason, message), Condition(GENERATED, "False", reason, message), *self.no_rule(reason))

    def _kubectl(self, verb: str) -> str:
        return f"kubectl -n {self._namespace} {verb} alp/{self._name}"


def notices(before: Object, after: Object) -> tuple[Notice, ...]:
    """What has changed from one status to the next, for people who read Events."""
    found = [_written(before, after), _suspended(before, after), _invalid(before, after)]
    found.append(_turned(before, after, SELECTED, true="RulesSelected", false="RulesNotSelected"))
    found.append(_turned(before, after, ACCEPTED, true="RulesAccepted", false="RulesRejected"))
    return tuple(notice for notice in found if notice is not None)


def _written(before: Object, after: Object) -> Notice | None:
    generated = find(after["conditions"], GENERATED) or {}
    was, now = before.get("prometheusRule") or {}, after.get("prometheusRule") or {}
    if generated.get("status") != "True" or was.get("hash") == now.get("hash"):
        return None
    return Notice("RulesWritten", generated["message"])


def _suspended(before: Object, after: Object) -> Notice | None:
    now = find(after["conditions"], "Ready") or {}
    was = find(before.get("conditions") or (), "Ready") or {}
    is_news = now.get("reason") == "Suspended" != was.get("reason")
    return Notice("Suspended", now["message"]) if is_news else None


def _invalid(before: Object, after: Object) -> Notice | None:
    now = find(after["conditions"], GENERATED) or {}
    was = find(before.get("conditions") or (), GENERATED) or {}
    if now.get("reason") != "RulesInvalid":
        return None
    is_news = was.get("reason") != "RulesInvalid" or before.get("observedGeneration") != after["observedGeneration"]
    return Notice("RulesInvalid", now["message"], warning=True) if is_news else None


def _turned(before: Object, after: Object, condition_type: str, *, true: str, false: str) -> Notice | None:
    now = find(after["conditions"], condition_type) or {}
    was = find(before.get("conditions") or (), condition_type) or {}
    standing = _standing(now)
    if standing == _standing(was) or standing not in {"True", "False"}:
        return None
    is_bad = standing == "False"
    return Notice(false if is_bad else true, now["message"], warning=is_bad)


def _standing(condition: Object) -> str:
    """As an Event tells it: what one Prometheus refuses is refused, whoever else has taken it."""
    return "False" if condition.get("reason") == PARTLY else str(condition.get("status"))


def _names(selections: Sequence[Selection]) -> str:
    told = ", ".join(str(each.name) for each in selections[:NAMES_TOLD])
    return told if len(selections) <= NAMES_TOLD else f"{told} and {len(selections) - NAMES_TOLD} more"


def _has(selections: Sequence[Selection], named: str) -> bool:
    return any(f"{each.name.namespace}/{each.name.name}" == named for each in selections)
