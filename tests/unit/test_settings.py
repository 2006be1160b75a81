"""Settings: what the environment says, in which order, and that no secret is ever shown."""

import os
import re
from pathlib import Path

import pytest

from sojourn.events.errors import UsageError
from sojourn.events.kafka.settings import KafkaSettings
from sojourn.events.settings import Settings, hide_password


def test_the_command_line_comes_before_the_environment() -> None:
    settings = Settings.from_environment({"SOJOURN_DATA_DIR": "/environment"}, Path("/command-line"))

    assert settings.data_dir == Path("/command-line")


def test_the_environment_comes_before_the_default() -> None:
    settings = Settings.from_environment({"SOJOURN_DATA_DIR": "/environment", "HOME": "/home/jane"})

    assert settings.data_dir == Path("/environment")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"XDG_DATA_HOME": "/share"}, "/share/sojourn"),
        ({"HOME": "/home/jane"}, "/home/jane/.local/share/sojourn"),
        ({"HOME": "/home/jane", "XDG_DATA_HOME": ""}, "/home/jane/.local/share/sojourn"),
        ({"HOME": "/home/jane", "XDG_DATA_HOME": "relative"}, "/home/jane/.local/share/sojourn"),
        ({"HOME": "/home/jane", "SOJOURN_DATA_DIR": ""}, "/home/jane/.local/share/sojourn"),
    ],
)
def test_the_default_is_the_user_s_data_folder(
    environ: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert Settings.from_environment(environ).data_dir == Path(expected)


def test_the_default_of_root_is_the_system_s_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    assert Settings.from_environment({"HOME": "/root"}).data_dir == Path("/var/lib/sojourn")


def test_a_relative_data_directory_is_taken_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert Settings.from_environment({}, Path("data")).data_dir == tmp_path / "data"
    assert Settings.from_environment({"SOJOURN_DATA_DIR": "data"}).data_dir == tmp_path / "data"


def test_a_tilde_stands_for_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/jane")

    assert Settings.from_environment({}, Path("~/data")).data_dir == Path("/home/jane/data")


def test_the_home_folder_of_an_unknown_user_is_refused() -> None:
    with pytest.raises(UsageError, match="~nosuchuser/data"):
        Settings.from_environment({}, Path("~nosuchuser/data"))


def test_unknown_variables_are_ignored() -> None:
    assert Settings.from_environment({"SOJOURN_NONSENSE": "1"}, Path("/data")) == Settings(Path("/data"))


@pytest.mark.parametrize("dsn", ["", "  ", "\n"])
def test_an_empty_connection_string_means_the_embedded_database(dsn: str) -> None:
    assert Settings.from_environment({"SOJOURN_DATABASE_DSN": dsn}).database_dsn is None


@pytest.mark.parametrize("dsn", ["localhost", "mysql://u:s3cret@host/db", "s3cret"])
def test_what_is_no_connection_string_is_refused_without_showing_it(dsn: str) -> None:
    with pytest.raises(UsageError, match=r"postgresql://.* in SOJOURN_DATABASE_DSN$") as caught:
        Settings.from_environment({"SOJOURN_DATABASE_DSN": dsn})

    assert dsn not in str(caught.value)


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql://jane@host/db", "postgresql://jane@host/db"),
        ("postgresql://jane:s3cret@host:5432/db", "postgresql://jane:***@host:5432/db"),
        ("postgres://jane:s3cret@host/db?sslmode=require", "postgres://jane:***@host/db?sslmode=require"),
        ("postgresql://host/db?user=jane&password=s3cret", "postgresql://host/db?***"),
        ("postgresql://host/db?user=jane&passwor%64=s3cret", "postgresql://host/db?***"),
        ("postgresql://jane:s3@cret@host/db", "***"),
        ("postgresql://jane:s3/cret@host/db", "***"),
        ("postgresql://jane:s3?cret@host/db", "***"),
        ("postgresql://jane:s3 cret@host/db", "***"),
        ("host=db user=jane", "host=db user=jane"),
        ("host=db password=s3cret user=jane", "host=db password=*** user=jane"),
        (r"host = db password = 's3 \'cret' user=jane", "host=db password=*** user=jane"),
        (r"password=s3\ cret host=db", "password=*** host=db"),
        ("sslpassword=s3cret host=db", "sslpassword=*** host=db"),
        ("password='s3cret host=db", "***"),
        ("host=db password=s3 cret", "***"),
    ],
)
def test_passwords_are_hidden_and_the_rest_is_shown(dsn: str, shown: str) -> None:
    assert hide_password(dsn) == shown


def test_every_setting_is_described_with_its_source() -> None:
    environ = {
        "SOJOURN_DATA_DIR": "/data",
        "SOJOURN_DATABASE_DSN": "postgresql://jane:s3cret@host/db",
        "SOJOURN_KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
        "SOJOURN_WORKER_NAME": "w-1",
        "SOJOURN_METRICS_PORT": "9100",
        "SOJOURN_EXPORT_DESTINATIONS": "archive=/srv/exports, bi=/mnt/bi",
    }

    assert Settings.from_environment(environ).describe() == [
        ("SOJOURN_DATA_DIR", "/data", "SOJOURN_DATA_DIR"),
        ("SOJOURN_DATABASE_DSN", "postgresql://jane:***@host/db", "SOJOURN_DATABASE_DSN"),
        ("SOJOURN_KAFKA_BOOTSTRAP_SERVERS", "kafka:9092", "SOJOURN_KAFKA_BOOTSTRAP_SERVERS"),
        ("SOJOURN_KAFKA_SECURITY_PROTOCOL", "PLAINTEXT", "SOJOURN_KAFKA_SECURITY_PROTOCOL"),
        ("SOJOURN_WORKER_NAME", "w-1", "SOJOURN_WORKER_NAME"),
        ("SOJOURN_METRICS_PORT", "9100", "SOJOURN_METRICS_PORT"),
        ("SOJOURN_EXPORT_DESTINATIONS", "archive=/srv/exports,bi=/mnt/bi", "SOJOURN_EXPORT_DESTINATIONS"),
    ]
    assert Settings.from_environment({}, Path("/data")).describe() == [
        ("SOJOURN_DATA_DIR", "/data", "--data-dir"),
        ("SOJOURN_DATABASE_DSN", "embedded PostgreSQL", "default"),
        ("SOJOURN_KAFKA_BOOTSTRAP_SERVERS", "embedded log", "default"),
        ("SOJOURN_WORKER_NAME", "a new one at each start", "default"),
        ("SOJOURN_METRICS_PORT", "off", "default"),
        ("SOJOURN_EXPORT_DESTINATIONS", "none", "default"),
    ]


@pytest.mark.parametrize("value", ["archive", "archive=exports", "Archive=/srv", "../x=/srv", "a=/srv,a=/mnt", "=/srv"])
def test_a_destination_that_is_no_name_and_absolute_folder_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match="absolute folder, like archive=/srv/exports in SOJOURN_EXPORT_DESTINATIONS"):
        Settings.from_environment({"SOJOURN_EXPORT_DESTINATIONS": value})


@pytest.mark.parametrize("name", ["w 1", "w/1", "w" * 101, "wörker"])
def test_a_worker_name_that_kafka_would_not_take_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"in SOJOURN_WORKER_NAME, not: {re.escape(repr(name))}$"):
        Settings.from_environment({"SOJOURN_WORKER_NAME": name})


@pytest.mark.parametrize(("port", "expected"), [("1", 1), (" 65535 ", 65535), ("", None)])
def test_a_metrics_port_is_a_port_or_off(port: str, expected: int | None) -> None:
    assert Settings.from_environment({"SOJOURN_METRICS_PORT": port}).metrics_port == expected


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http"])
def test_what_is_no_port_is_refused(port: str) -> None:
    with pytest.raises(UsageError, match=f"in SOJOURN_METRICS_PORT, not: '{port}'$"):
        Settings.from_environment({"SOJOURN_METRICS_PORT": port})


def test_settings_that_are_logged_show_no_password() -> None:
    kafka = KafkaSettings("kafka:9092", "SASL_SSL", sasl_mechanism="PLAIN", username="jane", password="s3cret")  # noqa: S106 - of nobody
    settings = Settings(Path("/data"), "postgresql://jane:s3cret@host/db", kafka=kafka)

    for shown in (repr(settings), str(settings), f"{[settings]}", repr(kafka), str(kafka)):
        assert "jane" in shown
        assert "s3cret" not in shown
