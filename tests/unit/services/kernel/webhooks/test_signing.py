"""Signatures, against the standard's own package and its published examples (reliability.md S8, case 20)."""

from __future__ import annotations

import re
import time
from base64 import b64decode
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from services.kernel.webhooks.signing import new_secret, signature, signed_headers

BODY = b'{"type":"course.completed","data":{}}'
NOW = int(time.time())
"""Of the import; what a receiver compares with its clock is signed `now()`."""


def now() -> int:
    """The present second."""
    return int(time.time())


def test_the_published_example() -> None:
    """Secret, identifier, time and body as the standard's libraries have them in their tests."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    found = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')

    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_receiver_accepts_what_we_sign() -> None:
    """With the package that receivers use."""
    secret = new_secret()
    headers = signed_headers([secret], "some-id", now(), BODY)

    assert Webhook(secret).verify(BODY, headers) == {"type": "course.completed", "data": {}}


@given(st.binary(max_size=200), st.uuids())
def test_whatever_is_sent_is_signed_as_the_package_does(body: bytes, message: object) -> None:
    """Byte for byte."""
    secret = new_secret()
    text = body.decode("latin-1")
    theirs = Webhook(secret).sign(str(message), datetime.fromtimestamp(NOW, UTC), text)

    assert signature(secret, str(message), NOW, text.encode()) == theirs


def test_during_rotation_both_secrets_verify_and_a_third_does_not() -> None:
    """Old and new receivers are served by one message."""
    new, old, foreign = new_secret(), new_secret(), new_secret()
    headers = signed_headers([new, old], "some-id", now(), BODY)

    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (new, old):
        assert Webhook(secret).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(foreign).verify(BODY, headers)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "another"},
        {"webhook-timestamp": str(NOW - 1)},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": "v2" + signature(new_secret(), "x", 1, b"")[2:]},
    ],
    ids=["id", "time", "signature", "version"],
)
def test_nothing_that_was_changed_verifies(change: dict[str, str]) -> None:
    """Identifier, time and version are under the signature too."""
    secret = new_secret()
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY, {**signed_headers([secret], "some-id", now(), BODY), **change})


def test_a_body_that_was_written_anew_does_not_verify() -> None:
    """Same JSON, other bytes: that is why the body is sent as it was first written."""
    secret = new_secret()
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY.replace(b":", b": "), signed_headers([secret], "some-id", now(), BODY))


@pytest.mark.parametrize("age", [-360, 360])
def test_six_minutes_off_is_refused_by_receivers(age: int) -> None:
    """The time is signed, so a message that was kept cannot be sent again later."""
    secret = new_secret()
    with pytest.raises(WebhookVerificationError, match="timestamp"):
        Webhook(secret).verify(BODY, signed_headers([secret], "some-id", now() + age, BODY))


def test_an_identifier_with_a_dot_is_never_signed() -> None:
    """`a.1` at time 2 and `a` at time `1.2` would have one signature."""
    with pytest.raises(ValueError, match="dot"):
        signature(new_secret(), "a.1", 2, BODY)


def test_a_new_secret_has_the_standards_form_and_length() -> None:
    """24 to 64 random bytes in base64 behind `whsec_`."""
    made = {new_secret() for _ in range(50)}

    assert len(made) == 50
    for secret in made:
        assert re.fullmatch(r"whsec_[A-Za-z0-9+/]+=*", secret)
        assert 24 <= len(b64decode(secret.removeprefix("whsec_"))) <= 64
