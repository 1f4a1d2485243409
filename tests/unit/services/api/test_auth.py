"""Only a token that was signed for us, for this user, and is still good opens anything."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from uuid import UUID

import orjson
import pytest

from services.api.auth import AuthenticationUnavailable, Authenticator
from services.api.keys import KeyRing, KeySetAddress, VerificationKey, parse_key_set
from services.kernel.errors import Unauthorized
from tests.support import tokens
from tests.support.clocks import StandingClock
from tests.support.forgeries import Issuer, claims, forgeries, segment, signed

ISSUER = Issuer()
SECRET_KEY = VerificationKey("HS256", tokens.SECRET.encode())
ALL = frozenset({"HS256", "RS256", "ES256", "EdDSA"})


def authenticator(algorithms: frozenset[str] = ALL, **options: object) -> Authenticator:
    """One that trusts the tests' secret and the issuer's keys."""
    keys = [SECRET_KEY, *parse_key_set(orjson.dumps(ISSUER.key_set))]
    return Authenticator(KeyRing(keys), algorithms=algorithms, **options)  # type: ignore[arg-type]


def bearer(token: str) -> bytes:
    """The header's value."""
    return f"Bearer {token}".encode()


async def test_a_good_token_says_who_is_calling() -> None:
    """User, tier, organisation, role (GAP28)."""
    token = signed(
        {"alg": "HS256"}, claims(app_metadata={"organization_id": str(tokens.ORGANIZATION), "role": "admin"})
    )
    principal = await authenticator().authenticate(bearer(token))

    assert principal.user_id == tokens.USER
    assert (principal.tier, principal.priority) == ("STANDARD", 5)
    assert principal.organization_id == tokens.ORGANIZATION
    assert principal.is_admin is True
    assert principal.in_browser is False


async def test_a_caller_knows_when_the_token_ends() -> None:
    """What outlasts a request, such as a stream, ends with it; the leeway for clocks is not counted."""
    expires = int(time.time()) + 77
    principal = await authenticator().authenticate(bearer(signed({"alg": "HS256"}, claims(exp=expires))))

    assert principal.expires_at == datetime.fromtimestamp(expires, UTC)


@pytest.mark.parametrize(
    ("algorithm", "kid"), [("RS256", "rsa"), ("ES256", "ec"), ("EdDSA", "ed"), ("RS256", None), ("EdDSA", None)]
)
async def test_tokens_of_the_issuers_keys_are_good(algorithm: str, kid: str | None) -> None:
    """With and without a key id."""
    assert (await authenticator().authenticate(bearer(ISSUER.sign(algorithm, kid)))).user_id == tokens.USER


@pytest.mark.parametrize(
    ("changes", "tier", "organization"),
    [
        ({"user_metadata": None, "app_metadata": None}, "FREE", None),
        ({"user_metadata": {"tier": "platinum"}}, "FREE", tokens.ORGANIZATION),
        ({"user_metadata": {"tier": "premium"}}, "PREMIUM", tokens.ORGANIZATION),
        ({"user_metadata": "PREMIUM", "app_metadata": ["x"]}, "FREE", None),
        ({"app_metadata": {"organization_id": "no uuid"}}, "STANDARD", None),
    ],
)
async def test_odd_metadata_never_gives_more_than_the_least(
    changes: dict[str, object], tier: str, organization: UUID | None
) -> None:
    """An unknown tier is FREE, an unreadable organisation is none."""
    principal = await authenticator().authenticate(bearer(signed({"alg": "HS256"}, claims(**changes))))

    assert (principal.tier, principal.organization_id, principal.is_admin) == (tier, organization, False)


def test_there_are_forgeries_enough() -> None:
    """S3 asks for forty."""
    assert len(dict(forgeries(ISSUER))) >= 80


@pytest.mark.parametrize(("name", "token"), [*forgeries(ISSUER)], ids=lambda value: value[:40])
async def test_a_forgery_is_refused(name: str, token: str) -> None:
    """Each of them, twice: nothing is remembered of a bad token."""
    doorman = authenticator()
    for _ in range(2):
        with pytest.raises(Unauthorized):
            await doorman.authenticate(bearer(token))
    assert name


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic YTpi",
        bearer(tokens.mint())[7:],
        b"Bearer\t" + tokens.mint().encode(),
        b"\xff\xfe",
    ],
)
async def test_a_header_without_a_bearer_token_is_refused(header: bytes | None) -> None:
    """Scheme, one blank, token."""
    with pytest.raises(Unauthorized):
        await authenticator().authenticate(header)


async def test_the_scheme_is_read_in_any_case() -> None:
    """RFC 9110: schemes have no case."""
    assert await authenticator().authenticate(b"bearer " + tokens.mint().encode())


@pytest.mark.parametrize("algorithm", sorted(ALL))
async def test_an_algorithm_that_is_not_allowed_is_refused_with_a_good_key(algorithm: str) -> None:
    """The settings decide, not the token."""
    token = tokens.mint() if algorithm == "HS256" else ISSUER.sign(algorithm, None)
    with pytest.raises(Unauthorized):
        await authenticator(ALL - {algorithm}).authenticate(bearer(token))


@pytest.mark.parametrize(
    ("audience", "good"),
    [("us", True), (["them", "us"], True), ("them", False), (None, False), (["them"], False), ({"us": 1}, False)],
)
async def test_the_audience_is_checked_when_one_is_set(audience: object, good: bool) -> None:
    """`aud` must name us."""
    doorman = authenticator(audience="us")
    token = bearer(signed({"alg": "HS256"}, claims(aud=audience)))
    if good:
        assert await doorman.authenticate(token)
    else:
        with pytest.raises(Unauthorized):
            await doorman.authenticate(token)


@pytest.mark.parametrize(
    ("issuer", "good"), [("https://us", True), ("https://them", False), (None, False), (["https://us"], False)]
)
async def test_the_issuer_is_checked_when_one_is_set(issuer: object, good: bool) -> None:
    """`iss` must be ours."""
    doorman = authenticator(issuer="https://us")
    token = bearer(signed({"alg": "HS256"}, claims(iss=issuer)))
    if good:
        assert await doorman.authenticate(token)
    else:
        with pytest.raises(Unauthorized):
            await doorman.authenticate(token)


async def test_an_audience_nobody_asked_for_is_no_fault() -> None:
    """Supabase always writes `aud: authenticated`."""
    assert await authenticator().authenticate(bearer(signed({"alg": "HS256"}, claims(aud="authenticated"))))


async def test_clocks_may_differ_by_the_leeway_and_no_more() -> None:
    """A token that expired 29 s ago still passes, one of 31 s ago does not."""
    now = int(time.time())
    for changes in ({"exp": now - 29}, {"nbf": now + 29}, {"iat": now + 29}):
        assert await authenticator().authenticate(bearer(signed({"alg": "HS256"}, claims(**changes))))


async def test_a_remembered_token_expires_all_the_same() -> None:
    """Being known does not make a token live longer."""
    clock = StandingClock(datetime.fromtimestamp(time.time(), UTC))
    doorman = authenticator(clock=clock, leeway_seconds=0)
    token = bearer(signed({"alg": "HS256"}, claims(exp=int(time.time()) + 60)))
    assert await doorman.authenticate(token)
    clock.pass_by(59)
    assert await doorman.authenticate(token)
    clock.pass_by(2)

    with pytest.raises(Unauthorized):
        await doorman.authenticate(token)


async def test_an_unknown_tier_is_logged_once_in_ten_minutes_for_a_user(capsys: pytest.CaptureFixture[str]) -> None:
    """The first token says so, a second one of the user's does not; a missing tier is nothing to warn of."""
    clock = StandingClock(datetime.fromtimestamp(time.time(), UTC))
    doorman = authenticator(clock=clock)

    async def said(number: int, tier: object) -> int:
        fields = {} if tier is None else {"user_metadata": {"tier": tier}}
        await doorman.authenticate(bearer(signed({"alg": "HS256"}, claims(jti=str(number), **fields))))
        heard = capsys.readouterr()
        return (heard.out + heard.err).count("unknown tier counts as FREE")

    heard = [await said(1, "platinum"), await said(2, "platinum"), await said(3, None), await said(4, "Premium")]
    clock.pass_by(601)

    assert heard == [1, 0, 0, 0]
    assert await said(5, 7) == 1


async def test_remembered_tokens_are_few() -> None:
    """A flood of good tokens does not fill the memory."""
    doorman = authenticator()
    for number in range(4200):
        await doorman.authenticate(bearer(signed({"alg": "HS256"}, claims(jti=str(number)))))

    assert len(doorman._remembered) <= 4096


class Address(KeySetAddress):
    """A key set's address that answers what the test says."""

    def __init__(self, *answers: bytes | Exception) -> None:
        super().__init__("https://issuer.test/keys", clock=StandingClock())
        self.answers = list(answers)
        self.asked = 0

    async def _fetch(self) -> bytes:
        self._next_reload = 0.0
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def trusting(address: KeySetAddress) -> tuple[KeyRing, Authenticator]:
    """A doorman who asks the address for keys."""
    ring = KeyRing([], address)
    return ring, Authenticator(ring, algorithms=frozenset({"RS256", "ES256", "EdDSA"}))


async def test_an_unknown_key_makes_us_ask_the_issuer_again() -> None:
    """A rotated key works at once; the old one no longer."""
    new = Issuer()
    ring, doorman = trusting(Address(orjson.dumps(ISSUER.key_set), orjson.dumps(new.key_set)))
    await ring.reload()
    old_token = bearer(ISSUER.sign("RS256", "rsa"))
    assert await doorman.authenticate(old_token)

    assert await doorman.authenticate(bearer(new.sign("RS256", "rsa")))
    with pytest.raises(Unauthorized):
        await doorman.authenticate(old_token)


async def test_before_the_issuer_has_ever_answered_nobody_can_tell() -> None:
    """503, not 401: the token may be good."""
    _, doorman = trusting(Address(ValueError("not yet")))

    with pytest.raises(AuthenticationUnavailable):
        await doorman.authenticate(bearer(ISSUER.sign("RS256", "rsa")))
    with pytest.raises(Unauthorized):
        await doorman.authenticate(bearer(f"{segment({'alg': 'none'})}.{segment(claims())}.x"))


async def test_an_issuer_that_fails_later_leaves_the_known_keys_in_force() -> None:
    """An outage there is none here."""
    ring, doorman = trusting(Address(orjson.dumps(ISSUER.key_set), ValueError("down")))
    await ring.reload()
    with pytest.raises(Unauthorized):
        await doorman.authenticate(bearer(Issuer().sign("RS256", "other")))

    assert await doorman.authenticate(bearer(ISSUER.sign("ES256", "ec")))
