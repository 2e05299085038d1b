"""Fields of credentials, and texts for profiles, for all foreign providers."""

from collections.abc import Mapping
from typing import Any

from anonauth.errors import BadRequest

MAX_LENGTH = 8192
"""Characters of a token; a body has 16 KB in all."""

MAX_SHOWN_LENGTH = 1024
"""Characters of a text in a profile: an item has 400 KB for all of them."""


def credential_field(credential: Mapping[str, Any], name: str) -> str:
    """Return a token of the credential that has to be there.

    Raises:
        BadRequest: It is missing, empty, overlong, not ASCII or of another type.
    """
    value = credential.get(name)
    if (
        not isinstance(value, str)
        or not 0 < len(value) <= MAX_LENGTH
        or not value.isascii()
    ):
        raise BadRequest(
            f"expected '{name}', a string of 1 to {MAX_LENGTH} ASCII characters"
        )
    return value


def shown(text: str) -> str:
    """Return a text as a profile shows it: cut, without NUL and halves of characters.

    JSON can spell lone surrogates, which no store and no client can encode.
    """
    whole = text.replace("\0", "").encode(errors="replace").decode()
    return whole[:MAX_SHOWN_LENGTH]


def shown_claims(
    claims: Mapping[str, Any], names: Mapping[str, str]
) -> Mapping[str, str]:
    """Return those claims that are strings, by the names they have in profiles.

    Args:
        names: From the name in a profile to that of the claim.
    """
    return {
        name: shown(value)
        for name, claim in names.items()
        if isinstance(value := claims.get(claim), str)
    }
