"""The worker: projects the partitions that a Kafka consumer group gives it, with Faust as the engine."""
