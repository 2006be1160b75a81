"""The live stream: one reader for a process, which tells all that look at a tenant's lists what changed."""
