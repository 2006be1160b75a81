"""The ways to Sojourn that a broker can choose from."""

from sojourn.events.broker.over_http import HttpTransport
from sojourn.events.broker.over_log import LogTransport
from sojourn.events.broker.transport import Rejection, Transport, TryLater
from sojourn.events.kafka.log import KafkaLog
from sojourn.events.kafka.settings import KafkaSettings
from sojourn.events.log import Log

__all__ = ["Rejection", "Transport", "TryLater", "http_transport", "kafka_transport", "log_transport"]


def kafka_transport(settings: KafkaSettings) -> Transport:
    """Return a transport for a broker that may write to Kafka, and read `sojourn.commands` there."""
    return log_transport(KafkaLog(settings))


def log_transport(log: Log) -> Transport:
    """Return a transport over any log; closing it closes the log."""
    return LogTransport(log)


def http_transport(url: str, token: str) -> Transport:
    """Return a transport to the HTTP server at `url`, with the token that `sojourn brokers add` showed."""
    return HttpTransport(url, token)
