"""Whether a `webhookUrl` may be accepted at all: asked before anything is written (contract.md GAP14)."""

from __future__ import annotations

from services.kernel.webhooks.secrets import SecretVault
from services.kernel.webhooks.urls import UrlRules


class WebhookDoor:
    """Lets addresses in."""

    def __init__(self, rules: UrlRules, vault: SecretVault) -> None:
        self._rules = rules
        self._vault = vault

    def admit(self, url: str | None) -> None:
        """Return if `url` may be called when the run ends, as far as its text tells; None is none.

        Raises:
            WebhookUrlRefused: it may not, or cannot be meant.
            WebhooksUnavailable: this installation cannot sign webhooks.
        """
        if url is not None:
            self._rules.target(url)
            self._vault.require_keys()
