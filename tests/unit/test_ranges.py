"""Ranges of time by a zone's clock, also on the days on which it is set."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from sojourn.console.pages.asked import asked
from sojourn.console.pages.ranges import CHOICES, BadChoice, chosen

BERLIN = ZoneInfo("Europe/Berlin")
BEIRUT = ZoneInfo("Asia/Beirut")  # where the clock is set at midnight
NOW = datetime(2026, 11, 25, 23, 30, tzinfo=UTC)  # the 26th in Berlin


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("query", "start", "end"),
    [
        ({"range": "today"}, "2026-11-25T23:00", None),
        ({}, "2026-11-19T23:00", None),
        ({"range": "7d"}, "2026-11-19T23:00", None),
        ({"range": "30d"}, "2026-10-27T23:00", None),
        ({"range": "month"}, "2026-10-31T23:00", None),
        ({"range": "last-month"}, "2026-09-30T22:00", "2026-10-31T23:00"),
        ({"range": "between", "from": "2026-03-28", "to": "2026-03-29"}, "2026-03-27T23:00", "2026-03-29T22:00"),
        ({"from": "2026-10-25", "to": "2026-10-25"}, "2026-10-24T22:00", "2026-10-25T23:00"),
        ({"from": "2026-11-24", "from_time": "08:30"}, "2026-11-24T07:30", None),
        ({"to": "2026-11-24", "to_time": "08:30"}, None, "2026-11-24T07:30"),
    ],
)
def test_days_begin_and_end_at_midnight_of_the_zone(query: dict[str, str], start: str | None, end: str | None) -> None:
    found = chosen(query, BERLIN, NOW)

    assert found.from_at == (None if start is None else utc(start))
    assert found.to_at == (None if end is None else utc(end))


def test_any_time_has_no_ends() -> None:
    assert chosen({"range": "any"}, BERLIN, NOW)[1:] == (None, None)


def test_a_day_whose_midnight_is_jumped_over_begins_with_the_jump() -> None:
    found = chosen({"from": "2021-03-28", "to": "2021-03-28"}, BEIRUT, NOW)

    assert found.from_at == utc("2021-03-27T22:00")
    assert found.to_at is not None
    assert found.from_at is not None
    assert found.to_at - found.from_at == timedelta(hours=23)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"range": "fortnight"}, "range"),
        ({"from": "24.11.2026"}, "from"),
        ({"to": "2026-02-30"}, "to"),
        ({"from": "2026-11-24", "from_time": "8h"}, "from_time"),
        ({"from": "2026-11-24", "from_time": "08:00+01:00"}, "from_time"),
        ({"range": "between", "from_time": "08:00"}, "from"),
        ({"from": "2026-11-24", "to": "2026-11-23"}, "to"),
        ({"from": "2026-11-24", "from_time": "09:00", "to": "2026-11-24", "to_time": "09:00"}, "to"),
        ({"to": "9999-12-31"}, "to"),
        ({"from": "0001-01-01"}, "from"),
    ],
)
def test_what_is_no_range_names_the_field_to_mend(query: dict[str, str], field: str) -> None:
    with pytest.raises(BadChoice) as failure:
        chosen(query, BERLIN, NOW)

    assert failure.value.field == field


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_stays_what_it_is_when_it_comes_back_in_a_url(choice: str) -> None:
    first = asked({"range": choice, "user": " ada "}, BERLIN, NOW)
    again = asked(first.query, BERLIN, NOW)

    assert again == first
    assert again.filters.user == "ada"


@pytest.mark.parametrize(
    ("query", "field"),
    [({"terminal": "toaster"}, "terminal"), ({"reason": "boredom"}, "reason"), ({"search": "x" * 201}, "search")],
)
def test_a_filter_that_cannot_be_is_told_and_filters_nothing(query: dict[str, str], field: str) -> None:
    found = asked(query, BERLIN, NOW)

    assert found.problem is not None
    assert found.problem.field == field


def test_from_to_without_instants_begins_with_the_days_that_were_shown_before() -> None:
    found = asked({"range": "between"}, BERLIN, NOW)

    assert (found.query["from"], found.query["to"]) == ("2026-11-20", "2026-11-26")
