-- Append records to partitions of one topic: take offsets from the heads, which are locked in one order, and tell readers.
WITH head AS MATERIALIZED (
    SELECT head.partition, head.next_offset, head.last_appended_at, share.first, share.last
    FROM unnest(%(partitions)s::smallint[], %(firsts)s::integer[], %(lasts)s::integer[])
        AS share (partition, first, last)
    JOIN sojourn_log.log_head AS head ON head.topic = %(topic)s AND head.partition = share.partition
    ORDER BY head.partition
    FOR UPDATE OF head
), moved AS (
    UPDATE sojourn_log.log_head AS moved
    SET next_offset = head.next_offset + head.last - head.first + 1,
        last_appended_at = greatest(clock_timestamp(), head.last_appended_at)
    FROM head
    WHERE moved.topic = %(topic)s AND moved.partition = head.partition
    RETURNING moved.partition, head.next_offset AS first_offset, moved.next_offset, moved.last_appended_at,
        head.first, head.last
), appended AS (
    INSERT INTO {table} (partition, "offset", appended_at, key, value, headers)
    SELECT moved.partition, first_offset + record.number - 1, last_appended_at, record.key, record.value, record.headers
    FROM moved, unnest(
        (%(keys)s::bytea[])[first:last], (%(values)s::bytea[])[first:last], (%(headers)s::bytea[])[first:last]
    ) WITH ORDINALITY AS record (key, value, headers, number)
)
SELECT
    partition, first_offset, last_appended_at, (
        SELECT pg_notify('sojourn_log', %(topic)s || ' ' || string_agg(partition || ':' || next_offset, ' ')) FROM moved
    )
FROM moved
