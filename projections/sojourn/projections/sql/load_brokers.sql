-- What a partition knows of brokers' signs of life.
SELECT
    source, last_event_at, last_appended_at, last_alive_at, skew_seconds, alive_interval_seconds, commands, misrouted_at
FROM broker WHERE partition = %(partition)s
