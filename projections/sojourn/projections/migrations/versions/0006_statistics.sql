-- Columns of the history for statistics, and what tells whether they still say what the history says.

-- The ended revisions that were appended in a span of a month: docs/why.md, "Statistics". `added` are those that no
-- record of the span corrected, `removed` those of earlier spans that one did.
CREATE TABLE sojourn_v1.statistics_block (
    tenant text NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    source text NOT NULL,
    late bigint NOT NULL,
    added bytea NOT NULL,
    removed bytea NOT NULL,
    PRIMARY KEY (tenant, starts_at)
);
ALTER TABLE sojourn_v1.statistics_block ALTER added SET STORAGE EXTERNAL, ALTER removed SET STORAGE EXTERNAL;

-- Rows of the history that came an hour after all of their time was told to be complete, and later still.
CREATE TABLE sojourn_v1.late_record (
    tenant text NOT NULL,
    appended_at timestamptz NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    PRIMARY KEY (tenant, appended_at, partition, "offset")
);

SELECT sojourn.isolate(relation) FROM unnest(ARRAY[
    'sojourn_v1.statistics_block', 'sojourn_v1.late_record']::regclass[]) AS relation;
GRANT SELECT, INSERT ON sojourn_v1.late_record TO sojourn_projector;
GRANT SELECT ON sojourn_v1.late_record, sojourn_v1.statistics_block TO sojourn_reader, sojourn_auditor;
GRANT INSERT, UPDATE ON sojourn_v1.statistics_block TO sojourn_console;

-- Which file holds a month of history, and through which view it is read: another one once the month was dropped,
-- emptied or put back.
CREATE FUNCTION sojourn_v1.history_source(at timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT format('%s/%s', (SELECT xmin FROM pg_rewrite WHERE ev_class = 'sojourn.session_revision'::regclass),
        c.relfilenode)
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'sojourn_v1.session_history'::regclass
        AND c.relname = to_char(at AT TIME ZONE 'UTC', '"session_history_"YYYY_MM')
$$;
REVOKE ALL ON FUNCTION sojourn_v1.history_source FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sojourn_v1.history_source TO sojourn_reader, sojourn_auditor;

-- Those that say what the history says.
CREATE VIEW sojourn.statistics_block WITH (security_invoker = true) AS
SELECT b.* FROM sojourn_v1.statistics_block AS b
WHERE b.source = sojourn_v1.history_source(b.starts_at) AND b.late = (
    SELECT count(*) FROM sojourn_v1.late_record AS l
    WHERE l.tenant = b.tenant AND l.appended_at >= b.starts_at AND l.appended_at < b.ends_at);
GRANT SELECT ON sojourn.statistics_block TO sojourn_reader, sojourn_auditor;

-- History comes in the order of its append times, so a span of them lies together.
CREATE INDEX session_history_appended ON sojourn_v1.session_history USING brin (appended_at) WITH (autosummarize = on);
