"""HTTP in: events from brokers without Kafka, and the commands for them."""
