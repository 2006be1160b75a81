"""How Alembic runs a migration here: on the connection that `schema.upgrade` hands over, as the owner."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table_schema="sojourn",
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
