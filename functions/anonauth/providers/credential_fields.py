"""Reading fields of credentials, and choosing texts for profiles, for all providers."""

from collections.abc import Mapping
from typing import Any

from anonauth.domain.encoding import shown
from anonauth.errors import BadRequest

MAX_LENGTH = 8192
"""Characters of a token; a whole body has 16 KB."""


def credential_field(credential: Mapping[str, Any], name: str) -> str:
    """Return a token that the credential must have.

    Raises:
        BadRequest: It is missing, empty, too long, not ASCII or of another type.
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


def shown_claims(
    claims: Mapping[str, Any], names: Mapping[str, str]
) -> Mapping[str, str]:
    """Return the claims that are strings, under the names that profiles use.

    Args:
        names: From the name in a profile to the name of the claim.
    """
    return {
        name: shown(value)
        for name, claim in names.items()
        if isinstance(value := claims.get(claim), str)
    }
