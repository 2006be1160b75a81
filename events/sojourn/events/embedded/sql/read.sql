-- Read records of one partition from an offset on, up to a number of records and of bytes, but the first in any case.
SELECT "offset", appended_at, key, value, headers
FROM (
    SELECT *, sum(bytes) OVER (ORDER BY "offset" ROWS UNBOUNDED PRECEDING) - bytes AS bytes_before
    FROM (
        SELECT
            *, octet_length(value) + coalesce(octet_length(key), 0) + coalesce(octet_length(headers), 0) AS bytes
        FROM {table}
        WHERE partition = %(partition)s AND "offset" >= %(offset)s
        ORDER BY "offset"
        LIMIT %(records_max)s
    ) AS candidate
) AS measured
WHERE bytes_before < %(bytes_max)s
ORDER BY "offset"
