"""The header `Idempotency-Key`: the same key from the same caller means the same request."""

from __future__ import annotations

from services.api.messages import Request
from services.kernel.errors import InvalidInput
from services.kernel.idempotency import scoped_key


def client_key(request: Request, otherwise: str | None = None) -> str | None:
    """The caller's key, tied to the caller; `otherwise` (a key in the body) counts where no header was sent.

    Raises:
        InvalidInput: two different keys were sent, or one that is no key.
    """
    sent = [value for name, value in request.scope["headers"] if name == b"idempotency-key"]
    if len(set(sent)) > 1:
        raise InvalidInput("Send one `Idempotency-Key`.", field="Idempotency-Key")
    if sent:
        try:
            otherwise = sent[0].decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidInput("`Idempotency-Key` must be text.", field="Idempotency-Key") from error
    return None if otherwise is None else scoped_key(request.principal.user_id, otherwise)
