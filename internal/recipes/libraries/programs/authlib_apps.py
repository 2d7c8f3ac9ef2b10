# Copyright (c) Tailscale Inc & contributors
# SPDX-License-Identifier: BSD-3-Clause

"""Open WebUI and Mealie: Authlib. The argument says which."""

import json
import os
import sys
import time

import requests
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session
from authlib.jose import JsonWebKey, jwt
from authlib.oidc.core import CodeIDToken

SETTINGS = json.loads(os.environ["SETTINGS"])


def get(name):
    (value,) = SETTINGS[name]
    return value


def browse(link):
    print(json.dumps({"browse": link}), flush=True)
    return sys.stdin.readline().strip()


def open_webui():
    scope = get("OAUTH_SCOPES")
    return get("OPENID_PROVIDER_URL"), get("OAUTH_CLIENT_ID"), get("OAUTH_CLIENT_SECRET"), scope, get("OAUTH_CODE_CHALLENGE_METHOD")


def mealie():
    scope = "openid email profile " + get("OIDC_GROUPS_CLAIM")
    return get("OIDC_CONFIGURATION_URL"), get("OIDC_CLIENT_ID"), get("OIDC_CLIENT_SECRET"), scope, "S256"


def main():
    app = {"open-webui": open_webui, "mealie": mealie}[sys.argv[1]]
    document, client_id, secret, scope, pkce = app()
    meta = requests.get(document, timeout=30).json()
    session = OAuth2Session(
        client_id, secret, scope=scope, redirect_uri=os.environ["REDIRECT"], code_challenge_method=pkce,
        token_endpoint_auth_method="client_secret_basic")
    verifier, nonce = generate_token(48), generate_token(20)
    link, state = session.create_authorization_url(meta["authorization_endpoint"], nonce=nonce, code_verifier=verifier)
    token = session.fetch_token(meta["token_endpoint"], authorization_response=browse(link), state=state, code_verifier=verifier)
    keys = JsonWebKey.import_key_set(requests.get(meta["jwks_uri"], timeout=30).json())
    # Both look into the ID token alone.
    claims = jwt.decode(
        token["id_token"], keys, claims_cls=CodeIDToken,
        claims_options={"iss": {"values": [meta["issuer"]]}, "aud": {"value": client_id}},
        claims_params={"nonce": nonce, "client_id": client_id, "access_token": token["access_token"]})
    claims.validate(now=int(time.time()), leeway=5)
    if app is open_webui:
        account, role = claims[get("OAUTH_USERNAME_CLAIM")], get("OAUTH_ADMIN_ROLES") in claims[get("OAUTH_ROLES_CLAIM")]
    else:
        account, role = claims["preferred_username"], get("OIDC_ADMIN_GROUP") in claims[get("OIDC_GROUPS_CLAIM")]
    print(json.dumps({"done": {
        "sub": claims["sub"], "account": account, "email": claims["email"], "name": claims["name"], "role": "admin" if role else "",
        "logout": meta["end_session_endpoint"],
    }}))


main()
