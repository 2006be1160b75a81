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

-- What a name is found by: each two and three characters that stand together, and single ones that are no ASCII; the
-- prefix keeps tenants apart. pg_trgm would do for ASCII only where the server's locale is C: docs/why.md, "Searching".
CREATE FUNCTION sojourn_v1.grams(prefix text, lowered text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$  -- a query would take six times as long
DECLARE
    found text[] := '{}';
    count integer := 0;
    last integer := length(lowered);
BEGIN
    FOR place IN 1..last LOOP
        IF ascii(substr(lowered, place, 1)) > 127 THEN
            count := count + 1;
            found[count] := prefix || substr(lowered, place, 1);
        END IF;
        IF place < last THEN
            count := count + 1;
            found[count] := prefix || substr(lowered, place, 2);
        END IF;
        IF place < last - 1 THEN
            count := count + 1;
            found[count] := prefix || substr(lowered, place, 3);
        END IF;
    END LOOP;
    RETURN found;
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
CREATE FUNCTION sojourn_v1.find_names(wanted text, search text, most integer) RETURNS SETOF text
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    mine text := current_setting('sojourn.tenant', true);
    prefix text := mine || chr(31) || wanted || chr(31);
    lowered text := lower(search);
    keys text[] := ARRAY(
        SELECT gram FROM unnest(sojourn_v1.grams(prefix, lowered)) AS gram
        WHERE length(gram) = length(prefix) + least(length(lowered), 3));
BEGIN
    RETURN QUERY
    SELECT id FROM sojourn_v1.known_name
    WHERE tenant = mine AND kind = wanted
        AND sojourn_v1.grams(tenant || chr(31) || kind || chr(31), lower(id || chr(31) || name)) @> keys
        AND strpos(lower(id || chr(31) || name), lowered) > 0
    LIMIT most;
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

-- The search by address, and the order by it.
CREATE INDEX live_session_address ON sojourn_v1.live_session (tenant, client_ip COLLATE "C");
CREATE INDEX session_history_address ON sojourn_v1.session_history (tenant, client_ip COLLATE "C", logout_at)
    WHERE revision IS NOT NULL AND logout_at IS NOT NULL;
-- The lost ones are few among many.
CREATE INDEX live_session_lost ON sojourn_v1.live_session (tenant, login_at) WHERE lost_at IS NOT NULL;
-- Who asks for the sessions of a day gets those that began before and lasted long from here.
CREATE INDEX session_history_long ON sojourn_v1.session_history (tenant, logout_at)
    WHERE revision IS NOT NULL AND logout_at IS NOT NULL AND online_seconds > 172800;
