-- Write an administrative act, unless it was written before: the same key makes the same id.
INSERT INTO admin_action (tenant, action_id, at, actor, action, subject, reason, origin, result)
VALUES (%(tenant)s, %(action_id)s, %(at)s, %(actor)s, %(action)s, %(subject)s, %(reason)s, %(origin)s, %(result)s)
ON CONFLICT (tenant, action_id) DO NOTHING
