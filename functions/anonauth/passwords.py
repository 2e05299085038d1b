"""Password hashing with argon2id, and checking imported hashes by bcrypt."""

import base64
import functools
import secrets
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from argon2.low_level import ARGON2_VERSION, Type

MEMORY_COST = 19 * 1024
"""KiB. With `TIME_COST` and one lane, the OWASP Password Storage Cheat Sheet recommends
this for argon2id."""

TIME_COST = 2
"""Passes over the memory."""

_SALT_LENGTH = 16  # bytes; RFC 9106 §3.1 recommends it
_HASH_LENGTH = 32  # bytes
_LONGEST = 4 * 128  # characters; a letter has at most 4 in any form

_BCRYPT = "$2"
_BCRYPT_LENGTH = 72  # bytes that bcrypt reads of a password, as every program did


class Argon2Passwords:
    """`Passwords` with argon2id (RFC 9106).

    A password is hashed as UTF-8 in normalisation form C (Unicode Standard Annex 15),
    because keyboards differ in how they send an accented letter.

    Args:
        memory_cost: KiB; tests use less.
        time_cost: Passes over the memory.
    """

    def __init__(
        self, *, memory_cost: int = MEMORY_COST, time_cost: int = TIME_COST
    ) -> None:
        self._hasher = PasswordHasher(
            time_cost=time_cost,
            memory_cost=memory_cost,
            parallelism=1,
            hash_len=_HASH_LENGTH,
            salt_len=_SALT_LENGTH,
            type=Type.ID,
        )

    def normalise(self, password: str) -> str:
        """Return a password in normalisation form C, in which its length is counted.

        A password that is too long in any form is returned unchanged: normalising
        unordered accents takes time quadratic in their number.
        """
        if len(password) > _LONGEST:
            return password
        return unicodedata.normalize("NFC", password)

    def hash(self, password: str) -> str:
        """Return a password's PHC string, with its own salt."""
        return self._hasher.hash(self.normalise(password))

    def verify(self, password: str, password_hash: str | None) -> bool:
        """Tell whether the hash belongs to the password; None takes the same time.

        A hash by bcrypt comes from an import. It is of the password as it was sent,
        since other programs normalise nothing.

        Raises:
            Exception: The hash was made by another program. The table is damaged, and
                nothing is known about the password.
        """
        if password_hash is not None and password_hash.startswith(_BCRYPT):
            # Here, since no other login needs it.
            import bcrypt  # noqa: PLC0415

            sent = password.encode()[:_BCRYPT_LENGTH]
            return bcrypt.checkpw(sent, password_hash.encode())
        try:
            self._hasher.verify(
                self._nobodys if password_hash is None else password_hash,
                self.normalise(password),
            )
        except VerifyMismatchError:
            return False
        return password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Tell whether the hash was made with parameters other than today's."""
        if password_hash.startswith(_BCRYPT):
            return True
        return self._hasher.check_needs_rehash(password_hash)

    @functools.cached_property
    def _nobodys(self) -> str:
        # Random bytes in place of a hash: making a real hash would take the first
        # unknown user twice the time.
        return (
            f"$argon2id$v={ARGON2_VERSION}"
            f"$m={self._hasher.memory_cost},t={self._hasher.time_cost},p=1"
            f"${_base64(_SALT_LENGTH)}${_base64(_HASH_LENGTH)}"
        )


def _base64(length: int) -> str:
    return base64.b64encode(secrets.token_bytes(length)).rstrip(b"=").decode()
