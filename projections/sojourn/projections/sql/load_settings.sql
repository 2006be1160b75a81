-- What holds for tenants, as far as this partition has read.
SELECT tenant, setting FROM tenant_setting WHERE partition = %(partition)s
