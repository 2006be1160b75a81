-- Tell up to which instant all that was appended is applied.
UPDATE position SET complete_to = %(complete_to)s
WHERE topic = %(topic)s AND partition = %(partition)s AND epoch = %(epoch)s
