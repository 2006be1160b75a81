-- How many records between two offsets of a lifecycle partition were applied; tenant by tenant, as the key begins.
SELECT count(*)
FROM (
    SELECT h."offset"
    FROM tenant_config AS t
    CROSS JOIN LATERAL (
        SELECT h."offset" FROM session_history AS h
        WHERE h.tenant = t.tenant AND h.partition = %(partition)s
            AND h."offset" >= %(start)s AND h."offset" < %(end)s
    ) AS h
    UNION
    SELECT d."offset" FROM dead_letter AS d
    WHERE d.topic = %(topic)s AND d.partition = %(partition)s AND d."offset" >= %(start)s AND d."offset" < %(end)s
) AS record
