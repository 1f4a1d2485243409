"""Two schemas are compared object by object."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.migrate.drift import SUMMARY_BYTES, carried, compare

_OBJECTS = st.dictionaries(
    st.sampled_from(
        ["table public.a", "column public.a.x", "column public.b.y", "function public.f()", "type public.t"]
    ),
    st.sampled_from(["1", "2"]),
)


def test_it_names_what_differs() -> None:
    """A table that is gone is one loss; what belongs to it is not listed beside it."""
    expected = {"table public.a": "1", "column public.a.x": "1", "column public.b.y": "1", "function public.f()": "1"}
    actual = {"column public.b.y": "2", "function public.f()": "1", "index public.b.i": "1"}
    drift = compare(expected, actual)

    assert drift.state == "Drifted"
    assert drift.summary == ("3 differences: index public.b.i added; table public.a removed; column public.b.y changed")


def test_what_may_differ_is_left_out() -> None:
    """By the object's name, with or without its kind."""
    expected = {"table public.a": "1"}
    actual = {"table public.a": "1", "table public.tmp_1": "1", "column public.tmp_1.x": "1"}

    assert compare(expected, actual, ["public.tmp_*"]).state == "InSync"
    assert compare(expected, actual, ["table *", "column *"]).state == "InSync"
    assert compare(expected, actual, ["public.tmp"]).state == "Drifted"
    assert compare(expected, actual, ["public.tmp_*"]).fingerprint == compare(expected, expected).fingerprint


@given(st.dictionaries(st.text(max_size=200), st.text(max_size=3), max_size=30), _OBJECTS)
def test_the_summary_is_short(expected: dict[str, str], actual: dict[str, str]) -> None:
    """Whatever objects are called."""
    assert len(compare(expected, actual).summary.encode()) <= SUMMARY_BYTES


@given(_OBJECTS)
def test_a_schema_is_in_sync_with_itself(objects: dict[str, str]) -> None:
    """And has one fingerprint."""
    drift = compare(objects, dict(reversed(objects.items())))

    assert drift.state == "InSync"
    assert drift.fingerprint == compare({}, objects).fingerprint


@given(_OBJECTS, _OBJECTS, _OBJECTS)
def test_a_run_hides_nothing_that_was_changed_by_hand(
    expected: dict[str, str], before: dict[str, str], after: dict[str, str]
) -> None:
    """What it touched is right as it is; of the rest, what differed before differs after."""
    now = carried(expected, before, after)
    for name in expected.keys() | before.keys() | after.keys():
        if before.get(name) == after.get(name):
            assert now.get(name) == expected.get(name)
        else:
            assert now.get(name) == after.get(name)


@given(_OBJECTS, _OBJECTS)
def test_a_run_on_a_schema_that_is_right_leaves_it_right(before: dict[str, str], after: dict[str, str]) -> None:
    """What was expected turns into what is there."""
    assert carried(before, before, after) == after
