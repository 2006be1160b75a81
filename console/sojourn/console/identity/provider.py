"""Another service that signs people in: OpenID Connect's code flow, with PKCE."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import httpx
from authlib.integrations.base_client.async_openid import AsyncOpenIDMixin  # type: ignore[import-untyped]
from authlib.oauth2.rfc7636 import create_s256_code_challenge  # type: ignore[import-untyped]
from authlib.oidc.core import CodeIDToken  # type: ignore[import-untyped]

from sojourn.console.site.settings import OidcSettings
from sojourn.events.errors import SojournError

ANSWER_SECONDS_MAX: Final = 10.0  # somebody waits for the page
SKEW_SECONDS: Final = 60  # by which two machines that keep time may differ
ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")  # none that one signs with what the client knows, and not none


class ProviderFailed(SojournError):
    """the service that signs people in did not say who this is"""


class Flow(NamedTuple):
    """What one attempt is known by: to the browser, to the provider, and in the token that comes back."""

    state: str
    nonce: str
    verifier: str
    redirect_uri: str


class Provider(AsyncOpenIDMixin):  # type: ignore[misc]
    """The provider that the settings name; what it publishes about itself is kept once it was read."""

    def __init__(self, settings: OidcSettings) -> None:
        self.client_id = settings.client_id
        self.server_metadata: dict[str, Any] = {}
        self._settings = settings

    async def where(self, flow: Flow, *, again: bool) -> str:
        """Return where a browser goes to sign in; `again` asks for the password even if it just did."""
        metadata = await self.load_server_metadata()
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": flow.redirect_uri,
            "scope": "openid profile email",
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": create_s256_code_challenge(flow.verifier),
            "code_challenge_method": "S256",
            **({"prompt": "login", "max_age": "0"} if again else {}),
        }
        endpoint: str = metadata["authorization_endpoint"]
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def claims(self, flow: Flow, code: str) -> Mapping[str, Any]:
        """Return what the provider says of who came back with this code; raises `ProviderFailed`."""
        metadata = await self.load_server_metadata()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": flow.redirect_uri,
            "code_verifier": flow.verifier,
        }
        headers = {}
        if "client_secret_basic" in metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"]):
            pair = f"{quote(self.client_id, safe='')}:{quote(self._settings.client_secret, safe='')}"
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": self.client_id, "client_secret": self._settings.client_secret}
        token = await self._ask("POST", metadata["token_endpoint"], data=form, headers=headers)
        if not isinstance(token.get("id_token"), str):
            raise ProviderFailed("it sent no token that says who this is")
        essential = {"iss": self._settings.issuer, "aud": self.client_id}
        options = {name: {"essential": True, "value": value} for name, value in essential.items()}
        try:
            claims = await self.parse_id_token(token, flow.nonce, options, CodeIDToken, SKEW_SECONDS)
        except Exception as error:  # whatever is wrong with it, it says nothing of who this is
            raise ProviderFailed("its token is not good") from error
        found: Mapping[str, Any] = claims
        return found

    async def load_server_metadata(self) -> dict[str, Any]:
        """Return what the provider publishes about itself; raises `ProviderFailed`."""
        if not self.server_metadata:
            issuer = self._settings.issuer
            found = await self._ask("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
            if found.get("issuer") != issuer:
                raise ProviderFailed("what it publishes about itself is of another issuer")
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                if urlsplit(str(found.get(name))).scheme not in {"https", urlsplit(issuer).scheme}:
                    raise ProviderFailed(f"it publishes no {name} that is safe")
            offered = found.get("id_token_signing_alg_values_supported") or ["RS256"]
            found["id_token_signing_alg_values_supported"] = [name for name in ALGORITHMS if name in offered]
            self.server_metadata = found
        return self.server_metadata

    async def fetch_jwk_set(self, force: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 - as Authlib calls it
        """Return the provider's keys, read again where a token names one that is not known."""
        if force or "jwks" not in self.server_metadata:
            self.server_metadata["jwks"] = await self._ask("GET", self.server_metadata["jwks_uri"])
        keys: dict[str, Any] = self.server_metadata["jwks"]
        return keys

    async def _ask(self, method: str, url: str, **more: Any) -> dict[str, Any]:
        try:
            async with httpx.AsyncClient(timeout=ANSWER_SECONDS_MAX) as client:
                answer = await client.request(method, url, **more)
                answer.raise_for_status()
                document = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise ProviderFailed("it does not answer, or refused") from error
        if not isinstance(document, dict):
            raise ProviderFailed("it answers with no document")
        return document
