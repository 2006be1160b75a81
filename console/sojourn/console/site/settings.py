"""Under which address the console is reached, and who signs people in for it, read from the environment."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from sojourn.events.errors import UsageError
from sojourn.events.settings import Setting

CONSOLE_ORIGIN: Final = "SOJOURN_CONSOLE_ORIGIN"
OIDC_ISSUER: Final = "SOJOURN_OIDC_ISSUER"
OIDC_CLIENT_ID: Final = "SOJOURN_OIDC_CLIENT_ID"
OIDC_CLIENT_SECRET: Final = "SOJOURN_OIDC_CLIENT_SECRET"  # noqa: S105 - a name
OIDC_CLIENT_SECRET_FILE: Final = "SOJOURN_OIDC_CLIENT_SECRET_FILE"  # noqa: S105 - a name
OIDC_TENANT_CLAIM: Final = "SOJOURN_OIDC_TENANT_CLAIM"
OIDC_ROLES_CLAIM: Final = "SOJOURN_OIDC_ROLES_CLAIM"
TENANT_CLAIM: Final = "sojourn_tenant"
ROLES_CLAIM: Final = "sojourn_roles"

_ORIGIN: Final = re.compile(r"https://[A-Za-z0-9.-]+(:[0-9]{1,5})?")
_ISSUER: Final = re.compile(r"(https://|http://(localhost|127\.0\.0\.1)[:/])[^\s?#]+")


class OidcSettings(Struct, frozen=True):
    """Who signs people in for the console; claims are paths like `resource_access.sojourn.roles`."""

    issuer: str
    client_id: str
    client_secret: str
    tenant_claim: str = TENANT_CLAIM
    roles_claim: str = ROLES_CLAIM

    def __repr__(self) -> str:
        return f"OidcSettings({self.issuer!r}, {self.client_id!r})"


class SiteSettings(Struct, frozen=True):
    """What the environment decides about the console."""

    origin: str | None = None
    oidc: OidcSettings | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "SiteSettings":
        """Read the variables; an empty one counts as not set."""
        return cls(_origin(environ), _oidc(environ))

    @property
    def host(self) -> str | None:
        """The `Host` that browsers send to the origin."""
        return None if self.origin is None else urlsplit(self.origin).netloc

    def describe(self) -> list[Setting]:
        """Return every setting with where it came from."""
        shown = self.origin or "this machine only"
        told = [Setting(CONSOLE_ORIGIN, shown, CONSOLE_ORIGIN if self.origin else "default")]
        if self.oidc is None:
            return [*told, Setting(OIDC_ISSUER, "nobody: accounts with passwords", "default")]
        values = {
            OIDC_ISSUER: self.oidc.issuer,
            OIDC_CLIENT_ID: self.oidc.client_id,
            OIDC_CLIENT_SECRET: "***",
            OIDC_TENANT_CLAIM: self.oidc.tenant_claim,
            OIDC_ROLES_CLAIM: self.oidc.roles_claim,
        }
        return [*told, *(Setting(name, value, name) for name, value in values.items())]


def _origin(environ: Mapping[str, str]) -> str | None:
    text = environ.get(CONSOLE_ORIGIN, "").strip()
    if not text:
        return None
    if not _ORIGIN.fullmatch(text):
        raise UsageError(
            f"browsers reach the console as https://host or https://host:port, nothing behind it, in {CONSOLE_ORIGIN},"
            f" not: {text!r}"
        )
    return text.lower()


def _oidc(environ: Mapping[str, str]) -> OidcSettings | None:
    issuer, client_id = (environ.get(name, "").strip() for name in (OIDC_ISSUER, OIDC_CLIENT_ID))
    if not issuer:
        return None
    if not _ISSUER.fullmatch(issuer):
        raise UsageError(f"the issuer is a URL that begins with https://, in {OIDC_ISSUER}, not: {issuer!r}")
    if not client_id:
        raise UsageError(f"who names an issuer also names the client that the console is there, in {OIDC_CLIENT_ID}")
    claims = [
        environ.get(name, "").strip() or default
        for name, default in ((OIDC_TENANT_CLAIM, TENANT_CLAIM), (OIDC_ROLES_CLAIM, ROLES_CLAIM))
    ]
    return OidcSettings(issuer, client_id, _secret(environ), *claims)


def _secret(environ: Mapping[str, str]) -> str:
    secret, file = environ.get(OIDC_CLIENT_SECRET, "").strip(), environ.get(OIDC_CLIENT_SECRET_FILE, "").strip()
    if bool(secret) == bool(file):
        raise UsageError(f"the client's secret is in one of {OIDC_CLIENT_SECRET} and {OIDC_CLIENT_SECRET_FILE}")
    if secret:
        return secret
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the file named in {OIDC_CLIENT_SECRET_FILE}: {file}") from error
