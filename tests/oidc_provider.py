"""An OpenID Connect provider for the real Panoramax: Authlib's, which comes with the server, with one client.

    python tests/oidc_provider.py PORT CLIENT SECRET    in the server's own venv, on loopback

People log in with the one name and password of ``NAME`` and ``PASSWORD``. All is kept in memory.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from dataclasses import dataclass

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, grants
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import AuthorizationCodeMixin, UserInfo
from authlib.oidc.core.grants import OpenIDCode
from flask import Flask, jsonify, request
from joserfc.jwk import KeySet, RSAKey

NAME, PASSWORD = "rasoa", "fitiavana"
PAGE = '<form method="post"><input name="name"><input name="password" type="password"><button>Hiditra</button></form>'


@dataclass
class User:
    id: str

    def get_user_id(self):
        return self.id


@dataclass
class Client(ClientMixin):
    id: str
    secret: str
    id_token_signed_response_alg = "RS256"

    def get_client_id(self):
        return self.id

    def get_default_redirect_uri(self):
        return None

    def get_allowed_scope(self, scope):
        return " ".join(one for one in scope.split() if one in {"openid", "profile", "email"})

    def check_redirect_uri(self, redirect_uri):
        return redirect_uri.startswith("http://127.0.0.1:")

    def check_client_secret(self, client_secret):
        return secrets.compare_digest(client_secret, self.secret)

    def check_endpoint_auth_method(self, method, endpoint):
        return method in {"client_secret_basic", "client_secret_post"}

    def check_response_type(self, response_type):
        return response_type == "code"

    def check_grant_type(self, grant_type):
        return grant_type == "authorization_code"


@dataclass
class Code(AuthorizationCodeMixin):
    code: str
    user: User
    redirect_uri: str
    scope: str
    nonce: str | None
    code_challenge: str | None
    code_challenge_method: str | None

    def get_redirect_uri(self):
        return self.redirect_uri

    def get_scope(self):
        return self.scope

    def get_nonce(self):
        return self.nonce

    def get_auth_time(self):
        return int(time.time())


codes: dict[str, Code] = {}


class CodeGrant(grants.AuthorizationCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]  # noqa: RUF012  (Authlib's name)

    def save_authorization_code(self, code, request):
        asked = request.payload.data
        codes[code] = Code(
            code, request.user, request.payload.redirect_uri, request.payload.scope, asked.get("nonce"),
            asked.get("code_challenge"), asked.get("code_challenge_method"),
        )  # fmt: skip

    def query_authorization_code(self, code, client):
        return codes.get(code)

    def delete_authorization_code(self, authorization_code):
        del codes[authorization_code.code]

    def authenticate_user(self, authorization_code):
        return authorization_code.user


def provider(issuer: str, client: Client) -> Flask:
    """The provider as a web application."""
    app = Flask("provider")
    key = RSAKey.generate_key(2048, parameters={"kid": "one", "use": "sig", "alg": "RS256"})
    server = AuthorizationServer(
        app, query_client=lambda id_: client if id_ == client.id else None, save_token=lambda _token, _request: None
    )

    class IdToken(OpenIDCode):
        def exists_nonce(self, nonce, request):
            return any(one.nonce == nonce for one in codes.values())

        def resolve_client_private_key(self, client):
            return key

        def get_encode_header(self, client):
            return {"alg": "RS256", "kid": "one"}

        def get_client_claims(self, client):
            return {"iss": issuer, "aud": [client.get_client_id()]}

        def generate_user_info(self, user, scope):
            return UserInfo(sub=user.id, preferred_username=user.id)

    server.register_grant(CodeGrant, [IdToken(), CodeChallenge(required=True)])

    @app.get("/.well-known/openid-configuration")
    def about():
        return jsonify(
            issuer=issuer,
            authorization_endpoint=f"{issuer}/authorize",
            token_endpoint=f"{issuer}/token",
            jwks_uri=f"{issuer}/keys",
            response_types_supported=["code"],
            subject_types_supported=["public"],
            id_token_signing_alg_values_supported=["RS256"],
            code_challenge_methods_supported=["S256"],
        )

    @app.get("/keys")
    def keys():
        return jsonify(KeySet([key]).as_dict(private=False))

    @app.route("/authorize", methods=["GET", "POST"])
    def authorize():
        if request.method == "GET":
            return PAGE
        user = User(NAME) if (request.form["name"], request.form["password"]) == (NAME, PASSWORD) else None
        grant = server.get_consent_grant(end_user=user)
        return server.create_authorization_response(grant=grant, grant_user=user)

    @app.post("/token")
    def token():
        return server.create_token_response()

    return app


if __name__ == "__main__":
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # loopback, without TLS
    port, *known = sys.argv[1:]
    provider(f"http://127.0.0.1:{port}", Client(*known)).run("127.0.0.1", int(port))
