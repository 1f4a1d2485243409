"""Dead letters of every kind, one desk for all: outbox rows without tries left, jobs a queue has set aside, webhooks given up.

Every accepted request ends in exactly one effect or in a dead letter that someone can see; here he sees it, and either has
the work done again, exactly once, or says that nobody is to wait for it any more.
"""

from services.kernel.dead_letters.aftermath import Aftermath
from services.kernel.dead_letters.desk import Action, DeadLetterDesk, Page, Witness
from services.kernel.dead_letters.letters import KINDS, Filter, Kind, Letter, Place
from services.kernel.dead_letters.results import Result

__all__ = (
    "KINDS",
    "Action",
    "Aftermath",
    "DeadLetterDesk",
    "Filter",
    "Kind",
    "Letter",
    "Page",
    "Place",
    "Result",
    "Witness",
)
