"""deploy/: what Docker and systemd would refuse, and what they would take although it is wrong."""

import json
import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path
from typing import Any, Final, cast

import pytest
import yaml
from jsonschema import Draft202012Validator
from litestar import Litestar

from sojourn.console import up, worker
from sojourn.console.metrics import metrics_server
from sojourn.console.site import settings as site_settings
from sojourn.consumers.measures import Measures
from sojourn.events import settings
from sojourn.events.kafka import settings as kafka_settings
from tests.unit.tree import ROOT

DEPLOY: Final = ROOT / "deploy"
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: Final[dict[str, Any]] = COMPOSE["services"]
SPECIFICATION: Final = Draft202012Validator(json.loads(Path(__file__).with_name("compose_spec.json").read_text()))
UNITS: Final = ["sojourn-up.service", "sojourn-console.service", "sojourn-worker@.service"]
SETTINGS: Final = {
    value
    for module in (settings, kafka_settings, site_settings)
    for value in vars(module).values()
    if isinstance(value, str) and value.startswith("SOJOURN_")
}
GRACE_SECONDS: Final = max(
    value for module in (up, worker) for name, value in vars(module).items() if name.endswith("SECONDS_MAX")
)
EXPOSURE_MAX: Final = 25  # of 100, by systemd's own count; a unit without any hardening has 96


def unit(name: str) -> ConfigParser:
    parser = ConfigParser(strict=False, interpolation=None, delimiters=["="], comment_prefixes=["#"])
    parser.optionxform = str  # type: ignore[assignment, method-assign] # the documented way to keep capitals
    parser.read_string((DEPLOY / "systemd" / name).read_text())
    return parser


def test_the_compose_file_follows_the_compose_specification() -> None:
    errors = [f"{error.json_path}: {error.message}" for error in SPECIFICATION.iter_errors(COMPOSE)]

    assert errors == []


@pytest.mark.parametrize(
    ("service", "wrong"),
    [
        ("kafka", {"restarts": "always"}),
        ("worker", {"deploy": {"replica": 2}}),
        ("worker", {"depends_on": {"setup": {"condition": "service_complete"}}}),
        ("postgres", {"healthcheck": {"tests": ["CMD", "true"]}}),
    ],
)
def test_a_slip_in_the_compose_file_is_found_by_the_specification(service: str, wrong: dict[str, Any]) -> None:
    slipped = {**COMPOSE, "services": {**SERVICES, service: {**SERVICES[service], **wrong}}}

    assert not SPECIFICATION.is_valid(slipped)


def test_what_a_service_waits_for_and_where_it_writes_is_there() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            awaited = SERVICES[other]
            if how["condition"] == "service_healthy":
                assert "healthcheck" in awaited, f"{name} would wait for ever for: {other}"
            else:
                assert awaited["restart"] == "no", f"{name} would wait for ever for: {other}"
        volumes = {volume.split(":")[0] for volume in service.get("volumes", [])}
        assert volumes <= set(COMPOSE["volumes"]), name


def test_every_service_says_what_becomes_of_it_when_it_ends_and_whether_it_is_well() -> None:
    for name, service in SERVICES.items():
        assert service["restart"] in {"no", "unless-stopped"}, name
        assert ("healthcheck" in service) == (service["restart"] != "no"), name


def test_two_workers_start_and_nothing_is_published_but_on_loopback() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert SERVICES["worker"]["deploy"]["replicas"] == 2
    assert "ports" not in SERVICES["worker"], "two workers cannot have the same port of this machine"
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports), ports


def test_a_worker_s_container_has_time_to_stop_and_is_asked_for_its_health_where_it_answers() -> None:
    worker_service = SERVICES["worker"]
    port = worker_service["environment"]["SOJOURN_METRICS_PORT"]

    asked = re.search(r"http://127\.0\.0\.1:(\d+)(/[a-z/]+)", worker_service["healthcheck"]["test"][-1])
    answered = {route.path for route in cast("Litestar", metrics_server(Measures(), "0").config.app).routes}

    assert asked is not None
    assert int(asked[1]) == port
    assert asked[2] in answered
    assert float(worker_service["stop_grace_period"].removesuffix("s")) >= 2 * GRACE_SECONDS


def test_no_password_stands_in_the_compose_file() -> None:
    passwords = [
        str(value)
        for service in SERVICES.values()
        for name, value in service.get("environment", {}).items()
        if "PASSWORD" in name
    ]

    assert passwords
    assert all(re.fullmatch(r"\$\{POSTGRES_PASSWORD:\?[^}]+\}", password) for password in passwords)


def test_the_compose_file_runs_the_kafka_that_the_tests_run() -> None:
    pom = (DEPLOY / "kafka" / "pom.xml").read_text()
    tested = re.search(r"<artifactId>kafka_2.13</artifactId>\s*<version>([\d.]+)</version>", pom)

    assert tested is not None
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{tested[1]}"


def test_the_image_is_made_of_what_the_wheel_needs_and_runs_as_nobody_special() -> None:
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    dockerfile = (DEPLOY / "Dockerfile").read_text()

    taken = {line[1:] for line in ignore if line.startswith("!")}
    included = re.findall(r'"(\w+)/sojourn"', (ROOT / "pyproject.toml").read_text())

    assert taken == {*included, "pyproject.toml", "requirements.lock", "README.md", "LICENSE"}
    assert all((ROOT / name).exists() for name in taken)
    assert int(re.findall(r"^USER (\d+)$", dockerfile, re.MULTILINE)[-1]) > 0
    assert (ROOT / SERVICES["worker"]["build"]["dockerfile"]).is_file()


def test_the_example_of_an_environment_file_names_every_setting_and_no_other() -> None:
    lines = (DEPLOY / "sojourn.environment.example").read_text().splitlines()

    named = [match[1] for line in lines if (match := re.match(r"#?(SOJOURN_[A-Z_]+)=", line))]

    assert sorted(named) == sorted(SETTINGS)


@pytest.mark.parametrize("path", ["compose.yaml", "Dockerfile", *(f"systemd/{name}" for name in UNITS)])
def test_deploy_sets_only_variables_that_sojourn_reads(path: str) -> None:
    named = set(re.findall(r"\bSOJOURN_[A-Z_]+\b", (DEPLOY / path).read_text()))

    assert named
    assert named <= SETTINGS


def test_what_to_watch_names_metrics_that_a_worker_has() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text().partition("## What to watch")[2]

    named = {name.removesuffix("_total") for name in re.findall(r"`(sojourn_[a-z_]+)`", page)}
    known = {metric.name for metric in Measures().registry.collect()}

    assert named
    assert named <= known


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_ends_as_sojourn_ends_and_starts_again_when_it_fails(name: str) -> None:
    service = unit(name)["Service"]

    assert service["KillSignal"] == "SIGTERM"
    assert float(service["TimeoutStopSec"]) >= 2 * GRACE_SECONDS
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"] == "2"
    assert service["EnvironmentFile"].lstrip("-").startswith("/etc/sojourn/environment")


def test_workers_of_one_machine_get_different_names() -> None:
    unit_text = (DEPLOY / "systemd" / "sojourn-worker@.service").read_text()

    name = re.search(r"^Environment=SOJOURN_WORKER_NAME=(.*)$", unit_text, re.MULTILINE)

    assert name is not None
    assert "%i" in name[1], "systemd puts the name of the instance there"
    assert "%H" in name[1], "systemd puts the name of the machine there"


@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_a_unit_and_finds_it_hardened(name: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        assert unit(name).sections() == ["Unit", "Service", "Install"]
        return
    copy = tmp_path / name  # it wants the program to be there
    copy.write_text((DEPLOY / "systemd" / name).read_text().replace("/opt/sojourn/bin/sojourn", "/bin/true"))

    verified = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    exposed = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (verified.returncode, verified.stderr) == (0, "")
    assert exposed.returncode == 0, exposed.stdout
