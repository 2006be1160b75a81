-- Where COPY puts a batch before it is spread over the tables: COPY itself cannot write through row-level security.
-- slot: the session is open after this batch and this row is its state; ends: its live row has to go.
CREATE TEMPORARY TABLE IF NOT EXISTS stage (
    LIKE session_history,
    slot integer,
    ends boolean NOT NULL,
    live_revision integer,
    live_offset bigint,
    live_appended_at timestamptz,
    established_appended_at timestamptz,
    supersedes_offset bigint,
    supersedes_appended_at timestamptz
) ON COMMIT DELETE ROWS
