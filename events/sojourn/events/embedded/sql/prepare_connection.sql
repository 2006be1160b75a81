-- Set a connection up: a dead client must not hold a head for longer, and a new table's guessed statistics must not
-- make the planner read a partition by anything but its key.
SELECT
    set_config('idle_in_transaction_session_timeout', %(idle_ms)s, false),
    set_config('enable_seqscan', 'off', false),
    set_config('enable_bitmapscan', 'off', false)
