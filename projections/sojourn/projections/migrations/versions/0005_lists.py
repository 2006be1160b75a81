"""What makes pages of long lists cheap; the statements stand in 0005_lists.sql beside this file."""

from importlib.resources import files

from alembic import op

from sojourn.projections.migrate import run_statements

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Run the statements as the owner."""
    statements = files("sojourn.projections").joinpath("migrations", "versions", "0005_lists.sql").read_text()
    run_statements(op.get_bind(), statements)
