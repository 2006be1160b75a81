-- Whether this epoch still owns the partition; nobody can take it over before the transaction ends.
SELECT FROM position WHERE partition = %(partition)s AND topic = %(topic)s AND epoch = %(epoch)s FOR SHARE
