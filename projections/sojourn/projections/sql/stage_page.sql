-- Where COPY puts changed pages; psycopg's executemany hangs on megabytes of them.
CREATE TEMPORARY TABLE IF NOT EXISTS stage_page (
    partition integer NOT NULL,
    page integer NOT NULL,
    seen bytea NOT NULL
) ON COMMIT DELETE ROWS
