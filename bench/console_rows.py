"""A tenant with a million open sessions and years of history, made by SQL: projecting them would take an hour."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg

TENANT: Final = "acme"
YEAR: Final = timedelta(days=365)
CHUNK_ROWS: Final = 1_000_000  # of one statement, so that a look tells how far it is

# Fifty thousand people of two names each, of which a tenth are Chinese; n is multiplied by a prime so that neighbours
# in time are no neighbours in name.
_PEOPLE: Final = """
    CREATE FUNCTION pg_temp.person(n bigint) RETURNS text LANGUAGE sql IMMUTABLE RETURN
    CASE WHEN n % 10 = 0
        THEN (ARRAY['王', '李', '张', '刘', '陈', '杨', '黄', '赵'])[1 + n / 10 % 8]
            || (ARRAY['伟', '芳', '娜', '秀英', '敏', '静', '丽', '强', '磊', '军', '洋', '勇'])[1 + n / 80 % 12]
        ELSE (ARRAY['Grace', 'Alan', 'Edsger', 'Barbara', 'Donald', 'Frances', 'Ken', 'Radia', 'Tony'])[n % 10]
            || ' ' || initcap(substr(translate(md5((n / 10)::text), '0123456789', 'aeioulnrst'), 1, 7)) END
"""

_LIVE: Final = """
    INSERT INTO sojourn_v1.live_session
    SELECT
        %(tenant)s, md5('live' || n), n %% 12, n / 12, 1, n, at, at,
        CASE WHEN n %% 317 = 0 THEN 'lost' ELSE 'active' END,
        'u-' || who, pg_temp.person(who), 'd-' || n, 'CAD-' || n,
        (ARRAY['cad', 'office', 'call-centre'])[1 + n %% 3],
        (ARRAY['thin_client', 'soft_client', 'thin_client', 'browser', 'mobile'])[1 + n %% 5],
        'Linux', '7.1', 'TC-' || n, '10.' || n / 65536 %% 256 || '.' || n / 256 %% 256 || '.' || n %% 256,
        CASE WHEN n %% 50 = 0 THEN 'public' ELSE 'internal' END, 'blast', '/brokers/eu-' || n %% 12 %% 4, NULL, at, 0,
        CASE WHEN n %% 317 = 0 THEN at END, NULL, NULL, NULL, NULL, '\\x00'
    FROM (
        SELECT n, n * 7919 %% 50000 AS who, now() - n * interval '28 milliseconds' AS at
        FROM generate_series(1, %(rows)s::bigint) AS n) AS made
"""

_PAGES: Final = """
    INSERT INTO sojourn_v1.liveness_page
    SELECT partition, page, decode(repeat(lpad(to_hex(extract(epoch FROM now())::bigint), 8, '0'), 256), 'hex')
    FROM generate_series(0, 11) AS partition, generate_series(0, %(rows)s / 12 / 256) AS page
"""

_BROKERS: Final = """
    INSERT INTO sojourn_v1.broker (source, partition, last_event_at, last_appended_at, last_alive_at, skew_seconds)
    SELECT '/brokers/eu-' || broker, partition, now(), now(), now(), 0
    FROM generate_series(0, 3) AS broker, generate_series(0, 11) AS partition
"""

_HISTORY: Final = """
    INSERT INTO sojourn_v1.session_history
    SELECT
        %(tenant)s, md5(n::text), n %% 12, n, at, n::text, '/brokers/eu-' || n %% 4, 'destroyed', at, 2, '\\x00',
        'applied', NULL, 2, 'ended', 'u-' || who, pg_temp.person(who), 'd-' || n %% 80000, 'CAD-' || n %% 80000,
        (ARRAY['cad', 'office', 'call-centre'])[1 + n %% 3],
        (ARRAY['thin_client', 'soft_client', 'thin_client', 'browser', 'mobile'])[1 + n %% 5],
        'Linux', '7.1', 'TC-' || n %% 80000, '10.4.' || n / 256 %% 256 || '.' || n %% 256,
        CASE WHEN n %% 50 = 0 THEN 'public' ELSE 'internal' END, 'blast', '/brokers/eu-' || n %% 4, NULL,
        at - n * 31 %% 28800 * interval '1 second', at, n * 31 %% 28800,
        CASE WHEN n %% 9 = 0 THEN 'abnormal' ELSE 'normal' END, CASE WHEN n %% 9 = 0 THEN 'network' ELSE 'logoff' END,
        NULL, NULL, NULL, NULL, NULL, 0, NULL
    FROM (
        SELECT n, n * 7919 %% 50000 AS who, %(first)s::timestamptz + n * %(step)s::interval AS at
        FROM generate_series(%(from)s::bigint, %(to)s::bigint) AS n) AS made
"""

_KNOWN: Final = """
    INSERT INTO sojourn_v1.known_name
    SELECT %(tenant)s, 'user', 'u-' || n, md5(pg_temp.person(n))::uuid, pg_temp.person(n)
    FROM generate_series(0, 49999) AS n
    UNION ALL
    SELECT %(tenant)s, 'desktop', 'd-' || n, md5('CAD-' || n)::uuid, 'CAD-' || n
    FROM generate_series(0, greatest(%(rows)s, 80000)) AS n
"""

_COUNTS: Final = """
    INSERT INTO sojourn_v1.session_count
    SELECT tenant, partition, broker, state, count(*) FROM sojourn_v1.live_session
    GROUP BY tenant, partition, broker, state
"""

_INDEXES: Final = """
    SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
    FROM pg_index AS i WHERE i.indrelid = %s::regclass AND NOT i.indisprimary
"""


def fill(connection: psycopg.Connection[Any], live: int, history: int) -> None:
    """Write the rows of one tenant, and build the indexes after them; the history ends now and took a year."""
    connection.execute("SET maintenance_work_mem = '1GB'; SET synchronous_commit = off")
    connection.execute(_PEOPLE)
    connection.execute(
        "INSERT INTO sojourn_v1.tenant_config VALUES (%s, now(), NULL, NULL, NULL, 0, 0, now())", [TENANT]
    )
    with _indexes_after(connection, "sojourn_v1.live_session"):
        connection.execute(_LIVE, {"tenant": TENANT, "rows": live})
    connection.execute(_PAGES, {"rows": live})
    connection.execute(_BROKERS)
    with _indexes_after(connection, "sojourn_v1.known_name"):
        connection.execute(_KNOWN, {"tenant": TENANT, "rows": live})
    connection.execute(_COUNTS)
    began, step = datetime.now(UTC) - YEAR, YEAR / history
    for month in range(12 + 1):
        connection.execute("SELECT sojourn_v1.ensure_history_month(%s)", [(began + month * YEAR / 12).date()])
    with _indexes_after(connection, "sojourn_v1.session_history"):
        for first in range(1, history, CHUNK_ROWS):
            last = min(first + CHUNK_ROWS - 1, history)
            connection.execute(_HISTORY, {"tenant": TENANT, "first": began, "step": step, "from": first, "to": last})
    connection.execute("VACUUM ANALYZE")


@contextmanager
def _indexes_after(connection: psycopg.Connection[Any], table: str) -> Iterator[None]:
    """Drop the indexes of a table but its key, and build them again after the block."""
    indexes = connection.execute(_INDEXES, [table]).fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}".encode())
    yield
    for _, definition in indexes:
        connection.execute(definition.replace(" ON ONLY ", " ON ").encode())
