"""Settings are read once, all faults are told together, secrets are never shown."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.kernel import settings
from services.kernel.errors import SettingsInvalid
from services.kernel.settings import (
    CommonSettings,
    Secret,
    database_address,
    declarations,
    load,
    redis_address,
    setting,
)

URL = {"DATABASE_URL": "postgresql://u:hunter2@h/db"}


@dataclass(frozen=True, kw_only=True)
class Sample(CommonSettings):
    """A process with one field of each type."""

    flag: bool = setting("FLAG", default=False, doc="a flag")
    names: tuple[str, ...] = setting("NAMES", default=(), doc="names")
    size: int = setting("SIZE", default=5, minimum=1, maximum=9, unit="rows", doc="a size")
    ratio: float | None = setting("RATIO", default=None, doc="a ratio")
    folder: Path | None = setting("FOLDER", default=None, doc="a folder")


def test_each_type_is_read_from_its_text() -> None:
    """Text becomes the type the field declares."""
    found = load(Sample, {**URL, "FLAG": "yes", "NAMES": "a, b,", "SIZE": "9", "RATIO": "0.5", "FOLDER": "x/y"})

    assert (True, ("a", "b"), 9, 0.5, Path("x/y")) == (found.flag, found.names, found.size, found.ratio, found.folder)


def test_what_is_secret_in_the_settings_is_known_by_its_parts() -> None:
    """Whole values, entries of a list, passwords of addresses as they are written and as they are meant."""

    @dataclass(frozen=True, kw_only=True)
    class Keys(CommonSettings):
        keys: Secret | None = setting("KEYS", default=None, parse=Secret, doc="keys")
        absent: Secret | None = setting("ABSENT", default=None, parse=Secret, doc="nothing")

    found = load(
        Keys, {"DATABASE_URL": "postgresql://u:hunter%3A2@h,i/db?x=a:b@c", "REDIS_URL": "redis://h", "KEYS": "one, two"}
    )

    assert settings.secrets_of(found) == {"hunter%3A2", "hunter:2", "one, two", "one", "two"}


def test_an_empty_variable_means_the_default() -> None:
    """A variable that is set but empty is as good as absent."""
    assert load(Sample, {**URL, "SIZE": " "}).size == 5


def test_all_faults_are_reported_together() -> None:
    """One start shows every mistake, each with its variable's name."""
    with pytest.raises(SettingsInvalid) as caught:
        load(Sample, {"FLAG": "perhaps", "SIZE": "10", "LOG_LEVEL": "loud", "RATIO": "nan"})

    assert {"DATABASE_URL", "FLAG", "SIZE", "LOG_LEVEL", "RATIO"} == {
        fault.partition(":")[0] for fault in caught.value.faults
    }


def test_a_secret_is_never_shown() -> None:
    """Neither repr nor str nor the settings' own repr hold it."""
    found = load(Sample, URL)

    assert "hunter2" not in f"{found!r} {found.database_url} {dataclasses.asdict(found)}"
    assert found.database_url.reveal() == URL["DATABASE_URL"]


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://h/db",
        "postgres://u:p%40ss@h:5432/db?sslmode=require",
        "postgresql:///db?host=/run/postgresql",
        "postgresql://u@[::1]:5432/db",
        "postgresql://u@h1:5432,h2:5433/db",
    ],
)
def test_an_address_of_a_database_is_taken_as_it_is(address: str) -> None:
    """Sockets, IPv6 and several hosts included."""
    assert database_address(address).reveal() == address


@pytest.mark.parametrize(
    "address",
    [
        "hunter2",
        "mysql://u:hunter2@h/db",
        "postgresql://",
        "postgresql://u:hunter2@h:x/db",
        "postgresql://u:hunter2@[::1/db",
        "postgresql://u:hunter2@h\u2100/db",
    ],
)
def test_an_address_that_is_none_is_refused_without_repeating_it(address: str) -> None:
    """At once and with an example, rather than after a timeout; it may hold a password."""
    with pytest.raises(SettingsInvalid) as raised:
        load(CommonSettings, {"DATABASE_URL": address})

    assert "postgresql://user:password@host:5432/name" in raised.value.message
    assert "hunter2" not in raised.value.message


def test_an_address_of_another_kind_is_no_redis() -> None:
    """And the fault names its variable."""
    with pytest.raises(SettingsInvalid, match=r"REDIS_URL: .*rediss://"):
        load(CommonSettings, {**URL, "REDIS_URL": "localhost:6379"})
    assert redis_address("unix:///run/redis.sock?db=1").reveal() == "unix:///run/redis.sock?db=1"


def test_supabase_variables_alone_are_refused() -> None:
    """The message names DATABASE_URL (contract.md D40)."""
    with pytest.raises(SettingsInvalid, match="DATABASE_URL"):
        settings.refuse_supabase_only({"SUPABASE_URL": "https://x", "SUPABASE_ANON_KEY": "k"})
    settings.refuse_supabase_only({**URL, "SUPABASE_URL": "https://x"})


def test_every_common_setting_says_what_it_means() -> None:
    """No field without a sentence, no variable twice."""
    found = [declaration for _, declaration in declarations(CommonSettings)]

    assert all(declaration.doc for declaration in found)
    assert len({declaration.env for declaration in found}) == len(found)


def test_secrets_compare_by_value_and_know_emptiness() -> None:
    """Equal secrets are equal, hash alike; an empty one is false."""
    assert Secret("a") == Secret("a") != Secret("b")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert not Secret("")
