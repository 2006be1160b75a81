"""What is lost, commanded, bound and resolved; the statements stand in 0003_believe.sql beside this file."""

from importlib.resources import files

from alembic import op

from sojourn.projections.migrate import run_statements

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Run the statements as the owner."""
    statements = files("sojourn.projections").joinpath("migrations", "versions", "0003_believe.sql").read_text()
    run_statements(op.get_bind(), statements)
