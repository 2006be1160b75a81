-- What was asked by an administrative act, and what came of it.
SELECT action, subject, reason, result FROM admin_action WHERE tenant = %(tenant)s AND action_id = %(action_id)s
