"""How Kafka is reached: what the environment says, and what aiokafka's clients are given for it."""

import ssl
from pathlib import Path
from typing import Final

import pytest

from sojourn.events.errors import UsageError
from sojourn.events.kafka.settings import SASL_MECHANISMS, KafkaSettings

SERVERS: Final = {"SOJOURN_KAFKA_BOOTSTRAP_SERVERS": "kafka:9092"}
SIGN_IN: Final = {
    "SOJOURN_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "SOJOURN_KAFKA_USERNAME": "jane",
    "SOJOURN_KAFKA_PASSWORD": "s3cret",
}


def settings(**variables: str) -> KafkaSettings:
    environ = {**SERVERS, **{f"SOJOURN_KAFKA_{name}": value for name, value in variables.items()}}
    found = KafkaSettings.from_environment(environ)
    assert found is not None
    return found


@pytest.mark.parametrize("servers", ["", "  ", "\n"])
def test_without_servers_there_is_no_kafka_whatever_else_is_set(servers: str) -> None:
    assert KafkaSettings.from_environment({**SIGN_IN, "SOJOURN_KAFKA_BOOTSTRAP_SERVERS": servers}) is None
    assert KafkaSettings.from_environment({}) is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("kafka:9092", "kafka:9092"),
        (" kafka-1.example.com:9092 , 10.0.0.2:19092 ", "kafka-1.example.com:9092,10.0.0.2:19092"),
        ("[::1]:9092", "[::1]:9092"),
    ],
)
def test_servers_are_hosts_with_ports(given: str, expected: str) -> None:
    assert settings(BOOTSTRAP_SERVERS=given).client_options()["bootstrap_servers"] == expected


@pytest.mark.parametrize("given", ["kafka", "kafka:", ":9092", "kafka:9092,", "http://kafka:9092", "kafka:9092 x"])
def test_what_is_no_server_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match=r"like host:9092 in SOJOURN_KAFKA_BOOTSTRAP_SERVERS, not: '"):
        settings(BOOTSTRAP_SERVERS=given)


def test_nothing_else_is_needed_and_then_nothing_is_encrypted() -> None:
    assert settings().client_options() == {"bootstrap_servers": "kafka:9092", "security_protocol": "PLAINTEXT"}


@pytest.mark.parametrize(
    ("name", "value"), [("SECURITY_PROTOCOL", "TLS"), ("SECURITY_PROTOCOL", "ssl"), ("SASL_MECHANISM", "GSSAPI")]
)
def test_words_that_kafka_does_not_know_are_refused_with_those_it_knows(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"^SOJOURN_KAFKA_{name} is one of .*S.*, not: '{value}'$"):
        settings(**{name: value})


@pytest.mark.parametrize("mechanism", SASL_MECHANISMS)
def test_a_sign_in_is_passed_to_the_client(mechanism: str) -> None:
    options = settings(
        SECURITY_PROTOCOL="SASL_PLAINTEXT",
        SASL_MECHANISM=mechanism,
        USERNAME="jane",
        PASSWORD=SIGN_IN["SOJOURN_KAFKA_PASSWORD"],
    ).client_options()

    assert options == {
        "bootstrap_servers": "kafka:9092",
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": mechanism,
        "sasl_plain_username": "jane",
        "sasl_plain_password": "s3cret",
    }


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.parametrize("missing", sorted(SIGN_IN))
def test_half_a_sign_in_is_refused_without_showing_it(protocol: str, missing: str) -> None:
    environ = {**SERVERS, **SIGN_IN, "SOJOURN_KAFKA_SECURITY_PROTOCOL": protocol, missing: ""}

    with pytest.raises(UsageError, match=f"^SOJOURN_KAFKA_SECURITY_PROTOCOL={protocol} needs .*{missing}") as caught:
        KafkaSettings.from_environment(environ)

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("protocol", ["SSL", "SASL_SSL"])
def test_an_encrypted_connection_checks_the_servers_certificate_and_name(protocol: str) -> None:
    context = KafkaSettings("kafka:9092", protocol).client_options()["ssl_context"]

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize(
    ("variable", "content"),
    [("CA_FILE", None), ("CA_FILE", "no certificate"), ("CERTIFICATE_FILE", None), ("CERTIFICATE_FILE", "nonsense")],
)
def test_certificates_that_cannot_be_read_are_an_error_that_names_the_setting(
    tmp_path: Path, variable: str, content: str | None
) -> None:
    path = tmp_path / "file.pem"
    if content is not None:
        path.write_text(content)

    with pytest.raises(UsageError, match=rf"^the certificates for Kafka [^\n]*; check SOJOURN_KAFKA_{variable}$"):
        settings(SECURITY_PROTOCOL="SSL", **{variable: str(path)}).client_options()


def test_a_tilde_in_a_files_name_stands_for_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/jane")

    assert settings(CA_FILE="~/ca.pem").ca_file == Path("/home/jane/ca.pem")


def test_the_password_is_hidden_and_the_rest_is_shown() -> None:
    environ = {**SERVERS, **SIGN_IN, "SOJOURN_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}

    described = KafkaSettings.from_environment(environ)

    assert described is not None
    assert described.describe() == [
        ("SOJOURN_KAFKA_BOOTSTRAP_SERVERS", "kafka:9092"),
        ("SOJOURN_KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
        ("SOJOURN_KAFKA_SASL_MECHANISM", "SCRAM-SHA-512"),
        ("SOJOURN_KAFKA_USERNAME", "jane"),
        ("SOJOURN_KAFKA_PASSWORD", "***"),
    ]
    assert "s3cret" not in repr(described)
