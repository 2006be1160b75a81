"""Sojourn on a Kafka that demands TLS and a sign-in: real certificates, real passwords, and each of them wrong once."""

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from sojourn.events.errors import SojournError
from sojourn.events.kafka.brokers import Refused
from sojourn.events.kafka.log import KafkaLog
from sojourn.events.kafka.settings import SASL_MECHANISMS, KafkaSettings
from sojourn.events.kafka.topics import create_topics
from sojourn.events.log import Append
from sojourn.events.topics import LIFECYCLE
from tests.kafka_server import KafkaServer, demand_kafka, free_ports

pytestmark = pytest.mark.xdist_group("kafka-log")

PASSWORD: Final = "s3cret"  # noqa: S105 - of a broker that lives for seconds
ANSWER_SECONDS_MAX: Final = 30  # of an administrative request; it takes one
PLAIN_LOGIN: Final = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_jane="{PASSWORD}";'
SCRAM_LOGIN: Final = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def make_certificates(folder: Path) -> None:
    """Make an authority (ca), and by it the certificates of the server and of a client; also a stranger's authority."""
    for name in ("ca", "stranger"):
        subject = ["-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
        openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject)
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("server", "client"):
        request = ["-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr"]
        openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", *request)
        authority = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names"]
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-days", "2", *authority, "-out", f"{name}.pem")
    (folder / "server.both").write_bytes((folder / "server.key").read_bytes() + (folder / "server.pem").read_bytes())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[dict[str, str]]:
    """Run a broker that listens in every protocol; return where."""
    demand_kafka()
    names = ("SSL", "SASL_PLAINTEXT", "SASL_SSL")
    logins = {"plain": PLAIN_LOGIN, "scram-sha-256": SCRAM_LOGIN, "scram-sha-512": SCRAM_LOGIN}
    server = KafkaServer(
        tmp_path_factory.mktemp("kafka-security"),
        "ssl.keystore.type=PEM",
        f"ssl.keystore.location={certificates / 'server.both'}",
        "ssl.truststore.type=PEM",
        f"ssl.truststore.location={certificates / 'ca.pem'}",
        "listener.name.ssl.ssl.client.auth=required",
        f"sasl.enabled.mechanisms={','.join(SASL_MECHANISMS)}",
        *(
            f"listener.name.{name.lower()}.{mechanism}.sasl.jaas.config={login}"
            for name in names[1:]
            for mechanism, login in logins.items()
        ),
    )
    found = {name: f"127.0.0.1:{free_ports()}" for name in names}
    server.listen_too(*(f"{name}://{place}" for name, place in found.items()))
    try:
        server.start()
        asyncio.run(create_topics(KafkaSettings(server.bootstrap_servers)))
        add_scram_user(server.bootstrap_servers)
        asyncio.run(signed_in(found["SASL_PLAINTEXT"]))
        yield found
    finally:
        server.stop()
        shutil.rmtree(server.folder / "records", ignore_errors=True)


def add_scram_user(bootstrap_servers: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
        user = UserScramCredentialUpsertion("jane", ScramCredentialInfo(mechanism, 4096), PASSWORD.encode())
        (future,) = admin.alter_user_scram_credentials([user]).values()
        future.result(ANSWER_SECONDS_MAX)


async def signed_in(place: str) -> None:
    """Wait until the broker knows the user, which it does a moment after it has said so."""
    for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
        settings = KafkaSettings(place, "SASL_PLAINTEXT", None, None, None, mechanism, "jane", PASSWORD)
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            while True:
                with contextlib.suppress(Refused):
                    await append_and_read(settings)
                    break


async def append_and_read(settings: KafkaSettings) -> None:
    log = KafkaLog(settings)
    try:
        (offset,) = await log.append([Append(LIFECYCLE, 0, None, b"x")])
        assert [record.value for record in (await log.read(LIFECYCLE, 0, offset)).records] == [b"x"]
    finally:
        await log.close()


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.parametrize("mechanism", SASL_MECHANISMS)
async def test_a_sign_in_is_enough_to_append_and_read(
    places: dict[str, str], certificates: Path, protocol: str, mechanism: str
) -> None:
    ca_file = certificates / "ca.pem" if protocol == "SASL_SSL" else None

    await append_and_read(KafkaSettings(places[protocol], protocol, ca_file, None, None, mechanism, "jane", PASSWORD))


async def test_a_certificate_is_enough_where_the_broker_demands_one(places: dict[str, str], certificates: Path) -> None:
    await append_and_read(
        KafkaSettings(
            places["SSL"], "SSL", certificates / "ca.pem", certificates / "client.pem", certificates / "client.key"
        )
    )


@pytest.mark.parametrize("mechanism", SASL_MECHANISMS)
async def test_a_wrong_password_is_an_error_at_once_that_does_not_show_it(
    places: dict[str, str], mechanism: str
) -> None:
    wrong = "wr0ng"
    settings = KafkaSettings(places["SASL_PLAINTEXT"], "SASL_PLAINTEXT", None, None, None, mechanism, "jane", wrong)

    with pytest.raises(Refused, match=r"^Kafka refuses the sign-in \([^\n]*check SOJOURN_KAFKA_USERNAME") as raised:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            await append_and_read(settings)

    assert wrong not in str(raised.value)


async def test_a_server_that_nobody_vouches_for_is_not_trusted(places: dict[str, str], certificates: Path) -> None:
    stranger = certificates / "stranger.pem"
    settings = KafkaSettings(places["SASL_SSL"], "SASL_SSL", stranger, None, None, "PLAIN", "jane", PASSWORD)

    with pytest.raises(
        Refused, match=r"^no secure connection to Kafka \([^\n]*verify[^\n]*check SOJOURN_KAFKA_CA_FILE"
    ):
        await append_and_read(settings)


async def test_a_server_under_another_name_is_not_trusted(places: dict[str, str], certificates: Path) -> None:
    elsewhere = places["SASL_SSL"].replace("127.0.0.1", "localhost")
    settings = KafkaSettings(elsewhere, "SASL_SSL", certificates / "ca.pem", None, None, "PLAIN", "jane", PASSWORD)

    with pytest.raises(Refused, match=r"^no secure connection to Kafka \([^\n]*localhost[^\n]*: localhost:\d+$"):
        await append_and_read(settings)


async def test_without_the_certificate_that_is_demanded_there_is_no_connection(
    places: dict[str, str], certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sojourn.events.kafka.brokers.AWAY_SECONDS_MAX", 2.0)

    with pytest.raises(SojournError, match=r"^[^\n]*Kafka[^\n]*$"):
        await append_and_read(KafkaSettings(places["SSL"], "SSL", certificates / "ca.pem"))
