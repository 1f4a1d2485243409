"""The labels of a PrometheusRule: the policy's own, and what the ruleSelector of each Prometheus in reach asks for.

A selector is copied whole or not at all, and never so that it undoes what another one, copied before, needs; `ruleLabels`
of the policy are never changed. While a Prometheus may not be read, what was copied before stays: losing a permission
must not lose the alerts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from operators.coursegen_operator.alerts.selection import Candidate, Name
from operators.coursegen_operator.alerts.selectors import EXISTS, IN, NOT_IN, Labels, Selector, is_label
from operators.coursegen_operator.alerts.spec import AlertSpec
from operators.coursegen_operator.alerts.surroundings import Surroundings

PRESENT: Final = "true"
"""The value of a label that must only be there."""


@dataclass(frozen=True, slots=True)
class RuleLabels:
    """The labels that the rule gets."""

    fixed: Mapping[str, str]
    """Those of the policy, under those of every child."""
    copied: Mapping[str, str]
    """Those that selectors ask for."""

    @property
    def all(self) -> dict[str, str]:
        """What a selector sees."""
        return {**self.copied, **self.fixed}


def rule_labels(
    spec: AlertSpec,
    surroundings: Surroundings,
    candidates: Sequence[Candidate],
    *,
    reserved: Mapping[str, str],
    remembered: Mapping[str, str],
) -> RuleLabels:
    """The labels for the rule of a policy.

    Args:
        spec: what the policy asks for.
        surroundings: its namespace, and what may be read.
        candidates: whoever may select rules, the most important first.
        reserved: labels that every child has, whatever the policy says.
        remembered: what was copied last time.
    """
    fixed = {**spec.rule_labels, **reserved}
    if not spec.copies_labels:
        return RuleLabels(fixed, {})
    in_reach = [each for each in candidates if _is_asked(each, spec, surroundings)]
    found = copied(fixed, (each.rules for each in in_reach if each.rules is not None))
    if not surroundings.sees_all:
        found = _with_remembered(found, fixed, in_reach, remembered)
    return RuleLabels(fixed, found)


def copied(fixed: Mapping[str, str], selectors: Iterable[Selector]) -> dict[str, str]:
    """Labels that make as many of `selectors` as possible select, the first ones first, without changing `fixed`."""
    labels, met = dict(fixed), list[Selector]()
    for selector in selectors:
        trial = {**wanted(selector, labels), **labels}
        if all(each.judge(Labels(trial)) == "True" for each in (*met, selector)):
            labels = trial
            met.append(selector)
    return {key: value for key, value in labels.items() if key not in fixed}


def wanted(selector: Selector, labels: Mapping[str, str]) -> dict[str, str]:
    """The labels that `selector` asks for and `labels` lack; of several values the first one that it takes."""
    keys = dict.fromkeys(each.key for each in selector.requirements if each.operator in {IN, EXISTS})
    found = {key: _value_for(key, selector) for key in keys if key not in labels}
    return {key: value for key, value in found.items() if value is not None}


def _value_for(key: str, selector: Selector) -> str | None:
    asked = [each for each in selector.requirements if each.key == key]
    named = [value for each in asked if each.operator == IN for value in each.values]
    refused = sum(len(each.values) for each in asked if each.operator == NOT_IN)
    options = named or [PRESENT, *(f"{PRESENT}-{number}" for number in range(refused))]
    fitting = (value for value in options if all(each.judge(Labels({key: value})) == "True" for each in asked))
    return next(fitting, None)


def _is_asked(candidate: Candidate, spec: AlertSpec, surroundings: Surroundings) -> bool:
    if spec.prometheus is not None:
        return candidate.name in {
            Name(kind, spec.prometheus.namespace, spec.prometheus.name) for kind in ("Prometheus", "ThanosRuler")
        }
    return candidate.looks_into(surroundings.namespace, surroundings.namespace_labels) != "False"


def _with_remembered(
    found: Mapping[str, str], fixed: Mapping[str, str], in_reach: Iterable[Candidate], remembered: Mapping[str, str]
) -> dict[str, str]:
    labels = {**found, **fixed}
    kept = {key: value for key, value in remembered.items() if key not in labels and is_label(key, value)}
    trial = Labels({**kept, **labels})
    selectors = [each.rules for each in in_reach if each.rules is not None]
    met = [each for each in selectors if each.judge(Labels(labels)) == "True"]
    return {**found, **kept} if all(each.judge(trial) == "True" for each in met) else dict(found)
