-- Which migration the database stands at: null when Alembic has never run.
SELECT CASE WHEN to_regclass('sojourn.alembic_version') IS NULL THEN NULL
    ELSE (xpath('/row/version_num/text()', query_to_xml('SELECT version_num FROM sojourn.alembic_version', false, true, '')))[1]::text
END
