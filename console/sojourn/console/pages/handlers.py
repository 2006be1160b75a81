"""All handlers of the pages."""

from litestar.handlers import BaseRouteHandler

from sojourn.console.pages.assets import asset_handler
from sojourn.console.pages.charts import chart_handlers
from sojourn.console.pages.current import current_handlers
from sojourn.console.pages.disconnecting import disconnect_page_handlers
from sojourn.console.pages.drawer import drawer_handlers
from sojourn.console.pages.exports import export_page_handlers
from sojourn.console.pages.following import command_page_handlers
from sojourn.console.pages.help import help_handlers
from sojourn.console.pages.history import history_handlers
from sojourn.console.pages.language import language_handler
from sojourn.console.pages.render import Pages
from sojourn.console.pages.statistics import statistics_handlers
from sojourn.console.pages.views import view_handlers


def page_handlers(pages: Pages) -> list[BaseRouteHandler]:
    """Return the handlers of the pages and of the files that they name."""
    return [
        asset_handler(),
        language_handler(),
        *current_handlers(pages),
        *drawer_handlers(pages),
        *disconnect_page_handlers(pages),
        *command_page_handlers(pages),
        *help_handlers(pages),
        *history_handlers(pages),
        *chart_handlers(pages),
        *statistics_handlers(pages),
        *view_handlers(pages),
        *export_page_handlers(pages),
    ]
