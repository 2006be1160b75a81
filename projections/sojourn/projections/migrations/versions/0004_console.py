"""Who uses the console, and what it does for them; the statements stand in 0004_console.sql beside this file."""

from importlib.resources import files

from alembic import op

from sojourn.projections.migrate import run_statements

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Run the statements as the owner."""
    statements = files("sojourn.projections").joinpath("migrations", "versions", "0004_console.sql").read_text()
    run_statements(op.get_bind(), statements)
