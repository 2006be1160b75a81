"""The list and the history as files: read from PostgreSQL as Arrow, written as Parquet or CSV with a manifest."""
