-- Take both positions of a partition from the owner that they were bound to.
UPDATE position SET epoch = %(epoch)s WHERE partition = %(partition)s
