"""Service level objectives: alerts by how fast the budget of errors is used up.

A budget is what the objective leaves: 0.1 % of the requests of 30 days for 99.9. An alert asks two windows at once, the long
one for weight and the short one so that it ends soon after the cause has. Of the budget, a page is due at 2 % within 1 h (14.4
times the speed that just lasts) or 5 % within 6 h (6 times); a ticket at 10 % within a day (3 times) or within 3 days (once).
The Site Reliability Workbook, chapter 5, has the reasons; Sloth has the same windows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from operators.coursegen_operator import durations
from operators.coursegen_operator.alerts.rules import periods
from operators.coursegen_operator.alerts.rules.alert import SEVERITIES, Alert, Record, Severity

WINDOW: Final = re.compile(r"\{\{\s*\.window\s*\}\}")
"""Where a query takes its window: `rate(http_requests_total[{{.window}}])`, as in Sloth."""
SERIES: Final = "slo:sli_error:ratio_rate"

DEFAULT_OBJECTIVE: Final = Decimal("99.9")
DEFAULT_WINDOW: Final = periods.DEFAULT
_HOUR: Final = 3600


@dataclass(frozen=True, slots=True)
class Tier:
    """One speed of burning that an alert asks for."""

    share: Decimal
    """Of the budget, used up within the long window."""
    short: int
    long: int
    """Windows in seconds."""


DAY: Final = 86_400
PAGE: Final = (Tier(Decimal("0.02"), 300, _HOUR), Tier(Decimal("0.05"), 1800, 6 * _HOUR))
TICKET: Final = (Tier(Decimal("0.1"), 2 * _HOUR, 24 * _HOUR), Tier(Decimal("0.1"), 6 * _HOUR, 72 * _HOUR))


@dataclass(frozen=True, slots=True)
class Objective:
    """One objective of a policy, ready to be rendered."""

    name: str
    objective: Decimal
    """In percent."""
    seconds: int
    """Of the whole period."""
    errors: str
    total: str
    """Queries with `{{.window}}`, that of errors and that of everything."""
    page: str = "critical"
    ticket: str = "warning"
    """Severities; no alert where empty."""
    absent: bool = True
    namespace: str = ""
    divisor: int = 1
    """Every window is divided by this, for a trial."""

    @classmethod
    def of(cls, slo: Mapping[str, Any], namespace: str = "") -> Objective:
        """The objective that an item of `spec.slos` describes."""
        events = (slo.get("sli") or {}).get("events") or {}
        return cls(
            name=str(slo.get("name", "")),
            objective=percent_of(slo.get("objective")),
            seconds=max(durations.seconds_of(slo.get("window") or DEFAULT_WINDOW), 1),
            errors=str(events.get("errorQuery", "")),
            total=str(events.get("totalQuery", "")),
            page=_severity(slo.get("page"), "critical"),
            ticket=_severity(slo.get("ticket"), "warning"),
            absent=slo.get("absent") is not False,
            namespace=namespace,
        )

    @property
    def group(self) -> str:
        """The name of its group of rules."""
        return f"slo_{self.name}"

    @property
    def labels(self) -> dict[str, str]:
        """What its series and alerts have in common."""
        return {"slo": self.name} | ({"namespace": self.namespace} if self.namespace else {})

    def records(self) -> tuple[Record, ...]:
        """The share of errors in each window."""
        lengths = sorted({length for tier in (*PAGE, *TICKET) for length in (tier.short, tier.long)})
        return tuple(self._record(length) for length in lengths)

    def _record(self, length: int) -> Record:
        errors, total = self._query(self.errors, length), self._query(self.total, length)
        # Nought by nought is not recorded: one such sample, of a quiet night, would spoil every average over the month.
        return Record(self._series(length), f"({errors})\n/\n(({total}) > 0)", self.labels)

    def alerts(self) -> Iterator[Alert]:
        """A page, a ticket, and one for a query that finds nothing."""
        if self.page:
            yield self._burning("SloErrorBudgetBurnFast", self.page, PAGE)
        if self.ticket:
            yield self._burning("SloErrorBudgetBurnSlow", self.ticket, TICKET)
        if self.absent:
            yield Alert(
                "SloMetricAbsent",
                severity_of(self.page or self.ticket),
                f"absent({self._query(self.total, PAGE[0].short)})",
                f"Nothing is measured for the objective {self.name}",
                f"The query of all events of the objective {self.name} finds nothing: its metrics are not scraped, "
                "or have another name. Next: @kubectl get podmonitors,servicemonitors",
                hold="10m",
            )

    @property
    def budget_percent(self) -> str:
        """What may fail, in percent."""
        return _plain(100 - self.objective)

    def burning(self, tiers: tuple[Tier, ...]) -> str:
        """The condition that the budget burns at the speed of any of `tiers`."""
        return "\nor\n".join(self._burns(tier, (100 - self.objective) / 100) for tier in tiers)

    def _burning(self, name: str, severity: str, tiers: tuple[Tier, ...]) -> Alert:
        return Alert(
            name,
            severity_of(severity),
            self.burning(tiers),
            f"The error budget of {self.name} is used up too fast",
            f"{{{{ $value | humanizePercentage }}}} of the events of the objective {self.name} failed lately; "
            f"{self.budget_percent} % may, over {durations.text_of(self.seconds)}. "
            "Next: @kubectl get alp -o jsonpath='{.items[*].spec.slos}'",
            hold="0s",
        )

    def _query(self, query: str, length: int) -> str:
        return WINDOW.sub(self._window(length), query)

    def _burns(self, tier: Tier, budget: Decimal) -> str:
        factor = tier.share * self.seconds / tier.long
        limit = f"> ({_plain(factor)} * {_plain(budget)})"
        where = ",".join(f'{name}="{value}"' for name, value in self.labels.items())
        long, short = (f"{self._series(length)}{{{where}}} {limit}" for length in (tier.long, tier.short))
        return f"(\n  {short}\n  and\n  {long}\n)"

    def _series(self, length: int) -> str:
        return f"{SERIES}{self._window(length)}"

    def _window(self, length: int) -> str:
        return durations.text_of(max(length // max(self.divisor, 1), 1))


def can_fire(objective: str, period: str, is_off: str, tiers: tuple[Tier, ...], said: str) -> tuple[str, str]:
    """In CEL: an alert on `tiers` is off, or some share of errors makes it fire; and what to say. All fields in CEL.

    A tier fires above `share * period / long` times the budget; of a large budget that is more than all events.
    """
    least = min(tier.share * DAY / tier.long for tier in tiers)
    budget = f"double({periods.days(period)}) * (100.0 - double({objective}))"
    why = (
        f"so much may fail that {said} can never fire: raise the objective, shorten its period, or turn that alert off"
    )
    return f"({is_off}) || {budget} < {_plain(100 / least)}.0", why


def percent_of(text: object) -> Decimal:
    """An objective in percent; the default where `text` is none, which the schema refuses."""
    try:
        found = Decimal(str(text))
    except InvalidOperation:
        return DEFAULT_OBJECTIVE
    return found if found.is_finite() and 0 <= found < 100 else DEFAULT_OBJECTIVE  # percent


def severity_of(text: str) -> Severity:
    """`text` as a severity; what the schema refuses counts as a warning."""
    return next((known for known in SEVERITIES if known == text), "warning")


def _severity(wish: Any, default: str) -> str:
    if wish is None:
        return default
    return "" if wish.get("enabled") is False else str(wish.get("severity") or default)


def _plain(number: Decimal) -> str:
    rounded = f"{number:.6f}".rstrip("0").rstrip(".")
    return rounded or "0"
