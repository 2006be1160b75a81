-- Create version 1 of the log; runs once per database, under an advisory lock.
CREATE SCHEMA sojourn_log;

CREATE TABLE sojourn_log.schema_version (version integer PRIMARY KEY);

-- One row per partition; its row lock orders appenders, so offsets have no gaps and rise in the order of commits.
-- Rows are updated by every append: free space in the page keeps those updates HOT.
CREATE TABLE sojourn_log.log_head (
    topic text,
    partition smallint,
    next_offset bigint NOT NULL DEFAULT 0,
    start_offset bigint NOT NULL DEFAULT 0,
    last_appended_at timestamptz,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 10);

-- headers: name and value by turns, null when there are none.
-- Values are kept as they are: nearly all are too short to be compressed, and pglz is slower than the disk.
CREATE TABLE sojourn_log.lifecycle (
    partition smallint,
    "offset" bigint,
    appended_at timestamptz NOT NULL,
    key bytea,
    value bytea STORAGE EXTERNAL NOT NULL,
    headers bytea,
    PRIMARY KEY (partition, "offset")
);

CREATE TABLE sojourn_log.commands (LIKE sojourn_log.lifecycle INCLUDING ALL);

-- Heartbeats lie in one segment per hour, so that old ones are dropped whole. The keys belong to the segments: a key
-- of the whole would have to hold appended_at.
CREATE TABLE sojourn_log.heartbeats (LIKE sojourn_log.lifecycle INCLUDING STORAGE)
    PARTITION BY RANGE (appended_at);

CREATE TABLE sojourn_log.heartbeat_segment (
    begins_at timestamptz PRIMARY KEY,
    ends_at timestamptz NOT NULL,
    name text NOT NULL UNIQUE
);

-- Make the segments that appends need now and in the next hour. An attached table takes only SHARE UPDATE EXCLUSIVE on
-- the whole, which stops neither readers nor appenders (CREATE TABLE … PARTITION OF would).
CREATE FUNCTION sojourn_log.create_heartbeat_segments() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    hour timestamptz;
    segment text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('sojourn_log.heartbeat_segment', 0));
    FOR hour IN
        SELECT DISTINCT date_trunc('hour', greatest(clock_timestamp(), last_appended_at), 'UTC') + ahead
        FROM sojourn_log.log_head, unnest(ARRAY[interval '0 hours', interval '1 hour']) AS ahead
        WHERE topic = 'sojourn.heartbeats'
    LOOP
        CONTINUE WHEN EXISTS (SELECT FROM sojourn_log.heartbeat_segment WHERE begins_at = hour);
        segment := 'heartbeats_' || to_char(hour AT TIME ZONE 'UTC', 'YYYYMMDDHH24');
        EXECUTE format('CREATE TABLE sojourn_log.%I (LIKE sojourn_log.lifecycle INCLUDING ALL)', segment);
        EXECUTE format(
            'ALTER TABLE sojourn_log.heartbeats ATTACH PARTITION sojourn_log.%I FOR VALUES FROM (%L) TO (%L)',
            segment, hour, hour + interval '1 hour'
        );
        INSERT INTO sojourn_log.heartbeat_segment VALUES (hour, hour + interval '1 hour', segment);
    END LOOP;
END $$;

-- Drop the segments that end before an instant and say how many; start offsets move in the same transaction.
-- The table is locked before the heads, as appends do it. Nobody waits longer than the lock time-out behind this one.
CREATE FUNCTION sojourn_log.drop_heartbeats_before(instant timestamptz) RETURNS integer
LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
DECLARE
    segment text;
    dropped integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('sojourn_log.heartbeat_segment', 0));
    IF NOT EXISTS (SELECT FROM sojourn_log.heartbeat_segment WHERE ends_at <= instant) THEN
        RETURN 0;
    END IF;
    LOCK TABLE sojourn_log.heartbeats IN ACCESS EXCLUSIVE MODE;
    FOR segment IN DELETE FROM sojourn_log.heartbeat_segment WHERE ends_at <= instant RETURNING name LOOP
        EXECUTE format('DROP TABLE sojourn_log.%I', segment);
        dropped := dropped + 1;
    END LOOP;
    UPDATE sojourn_log.log_head AS head
    SET start_offset = coalesce(
        (SELECT min("offset") FROM sojourn_log.heartbeats AS kept WHERE kept.partition = head.partition), next_offset
    )
    WHERE topic = 'sojourn.heartbeats';
    RETURN dropped;
END $$;
