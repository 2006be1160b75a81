"""What the sessions of a tenant come to, each number with its rule: docs/statistics.md."""
