-- Sessions column by column: a row each would take ten times as long to read.
SELECT
    count(*),
    array_send(array_agg(login)), array_send(array_agg(ends_first)), array_send(array_agg(ends_last)),
    array_send(array_agg(online_seconds)),
    array_send(array_agg(octet_length(person))), string_agg(person, ''),
    array_send(array_agg(octet_length(desktop))), string_agg(desktop, ''),
    array_send(array_agg(octet_length(address))), string_agg(address, ''),
    array_send(array_agg(octet_length(kind))), string_agg(kind, ''),
    array_send(array_agg(appended_at))
FROM session
