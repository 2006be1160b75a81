"""A long history without the time that projecting it would take."""

from typing import Final

from sojourn.events.embedded.database import Database

_FILL: Final = """
    INSERT INTO sojourn_v1.session_history
    SELECT
        %(tenant)s, md5(n::text), n %% 12, n, at, n::text, '/brokers/eu-1', 'destroyed', at, 2, '\\x00', 'applied',
        NULL, 2, 'ended', 'u-' || n %% 50000, 'Ada Byron ' || n %% 50000, 'd-' || n %% 30000, 'CAD-' || n %% 30000,
        'cad', 'thin_client', 'Linux', '7.1', 'TC-' || n %% 30000, '10.4.' || n / 256 %% 256 || '.' || n %% 256,
        'internal', 'blast', '/brokers/eu-' || n %% 4, NULL, at - n %% 28800 * interval '1 second', at, n %% 28800,
        'normal', 'logoff', NULL, NULL, NULL, NULL, NULL, 0, NULL
    FROM (
        SELECT n, timestamptz '2026-11-02 00:00+00' + n * interval '2 seconds' AS at
        FROM generate_series(1, %(rows)s) AS n) AS made
"""


async def fill_history(database: Database, tenant: str, rows: int) -> None:
    """Write ended sessions of one tenant, two seconds apart."""
    async with await database.connect(autocommit=True) as connection:
        await connection.execute("SELECT sojourn_v1.ensure_history_month('2026-11-01')")
        await connection.execute(
            "INSERT INTO sojourn_v1.tenant_config VALUES (%s, now(), NULL, NULL, NULL, 0, 0, now())", [tenant]
        )
        await connection.execute(_FILL, {"tenant": tenant, "rows": rows})
        await connection.execute("VACUUM ANALYZE sojourn_v1.session_history")
