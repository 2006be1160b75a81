-- A download that somebody has begun, which stands in the trail.
SELECT FROM admin_action
WHERE tenant = %(tenant)s AND at >= %(since)s AND actor = %(actor)s AND action = 'export_download'
    AND subject = %(subject)s
LIMIT 1
