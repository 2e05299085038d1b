"""Public keys of other issuers: fetched, cached, and each fit for one algorithm."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeAlias

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import AllowedPublicKeys, HMACAlgorithm

from anonauth.errors import ProviderUnavailable, SettingsUnavailable
from anonauth.issuers.weak_keys import is_roca

Key: TypeAlias = AllowedPublicKeys | bytes
"""A public key, or the secret of an HMAC."""

FRESH = timedelta(hours=1)
"""A document this young is not fetched again, unless none of its keys fits."""

PAUSE = timedelta(minutes=1)
"""Minimum time between two requests to one URL, however many logins need it."""

USABLE = timedelta(hours=24)
"""How long a document is used while its issuer is down. Later logins are refused."""

MOST_KEYS = 8
"""Keys of one document that are tried on a token. A client that sends tokens without a
key id must not choose how many signatures we compute."""

# RFC 7518 §3.1, RFC 8037 §3.1: the key type of each algorithm, and its curves.
_RSA: tuple[str, tuple[str, ...]] = ("RSA", ())
_KEY_TYPES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "RS256": _RSA,
    "RS384": _RSA,
    "RS512": _RSA,
    "PS256": _RSA,
    "PS384": _RSA,
    "PS512": _RSA,
    "ES256": ("EC", ("P-256",)),
    "ES384": ("EC", ("P-384",)),
    "ES512": ("EC", ("P-521",)),
    "EdDSA": ("OKP", ("Ed25519", "Ed448")),
}

_PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


class Documents(Protocol):
    """Source of documents; see `Fetcher`."""

    def document(self, url: str) -> Mapping[str, Any]:
        """Get a JSON object, or raise `ProviderUnavailable`."""
        ...


@dataclass(frozen=True, slots=True)
class Configuration:
    """The parts of an issuer's OpenID configuration that are used here."""

    issuer: str
    jwks_url: str


class DocumentRefused(Exception):
    """A document is not as expected. The error is logged, so it quotes nothing."""


class IssuerDiffers(DocumentRefused):
    """The OpenID configuration belongs to another issuer than the configured one."""


class KeySets:
    """Cached JWK Sets and OpenID configurations of one environment, by URL."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._copies: dict[tuple[_Check, str], _Copy] = {}

    def keys(
        self, url: str, *, kid: str | None, algorithm: str, now: datetime
    ) -> Iterator[Key]:
        """Return the keys of the JWK Set that may have signed a token.

        The caller tries each key and stops at the right one. If none is right, the
        issuer is asked again, since it may have a new key, even under a known id. It is
        asked only once in `PAUSE`, so that many invented tokens cost one request. When
        the iterator ends, the issuer has no other key.

        Args:
            url: URL of the JWK Set.
            kid: Key id of the token. None returns every key that fits.
            algorithm: The only algorithm that the keys may be used for.

        Raises:
            ProviderUnavailable: At the end of the iterator: the issuer does not answer,
                and no cached key was right.
            SettingsUnavailable: At once: no URL can have keys for that algorithm.
        """
        if algorithm not in _KEY_TYPES:
            raise SettingsUnavailable
        return self._keys(url, kid, algorithm, now)

    def _keys(
        self, url: str, kid: str | None, algorithm: str, now: datetime
    ) -> Iterator[Key]:
        copy = self._copy(url, _is_key_set, now)
        tried = _fitting(copy.document_at(now), kid, algorithm)
        yield from tried
        if copy.may_be_replaced(now):
            copy = self._ask(url, _is_key_set, now)
            again = _fitting(copy.document_at(now), kid, algorithm)
            yield from (key for key in again if key not in tried)
        if copy.failure is not None:
            # The right key may be the one that could not be fetched.
            raise ProviderUnavailable from copy.failure

    def discover(
        self, url: str, issuer: str | None, now: datetime, *, again: bool = False
    ) -> Configuration:
        """Return an issuer's OpenID configuration.

        Args:
            url: URL of the configuration.
            issuer: Name the configuration must have; None accepts any name.
            again: Ask the issuer even if the copy is fresh, once in `PAUSE`.

        Raises:
            ProviderUnavailable: The issuer does not answer and there is no copy, or the
                name differs (OpenID Connect Discovery §4.3).
        """
        copy = self._copy(url, _is_configuration, now)
        if again and copy.may_be_replaced(now):
            copy = self._ask(url, _is_configuration, now)
        document = copy.document_at(now)
        if document is None:
            raise ProviderUnavailable from copy.failure
        found = Configuration(document["issuer"], document["jwks_uri"])
        if issuer is not None and found.issuer != issuer:
            raise ProviderUnavailable from IssuerDiffers()
        return found

    def _copy(self, url: str, is_sound: "_Check", now: datetime) -> "_Copy":
        copy = self._copies.get((is_sound, url))
        if copy is None or (not copy.is_fresh(now) and copy.may_be_replaced(now)):
            return self._ask(url, is_sound, now)
        return copy

    def _ask(self, url: str, is_sound: "_Check", now: datetime) -> "_Copy":
        document: Mapping[str, Any] | None = None
        failure: BaseException | None = None
        try:
            document = self._documents.document(url)
        except ProviderUnavailable as exc:
            failure = exc.__cause__ or exc
        if document is not None and not is_sound(document):
            failure = DocumentRefused()
        if failure is None:
            copy = _Copy(now, document, fetched_at=now)
        else:
            before = self._copies.get((is_sound, url), _Copy(now))
            copy = replace(before, asked_at=now, failure=failure)
        self._copies[is_sound, url] = copy
        return copy


def load_pem(pem: str, algorithm: str) -> Key:
    """Return the public key in a PEM text.

    Raises:
        SettingsUnavailable: The text is not a public key for that algorithm.
    """
    if algorithm not in _KEY_TYPES:
        raise SettingsUnavailable
    method = jwt.get_algorithm_by_name(algorithm)
    try:
        key: Key = method.prepare_key(load_pem_public_key(pem.encode()))
    except (ValueError, TypeError, UnsupportedAlgorithm, jwt.PyJWTError) as exc:
        raise SettingsUnavailable from exc
    if _is_weak(key, algorithm):
        raise SettingsUnavailable
    return key


def load_secret(secret: str, algorithm: str) -> Key:
    """Return the HMAC key of a secret text.

    Raises:
        SettingsUnavailable: It looks like a public key, or the algorithm is no HMAC.
    """
    # Stricter than PyJWT's own check for PEM: a part of a key is no secret either.
    if not algorithm.startswith("HS") or "-----BEGIN " in secret:
        raise SettingsUnavailable
    try:
        key: Key = _TextHMAC(HMACAlgorithm.SHA256).prepare_key(secret)
    except jwt.PyJWTError as exc:
        raise SettingsUnavailable from exc
    return key


class _TextHMAC(HMACAlgorithm):
    """HMAC with a secret that is a text, so it is no key or certificate in DER.

    From 128 bytes on, DER has a length byte that UTF-8 does not allow there. PyJWT's
    own class loads x509 to find out.
    """

    @staticmethod
    def _is_der_key(key_bytes: bytes) -> bool:  # noqa: ARG004
        return False


_Check: TypeAlias = Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class _Copy:
    asked_at: datetime
    document: Mapping[str, Any] | None = None
    fetched_at: datetime | None = None
    failure: BaseException | None = None

    def is_fresh(self, now: datetime) -> bool:
        return self.fetched_at is not None and _within(FRESH, self.fetched_at, now)

    def may_be_replaced(self, now: datetime) -> bool:
        return not _within(PAUSE, self.asked_at, now)

    def document_at(self, now: datetime) -> Mapping[str, Any] | None:
        usable = self.fetched_at is not None and now < self.fetched_at + USABLE
        return self.document if usable else None


def _within(period: timedelta, since: datetime, now: datetime) -> bool:
    # A time in the future was stored before the clock was set back.
    return since <= now < since + period


def _is_key_set(document: Mapping[str, Any]) -> bool:
    return isinstance(document.get("keys"), list)


def _is_configuration(document: Mapping[str, Any]) -> bool:
    # An issuer is a URL (OpenID Connect Discovery §3). A space separates it from the
    # subject in our keys, so it must have none.
    issuer, url = document.get("issuer"), document.get("jwks_uri")
    return isinstance(issuer, str) and " " not in issuer and isinstance(url, str)


def _fitting(
    document: Mapping[str, Any] | None, kid: str | None, algorithm: str
) -> list[Key]:
    fit: list[Key] = []
    for jwk in document["keys"] if document else ():
        if isinstance(jwk, dict) and (kid is None or jwk.get("kid") == kid):
            key = _load(jwk, algorithm)
            if key is not None and key not in fit:
                fit.append(key)
        if len(fit) == MOST_KEYS:
            break
    return fit


def _load(published: dict[str, Any], algorithm: str) -> Key | None:
    # A key that we do not understand is ignored, not an error (RFC 7517 §5). So is a
    # private key, which proves nothing once it is published. `kty` rules out `oct`.
    # Some libraries publish every member that a key can have, as null if it has none.
    jwk = {name: value for name, value in published.items() if value is not None}
    key_type, curves = _KEY_TYPES[algorithm]
    operations = jwk.get("key_ops", ["verify"])
    fits = (
        jwk.get("kty") == key_type
        and (not curves or jwk.get("crv") in curves)
        and jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and jwk.get("alg", algorithm) == algorithm
        and not _PRIVATE_MEMBERS & jwk.keys()
    )
    if not fits:
        return None
    try:
        made = jwt.PyJWK(jwk, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
        return None
    key: Key = made.key
    return None if _is_weak(key, algorithm) else key


def _is_weak(key: Key, algorithm: str) -> bool:
    if jwt.get_algorithm_by_name(algorithm).check_key_length(key):
        return True
    return isinstance(key, RSAPublicKey) and is_roca(key.public_numbers().n)
