"""Made-up brokers whose days are a pure function of a seed: what `sojourn simulate` and `sojourn up --demo` publish."""
