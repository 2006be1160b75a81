-- How many sessions of the reader's tenant are open, in each state.
SELECT state, sum(sessions)::bigint FROM current_count GROUP BY state
