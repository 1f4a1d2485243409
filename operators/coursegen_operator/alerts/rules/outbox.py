"""Group `coursegen_outbox`: who relays, and how late."""

from __future__ import annotations

from typing import Final

from operators.coursegen_operator.alerts.rules.alert import DEAD_ROWS, PLACE, Alert, Preset
from operators.coursegen_operator.alerts.rules.figures import Figure, Form

ALERTS: Final = (
    Alert(
        "OutboxRelayNoLeader",
        "critical",
        # Without any relay there is no series to be 0: an api that is there says that one is missed.
        "(max by (namespace) (relay_is_leader@here) or 0 * max by (namespace) (system_healthy@here)) == 0",
        f"No relay leads{PLACE}",
        "Nobody moves jobs from the outbox to Redis; courses are accepted and wait in PostgreSQL. "
        "Next: @kubectl get leases,pods",
        hold="1m",
        hold_figure="noLeaderFor",
    ),
    Alert(
        "OutboxRelayLeaderFlapping",
        "warning",
        # How often the epoch rises, not how far: after a lost database one term takes it from 0 to above what Redis has seen. A
        # fall (resets) is another database, and nobody's term. Terms between two scrapes count as one; who flaps does so at each
        # scrape. Each relay's own counter would not do: one that is killed again and again begins at 0 again and again.
        "max by (namespace) (\n"
        "  changes(outbox_relay_epoch@here[@flappingWindow]) - resets(outbox_relay_epoch@here[@flappingWindow])\n"
        ") > @leaderChanges",
        f"The relay's leader changes again and again{PLACE}",
        "{{ $value | humanize }} terms of leadership have begun in the last @flappingWindow; the limit is @leaderChanges. "
        "Each costs up to 20 s. Next: @kubectl get events --field-selector involvedObject.kind=Lease",
        hold="0s",
    ),
    Alert(
        "OutboxLagHigh",
        "warning",
        "max by (namespace) (outbox_oldest_pending_seconds@here) > @lagSeconds",
        f"A job has waited in the outbox for more than @lagSeconds s{PLACE}",
        "The oldest row that is still to go was written {{ $value | humanizeDuration }} ago; the limit is @lagSeconds s. "
        "Next: @kubectl logs -l app.kubernetes.io/component=outbox-relay --tail=50",
        hold="2m",
    ),
    Alert(
        "OutboxDeadLetters",
        "warning",
        "max by (namespace) (outbox_dead_rows@here) > @deadRows",
        f"Dead letters lie in the outbox{PLACE}",
        "{{ $value | humanize }} rows of job_outbox will not be tried again by themselves; each holds up one course until "
        "somebody replays or discards it. " + DEAD_ROWS,
        hold="1m",
    ),
)

PRESET: Final = Preset(
    name="outbox",
    group="coursegen_outbox",
    doc="Alerts on the relay: its leader, its lag, dead letters.",
    alerts=ALERTS,
    figures=(
        Figure("noLeaderFor", Form.WAIT, "1m", "OutboxRelayNoLeader: how long nobody may lead. Default: 1m."),
        Figure("flappingWindow", Form.WINDOW, "15m", "OutboxRelayLeaderFlapping: how far it looks back."),
        Figure("leaderChanges", Form.COUNT, 3, "OutboxRelayLeaderFlapping: terms that may begin in its window."),
        Figure("lagSeconds", Form.SECONDS, 60, "OutboxLagHigh: seconds that a row may wait."),
        Figure("deadRows", Form.COUNT, 0, "OutboxDeadLetters: dead rows that nobody need look at."),
    ),
)
