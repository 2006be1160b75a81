"""The embedded PostgreSQL as its users see it: started when needed, stopped by the last of them."""

from sojourn.events.embedded.database import Database


async def test_a_new_database_speaks_utc_and_utf8(database: Database) -> None:
    async with await database.connect() as connection:
        row = await (
            await connection.execute(
                "SELECT current_setting('TimeZone'), current_setting('server_encoding'), current_user, current_database()"
            )
        ).fetchone()

    assert row == ("UTC", "UTF8", "sojourn", "sojourn")
