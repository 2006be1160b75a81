-- The brokers whose heartbeats came lately to another partition than their sessions.
SELECT DISTINCT source FROM broker WHERE misrouted_at > %(since)s
