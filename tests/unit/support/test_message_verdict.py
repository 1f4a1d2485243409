"""The checker of messages reports every seeded fault: a checker that cannot fail proves nothing."""

from __future__ import annotations

import random
from dataclasses import replace

import httpx
import pytest

from tests.support.message_verdict import MessageRow, MessageVerdict, judge_messages
from tests.support.said import Said, Senders, content

KINDS = ("lost", "phantom", "duplicate", "disordered", "divergent", "dead", "stuck", "surprises", "void")


def honest_run() -> tuple[Said, list[MessageRow]]:
    """Two conversations of three messages, each acknowledged and there, in whatever order beside each other."""
    said, rows = Said(), []
    for number in range(3):
        for conversation in ("a", "b"):
            client_id = f"{conversation}/{number}"
            said.asked[client_id] = conversation
            said.accepted[conversation].append(client_id)
            said.told[client_id].add(f"msg_{client_id}")
            said.new[client_id] = 1
            rows.append(MessageRow(f"msg_{client_id}", conversation, client_id, content(client_id)))
    return said, rows


def judged(
    said: Said, rows: list[MessageRow], *dead: str, fired: int = 1, stuck: dict[str, str] | None = None
) -> MessageVerdict:
    """The verdict on a run in which one kill was wanted."""
    return judge_messages(
        said, rows, dead=dead, stuck=stuck or {}, fired={"api killed": fired}, wanted={"api killed": 1}
    )


def failing(verdict: MessageVerdict) -> set[str]:
    """The kinds of findings there are."""
    assert verdict.passed == (not any(getattr(verdict, kind) for kind in KINDS))
    return {kind for kind in KINDS if getattr(verdict, kind)}


def test_an_honest_run_passes() -> None:
    """Also with a row whose sender was never told: it was sent, and nothing was promised."""
    said, rows = honest_run()
    said.asked["a/3"] = "a"
    rows.insert(2, MessageRow("msg_a/3", "a", "a/3", content("a/3")))
    verdict = judged(said, rows)

    assert failing(verdict) == set()
    assert str(verdict).startswith("6 acknowledged, 7 rows; 1 faults (api killed 1): lost 0, phantom 0")


def test_a_message_without_a_row_is_lost() -> None:
    """And named."""
    said, rows = honest_run()
    verdict = judged(said, rows[:3] + rows[4:])

    assert failing(verdict) == {"lost"}
    assert set(verdict.lost) == {"b/1"}
    assert "lost: b/1: acknowledged, and there is no row" in str(verdict)


def test_a_second_row_is_a_duplicate() -> None:
    """Whatever its id."""
    said, rows = honest_run()
    assert failing(judged(said, [*rows, rows[-1]])) == {"duplicate"}


@pytest.mark.parametrize("places", [(0, 2), (2, 4), (1, 5)])
def test_two_that_have_changed_places_are_out_of_order(places: tuple[int, int]) -> None:
    """Within their conversation, the first of which may be the later one."""
    said, rows = honest_run()
    one, other = places
    rows[one], rows[other] = rows[other], rows[one]

    assert failing(judged(said, rows)) == {"disordered"}


def test_a_gap_is_not_called_disorder() -> None:
    """Only lost."""
    said, rows = honest_run()
    assert failing(judged(said, rows[2:])) == {"lost"}


def test_what_nobody_has_sent_is_phantom() -> None:
    """An unknown message, one in another conversation, one that says something else."""
    said, rows = honest_run()
    other = replace(rows[0], id="msg_x", client_id="x")
    for phantom in (
        [*rows, other],
        [replace(rows[0], conversation="b"), *rows[1:]],
        [replace(rows[0], content="?"), *rows[1:]],
    ):
        assert "phantom" in failing(judged(said, phantom))


def test_answers_that_differ_are_divergent() -> None:
    """Two ids for one message, an id that is not the row's, and a message that was new twice."""
    for told, new in (({"msg_a/1", "msg_other"}, 1), ({"msg_other"}, 1), ({"msg_a/1"}, 2)):
        said, rows = honest_run()
        said.told["a/1"], said.new["a/1"] = told, new
        assert failing(judged(said, rows)) == {"divergent"}


def test_what_is_pending_for_ever_is_stuck() -> None:
    """Every message has its row, and still a partition has not come to rest."""
    said, rows = honest_run()
    verdict = judged(said, rows, stuck={"msg:stream:3": "2 entries pending"})

    assert failing(verdict) == {"stuck"}
    assert "stuck: msg:stream:3: 2 entries pending" in str(verdict)


def test_dead_letters_surprises_and_missing_faults_show() -> None:
    """None of them passes."""
    said, rows = honest_run()
    assert failing(judged(said, rows, "an entry")) == {"dead"}
    assert failing(judged(said, rows, fired=0)) == {"void"}
    assert failing(judge_messages(said, rows, dead=(), stuck={}, fired={"x": 1}, wanted={})) == {"void"}
    said.surprises.append("a/1: 500")
    assert failing(judged(said, rows)) == {"surprises"}


async def test_senders_write_down_what_they_are_told() -> None:
    """Refused, then without an answer, then accepted; a status that no fault excuses is a surprise."""
    answers = iter([503, 500, None, 202])

    def answer(request: httpx.Request) -> httpx.Response:
        status = next(answers)
        if status is None:
            raise httpx.ReadError("the api has gone")
        return httpx.Response(status, json={"messageId": "msg_1", "idempotentHit": True})

    said = Said()
    chance = random.Random(1)
    chance.random = lambda: 1.0  # type: ignore[method-assign]
    async with Senders(["http://api"], said, chance, transport=httpx.MockTransport(answer)) as senders:
        await senders.say("a", 1)

    assert (said.accepted, said.told, said.new["a/0"]) == ({"a": ["a/0"]}, {"a/0": {"msg_1"}}, 0)
    assert (said.refused, said.broken, said.posts) == ({503: 1, 500: 1}, 1, 4)
    assert [each[:8] for each in said.surprises] == ["a/0: 500"]
