"""What pictures name along the time, and how the pages write numbers."""

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest

from sojourn.console.pages.charts import written
from sojourn.console.pages.figures import Figures
from sojourn.console.pages.pictures import Data
from sojourn.console.pages.render import View
from sojourn.console.pages.spans import joined, ticks
from sojourn.console.pages.times import Times
from sojourn.console.pages.words import words
from sojourn.projections.statistics.rules import RULES

BERLIN = ZoneInfo("Europe/Berlin")


def figures(locale: str = "en") -> Figures:
    language = words(locale)
    times = Times(BERLIN, datetime(2026, 11, 25, 12, tzinfo=UTC), language)
    view: Any = SimpleNamespace(words=language, zone=BERLIN, times=times, number=lambda value: f"{value:,}")
    return Figures(cast("View", view))


def days(first: str, count: int) -> list[date]:
    return [date.fromisoformat(first) + timedelta(days=number) for number in range(count)]


@pytest.mark.parametrize(("count", "spans"), [(1, 1), (7, 7), (92, 92), (93, 14), (365, 53), (731, 105), (732, 25)])
def test_days_are_joined_where_there_are_too_many_and_none_is_lost(count: int, spans: int) -> None:
    found = joined(days("2024-11-25", count), figures())

    assert len(found) == spans
    assert [place for span in found for place in span.places] == list(range(count))


def test_weeks_begin_on_mondays_and_the_first_of_each_month_is_named() -> None:
    found = joined(days("2025-12-03", 120), figures())

    assert [span.first.weekday() for span in found[1:]] == [0] * (len(found) - 1)
    assert [span.label for span in found if span.label] == ["Dec", "Jan 2026", "Feb", "Mar"]


def test_hours_of_the_day_on_which_the_clock_is_set_back_are_named_once() -> None:
    start, end = datetime(2026, 10, 24, 22, tzinfo=UTC), datetime(2026, 10, 25, 23, tzinfo=UTC)

    found = ticks(start, end, BERLIN, figures())

    assert list(found.values()) == ["00:00", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00", "00:00"]
    assert sorted(found) == list(found)


def test_hours_are_named_where_a_clock_is_ahead_by_three_quarters_of_an_hour() -> None:
    start = datetime(2026, 11, 24, 18, 15, tzinfo=UTC)

    found = ticks(start, start + timedelta(hours=12), ZoneInfo("Asia/Kathmandu"), figures())

    assert list(found.values()) == ["00:00", "03:00", "06:00", "09:00", "12:00"]
    assert next(iter(found)) == start.timestamp()


def test_midnights_are_named_by_the_zone_also_after_the_clock_was_set() -> None:
    start, end = datetime(2026, 3, 27, 23, tzinfo=UTC), datetime(2026, 3, 30, 22, tzinfo=UTC)

    found = ticks(start, end, BERLIN, figures())

    assert list(found.values()) == ["Sat 28", "Sun 29", "Mon 30", "Tue 31"]
    assert list(found)[2] - list(found)[1] == timedelta(hours=23).total_seconds()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 m"), (40, "40 s"), (60, "1 m"), (3599.6, "1 h 00 m"), (93600, "26 h 00 m"), (4_300_000, "1,194 h")],
)
def test_work_hours_are_hours_however_many(seconds: float, text: str) -> None:
    assert figures().hours(seconds) == text


def test_numbers_and_days_are_written_in_the_language_of_the_reader() -> None:
    here, there = figures(), figures("zh")

    assert here.counts(12, 12) == "12"
    assert here.counts(1200, 1314) == "1,200–1,314"
    assert here.share(0.001) == "< 1 %"
    assert here.hours_between(400_000, 500_000) == "111–139 h"
    assert (here.day(date(2026, 11, 24)), there.day(date(2026, 11, 24))) == ("Tue, Nov 24, 2026", "2026年11月24日周二")
    assert there.hours(9000) == "2 时 30 分"


def test_a_spreadsheet_finds_no_formula_in_a_file_and_programs_find_instants() -> None:
    names = ('=HYPERLINK("http://x")', "+1", "-1", "@x", "\tx", "Ada, “A”")

    found = written(Data(("name", "at"), [(name, datetime(2026, 11, 24, 8, tzinfo=UTC)) for name in names]))

    lines = found.decode().split("\r\n")
    assert lines[0] == "name,at"
    assert lines[1].startswith("\"'=HYPERLINK(")
    assert [line[0] for line in lines[2:6]] == ["'"] * 4
    assert lines[6] == '"Ada, “A”",2026-11-24T08:00:00.000Z'


@pytest.mark.parametrize("sentence", RULES.values(), ids=RULES)
def test_the_rule_beside_a_number_is_told_in_chinese_too(sentence: str) -> None:
    assert words("zh").gettext(sentence) != sentence
