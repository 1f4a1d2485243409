"""How many courses may be in generation at once, and who counts them (contract.md e, GAP9).

::

    api ── reserve ─▶ ┌───────────── Redis ─────────────┐ ◀─ release ── worker (the run has ended), api (cancel, delete)
                      │ slots, counters, reservations   │
    relay's leader ─▶ └───────── rebuild, verify ───────┘
                                      ▲
                     PostgreSQL: courses with a run under way = the truth, and the count while Redis is away

Redis says fast whether there is room; PostgreSQL says what is true. A slot is one course's, from acceptance to the end of
its run, however many jobs that takes.
"""

from __future__ import annotations

from services.kernel.concurrency.book import Book, ConcurrencyView, Rebuilt, UserSlots
from services.kernel.concurrency.limits import GLOBAL, Limits
from services.kernel.concurrency.releases import Releases
from services.kernel.concurrency.settings import FEWEST, MOST, ConcurrencySettings, TierLimits
from services.kernel.concurrency.slots import ANY_RUN, Claim, Decision, Slots, Verdict

__all__ = (
    "ANY_RUN",
    "FEWEST",
    "GLOBAL",
    "MOST",
    "Book",
    "Claim",
    "ConcurrencySettings",
    "ConcurrencyView",
    "Decision",
    "Limits",
    "Rebuilt",
    "Releases",
    "Slots",
    "TierLimits",
    "UserSlots",
    "Verdict",
)
