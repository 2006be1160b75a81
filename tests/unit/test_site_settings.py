"""The console's settings: what the environment may say, and that no secret of it is shown."""

from pathlib import Path

import pytest

from sojourn.console.site.settings import OidcSettings, SiteSettings
from sojourn.events.errors import UsageError

OIDC = {
    "SOJOURN_OIDC_ISSUER": "https://login.example.com/realms/staff",
    "SOJOURN_OIDC_CLIENT_ID": "sojourn",
    "SOJOURN_OIDC_CLIENT_SECRET": "s3cret",
}


def test_nothing_set_means_this_machine_and_passwords() -> None:
    settings = SiteSettings.from_environment({"SOJOURN_CONSOLE_ORIGIN": " ", "SOJOURN_OIDC_ISSUER": ""})

    assert settings == SiteSettings()
    assert settings.host is None


def test_an_origin_is_kept_as_browsers_send_it() -> None:
    settings = SiteSettings.from_environment({"SOJOURN_CONSOLE_ORIGIN": "https://Sojourn.example.com:8443"})

    assert (settings.origin, settings.host) == ("https://sojourn.example.com:8443", "sojourn.example.com:8443")


@pytest.mark.parametrize(
    "origin",
    [
        "http://sojourn.example.com",
        "https://a/",
        "https://a/b",
        "sojourn.example.com",
        "https://u@a",
        "https://a b",
        "*",
    ],
)
def test_what_is_no_origin_over_tls_is_refused(origin: str) -> None:
    with pytest.raises(UsageError, match="SOJOURN_CONSOLE_ORIGIN"):
        SiteSettings.from_environment({"SOJOURN_CONSOLE_ORIGIN": origin})


def test_a_provider_is_known_by_issuer_client_and_secret() -> None:
    settings = SiteSettings.from_environment({**OIDC, "SOJOURN_OIDC_ROLES_CLAIM": "resource_access.sojourn.roles"})

    expected = OidcSettings(
        "https://login.example.com/realms/staff", "sojourn", "s3cret", roles_claim="resource_access.sojourn.roles"
    )
    assert settings.oidc == expected
    assert "s3cret" not in repr(settings) + str(settings.describe())


def test_the_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    environ = {**OIDC, "SOJOURN_OIDC_CLIENT_SECRET": "", "SOJOURN_OIDC_CLIENT_SECRET_FILE": str(tmp_path / "secret")}

    settings = SiteSettings.from_environment(environ)

    assert settings.oidc is not None
    assert settings.oidc.client_secret == "s3cret"  # noqa: S105 - of nobody


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"SOJOURN_OIDC_ISSUER": "http://login.example.com"}, "SOJOURN_OIDC_ISSUER"),
        ({"SOJOURN_OIDC_ISSUER": "login.example.com"}, "SOJOURN_OIDC_ISSUER"),
        ({"SOJOURN_OIDC_ISSUER": "http://localhost.evil.example"}, "SOJOURN_OIDC_ISSUER"),
        ({"SOJOURN_OIDC_CLIENT_ID": ""}, "SOJOURN_OIDC_CLIENT_ID"),
        ({"SOJOURN_OIDC_CLIENT_SECRET": ""}, "SOJOURN_OIDC_CLIENT_SECRET"),
        ({"SOJOURN_OIDC_CLIENT_SECRET_FILE": "/x"}, "SOJOURN_OIDC_CLIENT_SECRET"),
        (
            {"SOJOURN_OIDC_CLIENT_SECRET": "", "SOJOURN_OIDC_CLIENT_SECRET_FILE": "/nowhere"},
            "SOJOURN_OIDC_CLIENT_SECRET_FILE: /nowhere",
        ),
    ],
)
def test_a_provider_that_is_half_named_is_refused_without_its_secret(changes: dict[str, str], named: str) -> None:
    with pytest.raises(UsageError, match=named) as caught:
        SiteSettings.from_environment({**OIDC, **changes})

    assert "s3cret" not in str(caught.value)
