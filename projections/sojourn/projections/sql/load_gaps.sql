-- The gaps that were accepted in this partition.
SELECT from_offset, to_offset FROM accepted_gap WHERE partition = %(partition)s
