"""How Apache Kafka is reached, read from the environment."""

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from sojourn.events.errors import UsageError

BOOTSTRAP_SERVERS: Final = "SOJOURN_KAFKA_BOOTSTRAP_SERVERS"
SECURITY_PROTOCOL: Final = "SOJOURN_KAFKA_SECURITY_PROTOCOL"
CA_FILE: Final = "SOJOURN_KAFKA_CA_FILE"
CERTIFICATE_FILE: Final = "SOJOURN_KAFKA_CERTIFICATE_FILE"
KEY_FILE: Final = "SOJOURN_KAFKA_KEY_FILE"
SASL_MECHANISM: Final = "SOJOURN_KAFKA_SASL_MECHANISM"
USERNAME: Final = "SOJOURN_KAFKA_USERNAME"
PASSWORD: Final = "SOJOURN_KAFKA_PASSWORD"  # noqa: S105 - the name of the variable

SECURITY_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SASL_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

_VARIABLES: Final = (
    BOOTSTRAP_SERVERS,
    SECURITY_PROTOCOL,
    CA_FILE,
    CERTIFICATE_FILE,
    KEY_FILE,
    SASL_MECHANISM,
    USERNAME,
    PASSWORD,
)
_SERVER: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


class KafkaSettings(Struct, frozen=True):
    """Where Kafka is and how to sign in there; files are PEM."""

    bootstrap_servers: str
    security_protocol: str = "PLAINTEXT"
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    sasl_mechanism: str | None = None
    username: str | None = None
    password: str | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "KafkaSettings | None":
        """Read the variables; None when no servers are named. An empty variable counts as not set."""
        given = {name: environ.get(name, "").strip() for name in _VARIABLES}
        servers = given.get(BOOTSTRAP_SERVERS)
        if not servers:
            return None
        for server in servers.split(","):
            if not _SERVER.fullmatch(server.strip()):
                raise UsageError(
                    f"a Kafka server is named like host:9092 in {BOOTSTRAP_SERVERS}, not: {server.strip()!r}"
                )
        protocol = _one_of(given, SECURITY_PROTOCOL, SECURITY_PROTOCOLS) or "PLAINTEXT"
        mechanism = _one_of(given, SASL_MECHANISM, SASL_MECHANISMS)
        if protocol.startswith("SASL") and not (mechanism and given.get(USERNAME) and given.get(PASSWORD)):
            raise UsageError(f"{SECURITY_PROTOCOL}={protocol} needs {SASL_MECHANISM}, {USERNAME} and {PASSWORD}")
        return cls(
            ",".join(server.strip() for server in servers.split(",")),
            protocol,
            _file(given, CA_FILE),
            _file(given, CERTIFICATE_FILE),
            _file(given, KEY_FILE),
            mechanism,
            given.get(USERNAME) or None,
            given.get(PASSWORD) or None,
        )

    def describe(self) -> list[tuple[str, str]]:
        """Return the variables that have a value; the password is hidden."""
        values = {
            BOOTSTRAP_SERVERS: self.bootstrap_servers,
            SECURITY_PROTOCOL: self.security_protocol,
            CA_FILE: self.ca_file,
            CERTIFICATE_FILE: self.certificate_file,
            KEY_FILE: self.key_file,
            SASL_MECHANISM: self.sasl_mechanism,
            USERNAME: self.username,
            PASSWORD: self.password and "***",
        }
        return [(name, str(value)) for name, value in values.items() if value]

    def client_options(self) -> dict[str, Any]:
        """Return what every aiokafka client is given; raises `UsageError` for certificates that cannot be read."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = self._ssl_context()
        if self.security_protocol.startswith("SASL"):
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.username
            options["sasl_plain_password"] = self.password
        return options

    def _ssl_context(self) -> ssl.SSLContext:
        variable = CA_FILE
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.certificate_file is not None:
                variable = CERTIFICATE_FILE
                # The password is empty, since a key that has one would make OpenSSL ask the terminal.
                context.load_cert_chain(self.certificate_file, self.key_file, password="")
        except (OSError, ssl.SSLError) as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"the certificates for Kafka cannot be used ({reason}); check {variable}") from error
        return context

    def __repr__(self) -> str:
        return f"KafkaSettings({self.describe()!r})"


def _one_of(given: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str | None:
    value = given.get(name)
    if not value:
        return None
    if value not in allowed:
        raise UsageError(f"{name} is one of {', '.join(allowed)}, not: {value!r}")
    return value


def _file(given: Mapping[str, str], name: str) -> Path | None:
    return Path(value).expanduser() if (value := given.get(name)) else None
