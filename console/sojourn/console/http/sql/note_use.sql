-- Note that a token was used; once a minute is enough for people, and one row is not updated by every request.
UPDATE sojourn.broker_token SET last_used_at = now()
WHERE token_id = %(token_id)s AND coalesce(last_used_at < now() - interval '1 minute', true);
