"""The REST API under /v1: what the pages show, for programs; its field names are those of the command line."""
