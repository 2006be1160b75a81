"""`sojourn db upgrade` and `sojourn config show`."""

import os

from sojourn.console.opening import DataDir, Json
from sojourn.console.output import Columns, write_json, write_line
from sojourn.console.site.settings import SiteSettings
from sojourn.events.embedded.database import open_database
from sojourn.events.embedded.log import install
from sojourn.events.settings import Settings
from sojourn.projections import schema


async def upgrade(*, data_dir: DataDir = None) -> None:
    """Bring the database's schema up to this version; harmless when it is there already."""
    settings = Settings.from_environment(os.environ, data_dir)
    database = await open_database(settings)
    try:
        changed = await schema.upgrade(database)
        if settings.kafka is None:
            async with await database.connect() as connection:
                await install(connection)
    finally:
        await database.close()
    write_line(f"the schema is {'now' if changed else 'already'} at version {schema.VERSION}")


def show(*, json: Json = False, data_dir: DataDir = None) -> None:
    """Show each setting and where it comes from; passwords are hidden."""
    columns = Columns(("SETTING", "VALUE", "FROM"))
    described = Settings.from_environment(os.environ, data_dir).describe()
    for setting in [*described, *SiteSettings.from_environment(os.environ).describe()]:
        if json:
            write_json(setting._asdict())
        else:
            columns.write(setting)
    columns.close()
