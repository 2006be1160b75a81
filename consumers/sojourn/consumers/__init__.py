"""What moves records: from the log through the fold into the tables, exactly once in effect."""
