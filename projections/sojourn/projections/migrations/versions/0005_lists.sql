-- What makes pages of long lists cheap: counters, names to search in, indexes; and what a tenant may know of brokers.

-- How many sessions are open; the projector adds what each batch changes. A row at 0 says that there have been some.
CREATE TABLE sojourn_v1.session_count (
    tenant text NOT NULL,
    partition integer NOT NULL,
    broker text NOT NULL,
    state text NOT NULL,
    sessions bigint NOT NULL,
    PRIMARY KEY (tenant, partition, broker, state)
) WITH (fillfactor = 50);

-- The users and desktops that sessions named, each with every name that it had: far fewer than sessions.
CREATE TABLE sojourn_v1.known_name (
    tenant text NOT NULL,
    kind text NOT NULL,
    id text NOT NULL,
    name_md5 uuid NOT NULL,
    name text NOT NULL,
    PRIMARY KEY (tenant, kind, id, name_md5)
);

-- What a name is found by: each one, two and three characters that stand together; the prefix keeps tenants apart.
-- pg_trgm would do for ASCII only where the server's locale is C: docs/why.md, "Searching".
CREATE FUNCTION sojourn_v1.grams(prefix text, lowered text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$  -- a query would take six times as long
DECLARE
    letters text[] := string_to_array(lowered, NULL);
    one text;
    two text;
    found text[] := '{}';
BEGIN
    FOR place IN 1..cardinality(letters) LOOP
        one := prefix || letters[place];
        two := one || letters[place + 1];
        found := found || ARRAY[one, two, two || letters[place + 2]];
    END LOOP;
    RETURN array_remove(found, NULL);
END $$;
CREATE INDEX known_name_grams ON sojourn_v1.known_name
    USING gin (sojourn_v1.grams(tenant || chr(31) || kind || chr(31), lower(id || chr(31) || name)));

SELECT sojourn.isolate(relation) FROM unnest(ARRAY[
    'sojourn_v1.session_count', 'sojourn_v1.known_name']::regclass[]) AS relation;
GRANT SELECT, INSERT, UPDATE ON sojourn_v1.session_count TO sojourn_projector;
GRANT SELECT, INSERT ON sojourn_v1.known_name TO sojourn_projector;
GRANT SELECT ON sojourn_v1.session_count, sojourn_v1.known_name TO sojourn_reader, sojourn_auditor;

-- Row-level security uses no index for operators that might tell of rows, and those of arrays are among these. So the
-- names are searched as a role that sees all of them, and this function alone says of which tenant: the transaction's.
GRANT USAGE, CREATE ON SCHEMA sojourn_v1 TO sojourn_searcher;
CREATE POLICY search ON sojourn_v1.known_name FOR SELECT TO sojourn_searcher USING (true);
GRANT SELECT ON sojourn_v1.known_name TO sojourn_searcher;
-- How many names have each of these grams, where the statistics know it to be many; as the owner, who may see them.
CREATE FUNCTION sojourn_v1.frequent_grams(wanted text[]) RETURNS TABLE (gram text, names double precision)
LANGUAGE sql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT e.gram, e.share * c.reltuples
    FROM pg_stats AS s
    CROSS JOIN LATERAL unnest(s.most_common_elems::text::text[], s.most_common_elem_freqs) AS e (gram, share)
    JOIN pg_class AS c ON c.oid = 'sojourn_v1.known_name'::regclass
    WHERE s.schemaname = 'sojourn_v1' AND s.tablename = 'known_name_grams' AND e.gram = ANY (wanted)
$$;
REVOKE ALL ON FUNCTION sojourn_v1.frequent_grams FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sojourn_v1.frequent_grams TO sojourn_searcher;

-- The ids of a kind whose names hold a text, or null for more than `most`. Grams of very many names are left out: to
-- read their lists takes longer than to look at the names that the others leave, and a text of such grams alone is one
-- of more than `most` names, or too dear to look for.
CREATE FUNCTION sojourn_v1.find_names(wanted text, search text, most integer) RETURNS text[]
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off SET enable_indexscan = off SET enable_indexonlyscan = off AS $$
DECLARE
    mine text := current_setting('sojourn.tenant', true);
    prefix text := mine || chr(31) || wanted || chr(31);
    lowered text := lower(search);
    keys text[] := ARRAY(
        SELECT DISTINCT gram FROM unnest(sojourn_v1.grams(prefix, lowered)) AS gram
        WHERE length(gram) = length(prefix) + least(length(lowered), 3)
        EXCEPT SELECT gram FROM sojourn_v1.frequent_grams(sojourn_v1.grams(prefix, lowered)) WHERE names > 20000);
    found text[];
BEGIN
    IF cardinality(keys) = 0 THEN
        RETURN NULL;
    END IF;
    SELECT array_agg(id) INTO found
    FROM (
        SELECT id FROM sojourn_v1.known_name
        WHERE tenant = mine AND kind = wanted
            AND sojourn_v1.grams(tenant || chr(31) || kind || chr(31), lower(id || chr(31) || name)) @> keys
            AND strpos(lower(id || chr(31) || name), lowered) > 0
        LIMIT most + 1) AS few;
    RETURN CASE WHEN cardinality(found) > most THEN NULL ELSE coalesce(found, '{}') END;
END $$;
ALTER FUNCTION sojourn_v1.find_names OWNER TO sojourn_searcher;
REVOKE CREATE ON SCHEMA sojourn_v1 FROM sojourn_searcher;
REVOKE ALL ON FUNCTION sojourn_v1.find_names FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sojourn_v1.find_names TO sojourn_reader;

-- Fill both from what there is; forced row-level security would hide it from the owner.
ALTER TABLE sojourn_v1.live_session NO FORCE ROW LEVEL SECURITY;
ALTER TABLE sojourn_v1.session_history NO FORCE ROW LEVEL SECURITY;
ALTER TABLE sojourn_v1.session_count NO FORCE ROW LEVEL SECURITY;
ALTER TABLE sojourn_v1.known_name NO FORCE ROW LEVEL SECURITY;
INSERT INTO sojourn_v1.session_count
SELECT tenant, partition, broker, state, count(*) FROM sojourn_v1.live_session GROUP BY tenant, partition, broker, state;
INSERT INTO sojourn_v1.known_name
SELECT DISTINCT tenant, kind, id, md5(name)::uuid, name
FROM (
    SELECT DISTINCT tenant, user_id, user_name, desktop_id, desktop_name FROM sojourn_v1.session_history
    WHERE revision IS NOT NULL AND user_id IS NOT NULL
    UNION ALL SELECT tenant, user_id, user_name, desktop_id, desktop_name FROM sojourn_v1.live_session) AS known
CROSS JOIN LATERAL (VALUES ('user', user_id, user_name), ('desktop', desktop_id, desktop_name)) AS n (kind, id, name);
ALTER TABLE sojourn_v1.live_session FORCE ROW LEVEL SECURITY;
ALTER TABLE sojourn_v1.session_history FORCE ROW LEVEL SECURITY;
ALTER TABLE sojourn_v1.session_count FORCE ROW LEVEL SECURITY;
ALTER TABLE sojourn_v1.known_name FORCE ROW LEVEL SECURITY;

-- The counters as the list shows states: whose broker is silent is unconfirmed.
CREATE VIEW sojourn.current_count AS
SELECT
    c.tenant, c.partition, c.broker,
    CASE WHEN c.state = 'active' AND b.silent_since IS NOT NULL THEN 'unconfirmed' ELSE c.state END AS state, c.sessions
FROM sojourn_v1.session_count AS c
LEFT JOIN sojourn_v1.broker AS b ON b.source = c.broker AND b.partition = c.partition;

-- What a tenant may know of brokers: those that are bound to it, or have served its sessions, and not whom else.
CREATE VIEW sojourn.tenant_broker AS
SELECT
    b.source, b.partition, b.last_event_at, b.last_appended_at, b.last_alive_at, b.silent_since, b.skew_seconds,
    b.commands, b.misrouted_at
FROM sojourn_v1.broker AS b
WHERE b.source IN (
    SELECT source FROM sojourn_v1.broker WHERE current_setting('sojourn.tenant', true) = ANY (tenants)
    UNION ALL SELECT broker FROM sojourn_v1.session_count);

GRANT SELECT ON sojourn.current_count, sojourn.tenant_broker TO sojourn_reader, sojourn_auditor;

-- The order by time needs no session ids, which are long; a day of long ago is told by the login.
DROP INDEX sojourn_v1.live_session_login, sojourn_v1.session_history_logout;
CREATE INDEX live_session_login ON sojourn_v1.live_session (tenant, login_at);
CREATE INDEX session_history_logout ON sojourn_v1.session_history (tenant, logout_at, login_at)
    WHERE revision IS NOT NULL AND logout_at IS NOT NULL;
-- The search by address, and the order by it.
CREATE INDEX live_session_address ON sojourn_v1.live_session (tenant, client_ip COLLATE "C");
CREATE INDEX session_history_address ON sojourn_v1.session_history (tenant, client_ip COLLATE "C", logout_at)
    WHERE revision IS NOT NULL AND logout_at IS NOT NULL;
-- Filters, for values that few sessions have; where one is left out, PostgreSQL skips over its few values.
CREATE INDEX live_session_kind ON sojourn_v1.live_session (tenant, terminal_type, access, broker, login_at);
CREATE INDEX session_history_kind ON sojourn_v1.session_history (tenant, reason, terminal_type, access, broker, logout_at)
    WHERE revision IS NOT NULL AND logout_at IS NOT NULL;
-- Values that hardly ever come together would else be looked for through the whole list. Each month has its own
-- statistics: those of the table it belongs to say nothing of it.
CREATE STATISTICS sojourn_v1.live_session_kind_values (mcv)
    ON terminal_type, access, broker FROM sojourn_v1.live_session;
CREATE STATISTICS sojourn_v1.session_history_kind_values (mcv)
    ON reason, terminal_type, access, broker FROM sojourn_v1.session_history;
CREATE OR REPLACE FUNCTION sojourn_v1.ensure_history_month(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    first date := date_trunc('month', month)::date;
    name text := format('session_history_%s', to_char(first, 'YYYY_MM'));
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('sojourn_v1.session_history'));
    IF to_regclass(format('sojourn_v1.%I', name)) IS NULL THEN
        -- Attaching waits for no reader, where PARTITION OF would wait for the longest export.
        EXECUTE format(
            'CREATE TABLE sojourn_v1.%I (LIKE sojourn_v1.session_history '
            'INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STATISTICS)',
            name);
        EXECUTE format(
            'ALTER TABLE sojourn_v1.%I ALTER tenant SET (n_distinct = 20), ALTER session_id SET (n_distinct = -0.4)',
            name);
        EXECUTE format(
            'ALTER TABLE sojourn_v1.session_history ATTACH PARTITION sojourn_v1.%I FOR VALUES FROM (%L) TO (%L)',
            name, first::text || ' 00:00+00', (first + interval '1 month')::date::text || ' 00:00+00');
        EXECUTE format('ALTER TABLE sojourn_v1.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE sojourn_v1.%I FORCE ROW LEVEL SECURITY', name);
    END IF;
END $$;
DO $$
DECLARE
    month regclass;
BEGIN
    FOR month IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'sojourn_v1.session_history'::regclass LOOP
        EXECUTE format('CREATE STATISTICS (mcv) ON reason, terminal_type, access, broker FROM %s', month);
    END LOOP;
END $$;
-- The lost ones are few among many.
CREATE INDEX live_session_lost ON sojourn_v1.live_session (tenant, login_at) WHERE lost_at IS NOT NULL;
-- Who asks for the sessions of a day gets those that lasted long after it from here.
CREATE INDEX session_history_long ON sojourn_v1.session_history (tenant, logout_at, login_at)
    WHERE revision IS NOT NULL AND logout_at IS NOT NULL AND logout_at - login_at > interval '1 day';
