-- Keep what the newest heartbeats tell of a broker.
INSERT INTO broker AS b (
    source, partition, last_event_at, last_appended_at, last_alive_at, skew_seconds, alive_interval_seconds, commands,
    misrouted_at)
VALUES (
    %(source)s, %(partition)s, %(last_event_at)s, %(last_appended_at)s, %(last_alive_at)s, %(skew_seconds)s,
    %(alive_interval_seconds)s, %(commands)s, %(misrouted_at)s)
ON CONFLICT (source, partition) DO UPDATE SET
    last_event_at = excluded.last_event_at, last_appended_at = excluded.last_appended_at,
    last_alive_at = excluded.last_alive_at, skew_seconds = excluded.skew_seconds,
    alive_interval_seconds = excluded.alive_interval_seconds, commands = excluded.commands,
    misrouted_at = excluded.misrouted_at
