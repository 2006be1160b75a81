"""Places that a replaced log uses again; the statements stand in 0002_places.sql beside this file."""

from importlib.resources import files

from alembic import op

from sojourn.projections.migrate import run_statements

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Run the statements as the owner."""
    statements = files("sojourn.projections").joinpath("migrations", "versions", "0002_places.sql").read_text()
    run_statements(op.get_bind(), statements)
