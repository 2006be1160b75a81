"""The first schema; its statements stand in 0001_first.sql beside this file."""

from importlib.resources import files

from alembic import op

from sojourn.projections.migrate import run_statements

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Run the statements as the owner."""
    statements = files("sojourn.projections").joinpath("migrations", "versions", "0001_first.sql").read_text()
    run_statements(op.get_bind(), statements)
