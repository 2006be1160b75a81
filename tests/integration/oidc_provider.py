"""A provider of OpenID Connect: discovery, keys, the page to sign in on and tokens, and how each of them may lie."""

import asyncio
import json
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from hmac import new as hmac
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from authlib.oauth2.rfc7636 import create_s256_code_challenge  # type: ignore[import-untyped]
from joserfc import jwt
from joserfc.jwk import RSAKey
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from sojourn.console.health import Server, listen, server
from tests.integration.command import free_port

CLIENT_ID: Final = "console"
CLIENT_SECRET: Final = "s3cret: of the client"  # noqa: S105 - of nobody
ADA: Final = {
    "sub": "17",
    "preferred_username": "ada",
    "name": "Ada Byron",
    "sojourn_tenant": "acme",
    "sojourn_roles": ["operator", "something else"],
}


class OidcProvider:
    """Signs in whoever `claims` says, and puts `lies` over what its token would hold."""

    def __init__(self, port: int) -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self.published_issuer = self.issuer
        self.key = RSAKey.generate_key(2048, {"kid": "one"})
        self.signing = self.key
        self.algorithm = "RS256"
        self.claims: dict[str, Any] = dict(ADA)
        self.lies: dict[str, Any] = {}
        self.logged_in_at = time.time()
        self._codes: dict[str, dict[str, str]] = {}

    def authorize(self, where: str) -> dict[str, str]:
        """Sign in on the page that a browser was sent to; return the query that it is sent back with."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(where).query).items()}
        assert asked["client_id"] == CLIENT_ID
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        if asked.get("prompt") == "login" and asked.get("max_age") == "0":
            self.logged_in_at = time.time()
        code = sha256(where.encode()).hexdigest()
        self._codes[code] = asked
        return {"code": code, "state": asked["state"], "iss": self.issuer}

    def token(self, form: dict[str, str], authorization: str) -> dict[str, Any] | None:
        """Return the token for a code, once; None for a code, client or verifier that is not good."""
        asked = self._codes.pop(form["code"], None)
        pair = b64decode(authorization.removeprefix("Basic ")).decode()
        if asked is None or pair != f"{CLIENT_ID}:s3cret%3A%20of%20the%20client":
            return None
        if create_s256_code_challenge(form["code_verifier"]) != asked["code_challenge"]:
            return None
        if form["redirect_uri"] != asked["redirect_uri"] or form["grant_type"] != "authorization_code":
            return None
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            "auth_time": int(self.logged_in_at),
            **self.claims,
            **self.lies,
        }
        told = {name: value for name, value in claims.items() if value is not None}
        token = self.sign({"alg": self.algorithm, "kid": "one"}, told)
        return {"access_token": "a", "token_type": "Bearer", "id_token": token}

    def sign(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        """Return the token, signed as `algorithm` says: with the key, with its public half, or not at all."""
        if self.algorithm == "RS256":
            return jwt.encode({**header, "kid": self.signing.kid}, claims, self.signing)
        text = b".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims))
        mark = hmac(self.key.as_pem(private=False), text, "sha256").digest() if self.algorithm == "HS256" else b""
        return (text + b"." + urlsafe_b64encode(mark).rstrip(b"=")).decode()

    def handlers(self) -> list[HTTPRouteHandler]:
        """Return what it answers over HTTP."""

        @get("/.well-known/openid-configuration")
        async def discovery() -> dict[str, Any]:
            return {
                "issuer": self.published_issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
            }

        @get("/keys")
        async def keys() -> dict[str, Any]:
            return {"keys": [self.key.as_dict(private=False)]}

        @post("/token", status_code=200)
        async def token(request: Request) -> Response[Any]:  # type: ignore[type-arg]
            form = {name: str(value) for name, value in (await request.form()).items()}
            told = self.token(form, request.headers.get("authorization", ""))
            return Response({"error": "invalid_grant"}, status_code=400) if told is None else Response(told)

        return [discovery, keys, token]


@asynccontextmanager
async def running_provider() -> AsyncIterator[OidcProvider]:
    """Serve a provider until the block ends."""
    port = free_port()
    provider = OidcProvider(port)
    with listen(port) as listener:
        serving: Server = server(provider.handlers())
        task = asyncio.create_task(serving.serve(sockets=[listener]))
        while not serving.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield provider
        serving.should_exit = True
        await task


def callback(answer: httpx.Response, provider: OidcProvider, **changes: str) -> str:
    """Return the path that the provider sends a browser back to after `answer` sent it there."""
    query = {**provider.authorize(answer.headers["location"]), **changes}
    return "/sign-in/oidc/callback?" + urlencode(query)
