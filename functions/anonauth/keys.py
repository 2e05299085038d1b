"""The key ring: making keys, keeping them wrapped, and a copy that is never stale.

With `tokens` the only module that sees keys in clear. Each is wrapped by KMS under an
encryption context, so that the policy of a function decides which of them it can
unwrap; that happens once per key and cold start, never per request (design §5).
"""

import base64
import functools
import hashlib
import hmac
import ipaddress
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from anonauth.domain import KeyUse, Ring, RingKey
from anonauth.errors import KeysUnavailable, StoreUnavailable
from anonauth.ports import KeyWrapping, RingStore

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

RING_MAX_AGE = timedelta(minutes=5)
"""No function signs or verifies by an older copy, so a revoked key dies that soon."""

# A key that a copy does not have may be younger than the copy; so many forged ids cost
# one read of the ring in this time.
_MISSING_KEY_PAUSE = timedelta(minutes=1)

# After a failed reload the old ring goes on (an outage must not log anyone out), and
# the next attempt waits this long, so that not every request pays for a time-out.
_RELOAD_PAUSE = timedelta(seconds=10)


class KmsWrapping:
    """`KeyWrapping` by AWS KMS.

    Args:
        connect: Makes the client, on first use: not every function unwraps a key.
        key_id: Of the wrapping key: id, ARN or alias.
    """

    def __init__(self, connect: "Callable[[], KMSClient]", key_id: str) -> None:
        self._connect = connect
        self._key_id = key_id

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        """Encrypt a key; see `KeyWrapping`."""
        try:
            answer = self._client.encrypt(
                KeyId=self._key_id, Plaintext=key, EncryptionContext=context
            )
        except (BotoCoreError, ClientError) as exc:
            raise KeysUnavailable from exc
        return answer["CiphertextBlob"]

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Decrypt a key; see `KeyWrapping`."""
        try:
            answer = self._client.decrypt(
                KeyId=self._key_id, CiphertextBlob=wrapped, EncryptionContext=context
            )
        except (BotoCoreError, ClientError) as exc:
            raise KeysUnavailable from exc
        return answer["Plaintext"]

    @functools.cached_property
    def _client(self) -> "KMSClient":
        return self._connect()


class KeyMaker:
    """Makes keys of the ring, wrapped as soon as they exist."""

    def __init__(self, wrapping: KeyWrapping) -> None:
        self._wrapping = wrapping

    def make_access_key(
        self, *, published_at: datetime, signs_from: datetime, stops_at: datetime
    ) -> RingKey:
        """Make an RSA-2048 key: an HTTP API's JWT authorizer accepts nothing else."""
        private = generate_private_key(public_exponent=65537, key_size=2048)
        public = private.public_key()
        kid = _thumbprint(public)
        return RingKey(
            kid=kid,
            use="access",
            wrapped=self._wrapping.wrap(
                private.private_bytes(
                    Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
                ),
                _context("access", kid),
            ),
            public=public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            published_at=published_at,
            signs_from=signs_from,
            stops_at=stops_at,
        )

    def make_refresh_key(
        self, *, published_at: datetime, signs_from: datetime
    ) -> RingKey:
        """Make a 256-bit HMAC key for refresh tokens, which is in no JWK Set."""
        kid = secrets.token_hex(16)
        key = secrets.token_bytes(32)
        return RingKey(
            kid=kid,
            use="refresh",
            wrapped=self._wrapping.wrap(key, _context("refresh", kid)),
            public=None,
            published_at=published_at,
            signs_from=signs_from,
            stops_at=None,
        )


@dataclass(frozen=True, slots=True)
class _Copy:
    ring: Ring
    asked_at: datetime
    reload_at: datetime
    is_current: bool


class KeyRing:
    """The ring as a function holds it: one Get per environment and five minutes."""

    def __init__(self, store: RingStore, wrapping: KeyWrapping) -> None:
        self._store = store
        self._wrapping = wrapping
        self._copy: _Copy | None = None
        self._private: dict[str, RSAPrivateKey] = {}
        self._public: dict[str, RSAPublicKey] = {}
        self._shared: dict[str, bytes] = {}

    def access_signing_key(self, now: datetime) -> tuple[str, RSAPrivateKey]:
        """Return kid and private key to sign access tokens with at `now`.

        Raises:
            KeysUnavailable: No ring, no key that may sign now, or KMS does not answer.
        """
        key = self._signing_key("access", now)
        if key.kid not in self._private:
            loaded = load_der_private_key(
                self._unwrap(key),
                None,
                # KMS has just authenticated these bytes; the check of the primes
                # costs 43 ms of each cold start (design §5).
                unsafe_skip_rsa_key_validation=True,
            )
            assert isinstance(loaded, RSAPrivateKey)  # noqa: S101 - for the type
            self._private[key.kid] = loaded
        return key.kid, self._private[key.kid]

    def access_verifying_key(self, kid: str, now: datetime) -> RSAPublicKey | None:
        """Return the public key of that id, None if the ring has none.

        Raises:
            KeysUnavailable: No ring, or too old a copy to tell.
        """
        key = self._find("access", kid, now)
        return None if key is None else self._load_public(key)

    def refresh_signing_key(self, now: datetime) -> tuple[str, bytes]:
        """Return kid and HMAC key to sign refresh tokens with at `now`.

        Raises:
            KeysUnavailable: No ring, or KMS does not answer.
        """
        key = self._signing_key("refresh", now)
        return key.kid, self._load_shared(key)

    def refresh_verifying_key(self, kid: str, now: datetime) -> bytes | None:
        """Return the HMAC key of that id, None if the ring has none.

        Raises:
            KeysUnavailable: No ring, too old a copy to tell, or KMS does not answer.
        """
        key = self._find("refresh", kid, now)
        return None if key is None else self._load_shared(key)

    def hash_network(self, address: str, now: datetime) -> str:
        """Return the keyed hash of a client's network: IPv4 address, or IPv6 /64.

        Keyed, since all IPv4 addresses can be hashed within minutes. Anything else
        that names a client counts as a network of its own.

        Raises:
            KeysUnavailable: No ring, or KMS does not answer.
        """
        _, key = self.refresh_signing_key(now)
        # Told apart from a token by what is before the colon: no JWT has one there.
        message = b"network:" + _network(address).encode()
        digest = hmac.digest(key, message, "sha256")
        return base64.urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()

    def jwks(self, now: datetime) -> dict[str, Any]:
        """Return the JWK Set (RFC 7517 §5), keys that are yet to sign included.

        Raises:
            KeysUnavailable: There is no ring to publish; never an empty set, which
                a verifier would cache.
        """
        published = [
            {"use": "sig", "alg": "RS256", "kid": key.kid}
            | _public_members(self._load_public(key))
            for key in self._ring(now).keys
            if key.use == "access" and not key.is_spent(now)
        ]
        if not published:
            raise KeysUnavailable
        return {"keys": published}

    def _signing_key(self, use: KeyUse, now: datetime) -> RingKey:
        key = self._look_up(lambda ring: ring.signing_key(use, now), now)
        if key is None:
            raise KeysUnavailable
        return key

    def _find(self, use: KeyUse, kid: str, now: datetime) -> RingKey | None:
        key = self._look_up(lambda ring: ring.find(use, kid), now)
        if key is None and self._copy and not self._copy.is_current:
            # Perhaps the key is younger than what could be read: no reason to call
            # its token bad, which would end a session.
            raise KeysUnavailable
        return key

    def _look_up(
        self, look: Callable[[Ring], RingKey | None], now: datetime
    ) -> RingKey | None:
        key = look(self._ring(now))
        copy = self._copy
        if key is None and copy and copy.asked_at + _MISSING_KEY_PAUSE <= now:
            self._reload(now)
            key = look(self._ring(now))
        return key

    def _ring(self, now: datetime) -> Ring:
        # A copy "from the future" is one made before a clock was set back.
        if self._copy is None or not (
            self._copy.reload_at - RING_MAX_AGE <= now < self._copy.reload_at
        ):
            self._reload(now)
        if self._copy is None:
            raise KeysUnavailable
        return self._copy.ring

    def _reload(self, now: datetime) -> None:
        try:
            ring = self._store.load_ring()
        except StoreUnavailable:
            if self._copy is None:
                raise
            ring = None
        if ring is None:
            if self._copy is not None:
                self._copy = _Copy(
                    self._copy.ring, now, now + _RELOAD_PAUSE, is_current=False
                )
            return
        self._copy = _Copy(ring, now, now + RING_MAX_AGE, is_current=True)
        kept = {key.kid for key in ring.keys}
        for loaded in (self._private, self._public, self._shared):
            for kid in loaded.keys() - kept:
                del loaded[kid]

    def _load_public(self, key: RingKey) -> RSAPublicKey:
        if key.kid not in self._public:
            loaded = load_der_public_key(key.public or b"")
            assert isinstance(loaded, RSAPublicKey)  # noqa: S101 - for the type
            self._public[key.kid] = loaded
        return self._public[key.kid]

    def _load_shared(self, key: RingKey) -> bytes:
        if key.kid not in self._shared:
            self._shared[key.kid] = self._unwrap(key)
        return self._shared[key.kid]

    def _unwrap(self, key: RingKey) -> bytes:
        return self._wrapping.unwrap(key.wrapped, _context(key.use, key.kid))


def _context(use: KeyUse, kid: str) -> dict[str, str]:
    # template.yaml's policies name `ring`: a function unwraps only what it uses.
    return {"ring": use, "kid": kid}


def _network(address: str) -> str:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        # A household has a /64 at least; single addresses of it cost nothing.
        return str(ipaddress.ip_network((ip.packed, 64), strict=False))
    return str(ip)


def _public_members(key: RSAPublicKey) -> dict[str, str]:
    numbers = key.public_numbers()
    return {
        "kty": "RSA",
        "n": _base64url_uint(numbers.n),
        "e": _base64url_uint(numbers.e),
    }


def _base64url_uint(number: int) -> str:
    octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _thumbprint(key: RSAPublicKey) -> str:
    # RFC 7638 §3: the required members only, sorted, without white space.
    canonical = json.dumps(_public_members(key), sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
