"""Pages of the history beside a plain search through all rows, which shares no code with them."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, get_args

import psycopg

from sojourn.projections.counts import matching
from sojourn.projections.listing import Direction, HistoryOrder, Page, history_page
from sojourn.projections.read import HistoryFilter, as_reader
from tests.integration.rows import insert_history, insert_tenant

HOUR = timedelta(hours=1)
AGO = datetime.now(UTC) - timedelta(days=1)
ENDED = 60
CHOICES: dict[str, tuple[str, ...]] = {
    "user_id": ("u-1", "u-2"),
    "user_name": ("Ada", "ärzte", "王伟", "Zoe"),
    "desktop_name": ("CAD-1", "CAD-2"),
    "terminal_type": ("thin_client", "mobile", "other"),
    "access": ("internal", "public"),
    "broker": ("/brokers/eu-1", "/brokers/us-1"),
    "reason": ("logoff", "network", "lost"),
}


def _ended(random: Random, number: int) -> dict[str, Any]:
    """Return a session that ended within two years or so, lasted for minutes or months, and may have no login."""
    logout = AGO - timedelta(hours=random.choice((1, 2, 30, 500, 9000)) * random.randrange(1, 3))
    lasted = timedelta(hours=random.choice((0, 1, 23, 25, 300, 3000)))
    row: dict[str, Any] = {name: random.choice(choices) for name, choices in CHOICES.items()}
    row |= {"session_id": f"r-{number}", "logout_at": logout, "appended_at": logout + random.choice((-1, 0, 1)) * HOUR}
    row |= {"login_at": logout - lasted, "online_seconds": lasted.total_seconds()}
    if random.random() < 0.1:
        row |= dict.fromkeys(("login_at", "online_seconds", "user_name", "desktop_name", "user_id"))
    return row | {"outcome": "normal" if row["reason"] == "logoff" else "abnormal"}


def _filter(random: Random) -> dict[str, Any]:
    """Return some of the filters; a third of them has a range."""
    given: dict[str, Any] = {}
    for name, column in (
        ("terminal", "terminal_type"),
        ("access", "access"),
        ("broker", "broker"),
        ("reason", "reason"),
    ):
        if random.random() < 0.25:
            given[name] = random.choice(CHOICES[column])
    if random.random() < 0.25:
        given["outcome"] = random.choice(("normal", "abnormal"))
    if random.random() < 0.3:
        given[random.choice(("search", "user"))] = random.choice(("ada", "Z", "u-1", "王", "zz"))
    if random.random() < 0.4:
        start = AGO - timedelta(hours=random.choice((1, 30, 400, 9000, 20000)))
        given |= {"from_at": start, "to_at": start + timedelta(hours=random.choice((1, 24, 600, 9000)))}
    return given


def _is_listed(row: dict[str, Any], given: dict[str, Any]) -> bool:
    """Tell whether a row is kept, in as plain a way as can be."""
    columns = {
        "terminal": "terminal_type",
        "access": "access",
        "broker": "broker",
        "reason": "reason",
        "outcome": "outcome",
    }
    users = ("user_id", "user_name")
    texts = [(given.get("user"), users), (given.get("search"), (*users, "desktop_id", "desktop_name"))]
    return (
        all(row[column] == given[name] for name, column in columns.items() if name in given)
        and all(
            text is None or any(text.lower() in (row.get(name) or "").lower() for name in names)
            for text, names in texts
        )
        and ("from_at" not in given or row["logout_at"] >= given["from_at"])
        and ("to_at" not in given or (row["login_at"] or row["logout_at"]) < given["to_at"])
    )


def ids(page: Page) -> list[str]:
    return [row["session_id"] for row in page.rows]


async def test_pages_of_the_history_are_what_a_plain_search_through_all_rows_finds(
    migrated: psycopg.AsyncConnection[Any],
) -> None:
    random = Random(7)
    await insert_tenant(migrated, "acme")
    rows = [_ended(random, number) for number in range(ENDED)]
    for number, row in enumerate(rows):
        columns = {name: value for name, value in row.items() if name != "session_id"}
        await insert_history(migrated, "acme", row["session_id"], offset=number, desktop_id="d-9", **columns)

    async with as_reader(migrated, "acme"):
        for _ in range(60):
            given, order = _filter(random), random.choice(get_args(HistoryOrder))
            is_falling = random.random() < 0.7
            kept = [row for row in rows if _is_listed(row, given)]
            kept.sort(key=lambda row: (row[order] is None, row[order], row["session_id"]), reverse=is_falling)
            direction: Direction = "descending" if is_falling else "ascending"
            listed: list[str] = []
            back: list[str] = []
            page = await history_page(migrated, HistoryFilter(**given), order, direction, None, 7)
            listed += ids(page)
            while page.next is not None:
                page = await history_page(migrated, HistoryFilter(**given), order, direction, page.next, 7)
                listed += ids(page)
            while page.previous is not None:
                page = await history_page(migrated, HistoryFilter(**given), order, direction, page.previous, 7)
                back = ids(page) + back

            assert listed == [row["session_id"] for row in kept], (given, order, direction)
            assert back == listed[: len(back)]
            assert await matching(migrated, HistoryFilter(**given)) == (len(kept), False), given
