-- Forget what has been appended, or will never be.
DELETE FROM outbox WHERE outbox_id = ANY (%(ids)s)
