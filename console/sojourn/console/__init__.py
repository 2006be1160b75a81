"""The `sojourn` command line, and later the REST API and the pages."""
