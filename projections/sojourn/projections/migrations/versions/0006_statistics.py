"""Columns of the history for statistics; the statements stand in 0006_statistics.sql beside this file."""

from importlib.resources import files

from alembic import op

from sojourn.projections.migrate import run_statements

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Run the statements as the owner."""
    statements = files("sojourn.projections").joinpath("migrations", "versions", "0006_statistics.sql").read_text()
    run_statements(op.get_bind(), statements)
