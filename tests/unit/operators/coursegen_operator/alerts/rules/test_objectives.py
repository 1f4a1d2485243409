"""Objectives: the windows and factors of the Site Reliability Workbook, whatever the period."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.coursegen_operator.alerts.rules.objectives import PAGE, TICKET, Objective, Tier, can_fire, percent_of


def objective(**changes: Any) -> Objective:
    """An objective of a policy."""
    return Objective.of(
        {
            "name": "checkout",
            "objective": "99.9",
            "window": "30d",
            "sli": {"events": {"errorQuery": "bad[{{.window}}]", "totalQuery": "all[{{ .window }}]"}},
            **changes,
        }
    )


def test_a_month_has_the_known_factors() -> None:
    """Page: 5m and 1h at 14.4, or 30m and 6h at 6; ticket: 2h and 1d at 3, or 6h and 3d at 1."""
    page, ticket = objective().burning(PAGE), objective().burning(TICKET)

    assert [line.strip() for line in page.splitlines() if "slo" in line] == [
        'slo:sli_error:ratio_rate5m{slo="checkout"} > (14.4 * 0.001)',
        'slo:sli_error:ratio_rate1h{slo="checkout"} > (14.4 * 0.001)',
        'slo:sli_error:ratio_rate30m{slo="checkout"} > (6 * 0.001)',
        'slo:sli_error:ratio_rate6h{slo="checkout"} > (6 * 0.001)',
    ]
    assert [line.strip().removeprefix("slo:sli_error:ratio_rate") for line in ticket.splitlines() if "slo" in line] == [
        '2h{slo="checkout"} > (3 * 0.001)',
        '1d{slo="checkout"} > (3 * 0.001)',
        '6h{slo="checkout"} > (1 * 0.001)',
        '3d{slo="checkout"} > (1 * 0.001)',
    ]


def test_another_period_burns_the_same_share() -> None:
    """2 % of a week's budget in an hour is 3.36 times the speed that just lasts."""
    assert "(3.36 * 0.001)" in objective(window="7d").burning(PAGE)


@pytest.mark.parametrize("tiers", [PAGE, TICKET])
@given(objective=st.decimals(1, 99, places=3), days=st.integers(7, 365))
def test_the_schema_takes_an_objective_when_its_alert_can_fire(
    tiers: tuple[Tier, ...], objective: Decimal, days: int
) -> None:
    """The limit of the rule is where the lowest share of errors that an alert asks for is all of the events."""
    rule = can_fire("self.objective", "self.window", "!self.page.enabled", tiers, "page")[0]
    limit = Decimal(rule.rpartition("< ")[2])
    asked = objective_of(str(objective), days).burning(tiers)
    lowest = min(
        Decimal(factor) * Decimal(budget) for factor, budget in re.findall(r"\(([0-9.]+) \* ([0-9.]+)\)", asked)
    )

    assert (days * (100 - objective) < limit) == (lowest < 1) or abs(lowest - 1) < Decimal("0.00001")


def objective_of(percent: str, days: int) -> Objective:
    """An objective for so many days."""
    return objective(objective=percent, window=f"{days}d")


def test_each_window_is_recorded_once_with_its_query() -> None:
    """The placeholder takes blanks; the namespace is one more label, for objectives of the same name elsewhere."""
    records = Objective.of(
        {"name": "checkout", "sli": {"events": {"errorQuery": "bad[{{.window}}]"}}}, "shop"
    ).records()
    names = [record.name.removeprefix("slo:sli_error:ratio_rate") for record in records]

    assert names == ["5m", "30m", "1h", "2h", "6h", "1d", "3d"]
    assert objective().records()[0].expression == "(bad[5m])\n/\n((all[5m]) > 0)"
    assert dict(records[0].labels) == {"slo": "checkout", "namespace": "shop"}


def test_alerts_can_be_left_out() -> None:
    """Page, ticket and the one for what is not measured at all."""
    names = {each.name for each in objective().alerts()}
    few = [each.name for each in objective(page={"enabled": False}, absent=False).alerts()]
    (page, *_) = objective(page={"severity": "warning"}).alerts()

    assert names == {"SloErrorBudgetBurnFast", "SloErrorBudgetBurnSlow", "SloMetricAbsent"}
    assert few == ["SloErrorBudgetBurnSlow"]
    assert page.severity == "warning"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("99.95", "99.95"), ("0", "0"), ("100", "99.9"), ("NaN", "99.9"), ("many", "99.9"), (None, "99.9")],
)
def test_an_objective_that_the_schema_refuses_is_the_default(text: str | None, expected: str) -> None:
    """Rendering never fails."""
    assert percent_of(text) == Decimal(expected)
