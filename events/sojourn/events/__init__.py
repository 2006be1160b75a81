"""The contract: what brokers publish, how it is read, and the log that keeps it."""
