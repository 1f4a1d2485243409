"""Every answer says which installation it comes from, where one was named."""

from __future__ import annotations

import pytest

from services.api.settings import ApiSettings
from services.kernel.errors import SettingsInvalid
from services.kernel.settings import load
from tests.support.api import RunningApi, running_api
from tests.support.tokens import SECRET


async def test_every_answer_names_the_installation(app_database_url: str, redis_url: str) -> None:
    """Whatever its status, with a token and without."""
    async with running_api(app_database_url, redis_url, stack_id="here") as api:
        answers = [
            await api.client.get("/api/courses"),
            await api.client.get("/livez"),
            await api.client.get("/api/courses", headers={"Authorization": "Bearer x"}),
            await api.client.post("/api/courses", content=b"{"),
        ]

    assert [answer.status_code for answer in answers] == [200, 404, 401, 415]
    assert {answer.headers.get("X-Stack-Id") for answer in answers} == {"here"}


async def test_an_installation_without_a_name_says_nothing(api: RunningApi) -> None:
    """The header is absent."""
    assert "X-Stack-Id" not in (await api.client.get("/api/courses")).headers


@pytest.mark.parametrize("name", ["a b", "a\r\nSet-Cookie: x", "x" * 65, "ä"])
def test_a_name_that_is_no_header_is_refused_at_start(name: str) -> None:
    """With its variable."""
    environ = {"DATABASE_URL": "postgresql://h/d", "JWT_SECRET": SECRET, "STACK_ID": name}
    with pytest.raises(SettingsInvalid, match="STACK_ID"):
        load(ApiSettings, environ)
