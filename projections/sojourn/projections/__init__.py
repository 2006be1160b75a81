"""What the log says, as tables: the pure fold, the schema, positions and the queries that read them."""
