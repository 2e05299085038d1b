"""The key ring: making keys, keeping them wrapped, and a copy that is never stale.

Only this module and `tokens` see keys in clear. KMS wraps each key under an encryption
context, so that the policy of a function decides which keys it can unwrap. A key is
unwrapped once per cold start, never per request (design.md §5).
"""

import functools
import hmac
import ipaddress
import json
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

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

from anonauth.cached_copy import CachedCopy
from anonauth.domain.encoding import base64url, sha256_base64url
from anonauth.domain.signing_keys import KeyUse, Ring, RingKey
from anonauth.errors import KeysUnavailable, StoreUnavailable
from anonauth.ports import KeyWrapping, RingStore

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

# A key that the copy does not have may be younger than the copy, so the ring is read
# again. Forged ids cost at most one such read within this time.
_MISSING_KEY_PAUSE = timedelta(minutes=1)

# How long to wait before KMS is asked again for a key that it did not unwrap, while
# another key can sign. This is longer than the pause after a failed reload: KMS takes
# up to 5 s to time out, and the key that signs is in no hurry to go.
_UNWRAP_PAUSE = timedelta(minutes=1)

_logger = logging.getLogger(__name__)

_Loaded = TypeVar("_Loaded", RSAPrivateKey, bytes)


class KmsWrapping:
    """`KeyWrapping` by AWS KMS.

    Args:
        connect: Makes the client on first use, since not every function unwraps a key.
        key_id: Id, ARN or alias of the wrapping key. If it is empty, `unwrap` takes the
            key that wrapped, whichever it was, and `wrap` cannot be used.
    """

    def __init__(self, connect: "Callable[[], KMSClient]", key_id: str) -> None:
        self._connect = connect
        self._key_id = key_id

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        """Encrypt a key. See `KeyWrapping`."""
        try:
            answer = self._client.encrypt(
                KeyId=self._key_id, Plaintext=key, EncryptionContext=context
            )
        except (BotoCoreError, ClientError) as exc:
            raise KeysUnavailable from exc
        return answer["CiphertextBlob"]

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Decrypt a key. See `KeyWrapping`."""
        by_key: Any = {"KeyId": self._key_id} if self._key_id else {}
        try:
            answer = self._client.decrypt(
                CiphertextBlob=wrapped, EncryptionContext=context, **by_key
            )
        except (BotoCoreError, ClientError) as exc:
            raise KeysUnavailable from exc
        return answer["Plaintext"]

    @functools.cached_property
    def _client(self) -> "KMSClient":
        return self._connect()


class KeyMaker:
    """Makes keys for the ring and wraps them at once."""

    def __init__(self, wrapping: KeyWrapping) -> None:
        self._wrapping = wrapping

    def make_access_key(
        self, *, published_at: datetime, signs_from: datetime, stops_at: datetime
    ) -> RingKey:
        """Make an RSA-2048 key. An HTTP API's JWT authorizer accepts no other kind."""
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
        """Make a 256-bit HMAC key for refresh tokens. It is in no JWK Set."""
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

    def rewrap(self, key: RingKey, former: KeyWrapping) -> RingKey:
        """Return a key of another ring, wrapped as the keys made here.

        Args:
            former: The wrapping of the other ring.

        Raises:
            KeysUnavailable: KMS does not unwrap it, or does not answer.
        """
        context = _context(key.use, key.kid)
        clear = former.unwrap(key.wrapped, context)
        return replace(key, wrapped=self._wrapping.wrap(clear, context))


class KeyRing:
    """The ring as a function holds it: one Get per environment and five minutes."""

    def __init__(self, store: RingStore, wrapping: KeyWrapping) -> None:
        self._store = store
        self._wrapping = wrapping
        self._copy: CachedCopy[Ring] | None = None
        self._private: dict[str, RSAPrivateKey] = {}
        self._public: dict[str, RSAPublicKey] = {}
        self._shared: dict[str, bytes] = {}
        self._unwrap_at: dict[str, datetime] = {}  # of keys that KMS did not unwrap

    def access_signing_key(self, now: datetime) -> tuple[str, RSAPrivateKey]:
        """Return kid and private key to sign access tokens with at `now`.

        While KMS is down, the key before the current one goes on signing if this
        function already uses it. An outage must not stop a warm function.

        Raises:
            KeysUnavailable: There is no ring, no key may sign now, or KMS does not
                answer and this function uses no key yet.
        """
        return self._load_signing_key("access", self._private, self._load_private, now)

    def access_verifying_key(self, kid: str, now: datetime) -> RSAPublicKey | None:
        """Return the public key of that id, None if the ring has none.

        Raises:
            KeysUnavailable: There is no ring, or the copy is too old to tell.
        """
        key = self._find("access", kid, now)
        return None if key is None else self._load_public(key)

    def refresh_signing_key(self, now: datetime) -> tuple[str, bytes]:
        """Return kid and HMAC key to sign refresh tokens with at `now`.

        Raises:
            KeysUnavailable: As for `access_signing_key`.
        """
        return self._load_signing_key("refresh", self._shared, self._load_shared, now)

    def refresh_verifying_key(self, kid: str, now: datetime) -> bytes | None:
        """Return the HMAC key of that id, None if the ring has none.

        Raises:
            KeysUnavailable: There is no ring, the copy is too old to tell, or KMS does
                not answer.
        """
        key = self._find("refresh", kid, now)
        return None if key is None else self._load_shared(key)

    def hash_network(self, address: str, now: datetime, *, prefix: int = 64) -> str:
        """Return the keyed hash of a client's network: IPv4 address, or IPv6 /64.

        The hash has a key, since all IPv4 addresses can be hashed within minutes. Any
        other text that names a client counts as a network of its own.

        Args:
            prefix: Bits of an IPv6 network.

        Raises:
            KeysUnavailable: As for `refresh_signing_key`.
        """
        # The oldest key, so that a rotation keeps the counts and the networks that
        # accounts know.
        oldest = self._look_up(
            lambda ring: ring.oldest_signing_key("refresh", now), now
        )
        if oldest is None:
            raise KeysUnavailable
        key = self._load_shared(oldest)
        # The prefix with its colon keeps this apart from a token: no JWT has a colon.
        message = b"network:" + _network(address, prefix).encode()
        digest = hmac.digest(key, message, "sha256")
        return base64url(digest[:16])

    def jwks(self, now: datetime) -> dict[str, Any]:
        """Return the JWK Set (RFC 7517 §5). It includes keys that do not sign yet.

        Raises:
            KeysUnavailable: There is no ring to publish. An empty set is never
                returned, since a verifier would cache it.
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

    def _load_signing_key(
        self,
        use: KeyUse,
        loaded: Mapping[str, _Loaded],
        load: Callable[[RingKey], _Loaded],
        now: datetime,
    ) -> tuple[str, _Loaded]:
        key = self._look_up(lambda ring: ring.signing_key(use, now), now)
        if key is None:
            raise KeysUnavailable
        in_use = [k for k in self._ring(now).of(use) if k.kid in loaded]
        spare = Ring(0, tuple(in_use)).signing_key(use, now)
        if spare is None:
            return key.kid, load(key)
        if spare != key and self._may_unwrap(key, now):
            try:
                return key.kid, load(key)
            except KeysUnavailable as exc:
                self._unwrap_at[key.kid] = now + _UNWRAP_PAUSE
                _logger.warning(
                    "key %s signs on: %s is not unwrapped: %r",
                    *(spare.kid, key.kid, exc.__cause__),
                )
        return spare.kid, loaded[spare.kid]

    def _may_unwrap(self, key: RingKey, now: datetime) -> bool:
        at = self._unwrap_at.get(key.kid, now)
        # If the time is too far ahead, it was noted before a clock was set back.
        return not at - _UNWRAP_PAUSE <= now < at

    def _find(self, use: KeyUse, kid: str, now: datetime) -> RingKey | None:
        key = self._look_up(lambda ring: ring.find(use, kid), now)
        if key is None and self._copy and not self._copy.is_current:
            # The key may be younger than the copy. That is no reason to refuse its
            # token, which would end a session.
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
        if self._copy is None or self._copy.is_due(now):
            self._reload(now)
        if self._copy is None:
            raise KeysUnavailable
        return self._copy.value

    def _reload(self, now: datetime) -> None:
        try:
            ring = self._store.load_ring()
        except StoreUnavailable:
            if self._copy is None:
                raise
            ring = None
        if ring is None:
            if self._copy is not None:
                self._copy = self._copy.kept(now)
            return
        self._copy = CachedCopy(ring, now)
        kept = {key.kid for key in ring.keys}
        held: tuple[dict[str, Any], ...] = (
            self._private,
            self._public,
            self._shared,
            self._unwrap_at,
        )
        for of_keys in held:
            for kid in of_keys.keys() - kept:
                del of_keys[kid]

    def _load_private(self, key: RingKey) -> RSAPrivateKey:
        loaded = load_der_private_key(
            self._unwrap(key),
            None,
            # KMS has just authenticated these bytes. The check of the primes would cost
            # 43 ms of each cold start (design.md §5).
            unsafe_skip_rsa_key_validation=True,
        )
        assert isinstance(loaded, RSAPrivateKey)  # noqa: S101 - for the type  # nosec B101
        self._private[key.kid] = loaded
        return loaded

    def _load_public(self, key: RingKey) -> RSAPublicKey:
        if key.kid not in self._public:
            loaded = load_der_public_key(key.public or b"")
            assert isinstance(loaded, RSAPublicKey)  # noqa: S101 - for the type  # nosec B101
            self._public[key.kid] = loaded
        return self._public[key.kid]

    def _load_shared(self, key: RingKey) -> bytes:
        if key.kid not in self._shared:
            self._shared[key.kid] = self._unwrap(key)
        return self._shared[key.kid]

    def _unwrap(self, key: RingKey) -> bytes:
        return self._wrapping.unwrap(key.wrapped, _context(key.use, key.kid))


def _context(use: KeyUse, kid: str) -> dict[str, str]:
    # The policies in template.yaml name `ring`: a function unwraps only the keys that
    # it uses.
    return {"ring": use, "kid": kid}


def _network(address: str, prefix: int) -> str:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        # A household has at least a /64, so single addresses of it cost nothing.
        return str(ipaddress.ip_network((ip.packed, prefix), strict=False))
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
    return base64url(octets)


def _thumbprint(key: RSAPublicKey) -> str:
    # RFC 7638 §3: the required members only, sorted, without white space.
    canonical = json.dumps(_public_members(key), sort_keys=True, separators=(",", ":"))
    return sha256_base64url(canonical)
