"""ID tokens of OpenID Connect, as Google and Apple issue them."""

from collections.abc import Collection
from datetime import datetime

from anonauth.issuers.key_sets import KeySets
from anonauth.issuers.tokens import Claims, ForeignToken


def verify_id_token(
    text: str,
    *,
    issuers: Collection[str],
    client_ids: Collection[str],
    jwks_url: str,
    key_sets: KeySets,
    now: datetime,
) -> Claims:
    """Return the claims of an ID token that was issued for one of our clients.

    The rules are those of OpenID Connect Core §3.1.3.7, without a nonce: the SDKs have
    none to compare with. `azp` names the client that asked for the token. Google's
    Android library sends it beside an `aud` that names the server; both must be ours.

    Args:
        text: The token.
        issuers: All spellings of the issuer's name.
        client_ids: Our client ids at that issuer.
        jwks_url: URL of the issuer's keys.
        key_sets: Fetches and caches those keys.
        now: Aware UTC time of the request.

    Raises:
        BadCredential: The reason begins with `invalid ID token`.
        ProviderUnavailable: The issuer's keys could not be fetched.
    """
    token = ForeignToken(text, kind="ID token")
    if token.unverified_issuer not in issuers:
        raise token.refusal("wrong issuer")
    keys = key_sets.keys(jwks_url, kid=token.kid, algorithm="RS256", now=now)
    claims = token.verify(keys, "RS256")
    claims.check_issuer(issuers)
    claims.check_audience(client_ids)
    party = claims.values.get("azp")
    is_missing = "azp" not in claims.values and len(claims.audience()) > 1
    is_foreign = "azp" in claims.values and party not in tuple(client_ids)
    if is_missing or is_foreign:
        raise token.refusal("wrong authorized party")
    claims.check_times(now)
    return claims
