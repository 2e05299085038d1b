"""The cache of foreign keys: what is asked when, and which keys are taken."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import RSAAlgorithm

from anonauth.errors import ProviderUnavailable, SettingsUnavailable
from anonauth.issuers.fetch import AnswerRefused, Fetcher
from anonauth.issuers.key_sets import (
    MOST_KEYS,
    Configuration,
    DocumentRefused,
    IssuerDiffers,
    Key,
    KeySets,
    load_pem,
    load_secret,
)
from anonauth.issuers.weak_keys import _PRIMES
from support.forgery.key_server import Answer, KeyServer, Signer

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
ISSUER = "https://issuer.example.com"


def find(
    key_sets: KeySets,
    url: str,
    now: datetime,
    *,
    kid: str | None = "key-1",
    algorithm: str = "RS256",
) -> Key | None:
    """Return the first key, as for a token that it has signed."""
    return next(key_sets.keys(url, kid=kid, algorithm=algorithm, now=now), None)


class World:
    """An issuer with one key, and the cache in front of it."""

    def __init__(self, server: KeyServer, signer: Signer) -> None:
        self.server = server
        self.signer = signer
        self.url = server.publish("/jwks", {"keys": [signer.jwk()]})
        self.key_sets = KeySets(Fetcher(allow_private=True))

    def find(self, kid: str | None, now: datetime) -> Key | None:
        return find(self.key_sets, self.url, now, kid=kid)

    def keys(self, kid: str | None, now: datetime) -> list[Key]:
        """Return all keys, as for a token that none of them has signed."""
        found = self.key_sets.keys(self.url, kid=kid, algorithm="RS256", now=now)
        return list(found)

    @property
    def fetches(self) -> int:
        return self.server.count("/jwks")

    def rotate(self) -> None:
        """Let the issuer go over to another key id."""
        self.server.publish("/jwks", {"keys": [self.signer.jwk(kid="key-2")]})


@pytest.fixture
def world(server: KeyServer, signer: Signer) -> World:
    return World(server, signer)


@pytest.mark.parametrize(
    ("age", "fetches"),
    [
        pytest.param(HOUR - SECOND, 1, id="fresh"),
        pytest.param(HOUR, 2, id="no longer fresh"),
        pytest.param(-SECOND, 2, id="the clock was set back"),
    ],
)
def test_given_a_copy_when_it_is_an_hour_old_then_it_is_asked_for_again(
    age: timedelta, fetches: int, world: World
) -> None:
    world.find("key-1", NOW)

    key = world.find("key-1", NOW + age)

    assert key is not None
    assert world.fetches == fetches


def test_given_an_unknown_key_when_the_issuer_has_it_then_one_request_finds_it(
    world: World,
) -> None:
    world.find("key-1", NOW)
    world.rotate()

    key = world.find("key-2", NOW + MINUTE)

    assert key is not None
    assert world.find("key-1", NOW + MINUTE) is None  # withdrawn
    assert world.fetches == 2


@pytest.mark.parametrize(
    ("pause", "is_found"),
    [
        pytest.param(MINUTE - SECOND, False, id="within the minute"),
        pytest.param(MINUTE, True, id="a minute later"),
    ],
)
def test_given_an_unknown_key_when_just_asked_then_not_before_a_minute_has_passed(
    pause: timedelta, is_found: bool, world: World
) -> None:
    world.find("key-1", NOW)
    world.rotate()

    key = world.find("key-2", NOW + pause)

    assert (key is not None) is is_found
    assert world.fetches == (2 if is_found else 1)


def test_given_100_unknown_keys_when_looked_up_then_the_issuer_is_asked_once(
    world: World,
) -> None:
    world.find("key-1", NOW)
    later = NOW + 2 * MINUTE

    found = [world.find(f"invented-{n}", later) for n in range(100)]

    assert found == [None] * 100
    assert world.fetches == 2


def test_given_the_issuer_is_down_when_asked_100_times_then_it_is_asked_once(
    world: World,
) -> None:
    world.server.down = True

    for n in range(100):
        with pytest.raises(ProviderUnavailable) as refusal:
            world.find(f"key-{n}", NOW + n * timedelta(seconds=0.5))
        assert type(refusal.value.__cause__) is AnswerRefused

    assert world.fetches == 1
    world.server.down = False
    assert world.find("key-1", NOW + MINUTE) is not None


@pytest.mark.parametrize(
    ("age", "is_used"),
    [
        pytest.param(24 * HOUR - SECOND, True, id="a second before 24 h"),
        pytest.param(24 * HOUR, False, id="24 h"),
    ],
)
def test_given_the_issuer_is_down_when_24_hours_pass_then_its_keys_are_dropped(
    age: timedelta, is_used: bool, world: World
) -> None:
    world.find("key-1", NOW)
    world.server.down = True

    try:
        key = world.find("key-1", NOW + age)
    except ProviderUnavailable:
        key = None

    assert (key is not None) is is_used
    assert world.fetches == 2


def test_given_the_issuer_is_down_when_a_key_is_unknown_then_the_client_is_not_blamed(
    world: World,
) -> None:
    world.find("key-1", NOW)
    world.server.down = True

    for later in (2 * MINUTE, 2 * MINUTE + SECOND):
        with pytest.raises(ProviderUnavailable):
            world.find("key-2", NOW + later)
        assert world.find("key-1", NOW + later) is not None

    assert world.fetches == 2


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({}, id="no keys"),
        pytest.param({"keys": {}}, id="keys not a list"),
        pytest.param({"keys": None}, id="keys null"),
    ],
)
def test_given_no_key_set_when_fetched_then_the_copy_goes_on(
    document: object, world: World
) -> None:
    world.find("key-1", NOW)
    world.server.publish("/jwks", document)

    assert world.find("key-1", NOW + HOUR) is not None
    with pytest.raises(ProviderUnavailable) as refusal:
        world.find("key-2", NOW + HOUR)

    assert type(refusal.value.__cause__) is DocumentRefused


UNFIT: list[Any] = [
    pytest.param({"use": "enc"}, id="for encryption"),
    pytest.param({"use": 1}, id="use of the wrong type"),
    pytest.param({"key_ops": ["sign"]}, id="for signing"),
    pytest.param({"key_ops": "verify"}, id="operations not a list"),
    pytest.param({"alg": "RS512"}, id="for another algorithm"),
    pytest.param({"alg": "RSA-OAEP"}, id="for no signature"),
    pytest.param({"kty": "oct", "k": "c2VjcmV0"}, id="symmetric"),
    pytest.param({"k": "c2VjcmV0"}, id="symmetric member"),
    pytest.param({"d": "AQAB"}, id="private member"),
    pytest.param({"kty": "EC"}, id="another type"),
    pytest.param({"kty": "XYZ"}, id="unknown type"),
    pytest.param({"kty": ["RSA"]}, id="type of the wrong type"),
    pytest.param({"kty": ...}, id="no type"),
    pytest.param({"n": ...}, id="no modulus"),
    pytest.param({"n": 5}, id="modulus of the wrong type"),
    pytest.param({"n": None}, id="modulus null"),
    pytest.param({"n": "!!"}, id="modulus not base64url"),
    pytest.param({"n": ""}, id="modulus empty"),
    pytest.param({"e": "AA"}, id="exponent zero"),
    pytest.param({"kid": "key-2"}, id="another id"),
    pytest.param({"kid": 1}, id="id of the wrong type"),
    pytest.param({"kid": ["key-1"]}, id="id a list"),
    pytest.param({"kid": ...}, id="no id"),
]


@pytest.mark.parametrize("changes", UNFIT)
def test_given_a_key_we_do_not_understand_when_fetched_then_it_is_ignored(
    changes: Mapping[str, Any], world: World
) -> None:
    bad = world.signer.jwk(**changes)

    world.server.publish("/jwks", {"keys": [bad]})
    alone = world.find("key-1", NOW)
    world.server.publish(
        "/jwks", {"keys": [None, "x", 1, [], {}, bad, world.signer.jwk()], "x": 1}
    )
    beside_a_good_one = world.find("key-1", NOW + MINUTE)

    assert alone is None
    assert beside_a_good_one is not None


def test_given_a_short_rsa_key_when_fetched_then_it_is_ignored(world: World) -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505
    jwk = RSAAlgorithm.to_jwk(weak.public_key(), as_dict=True)

    world.server.publish("/jwks", {"keys": [jwk | {"kid": "key-1"}]})

    assert world.find("key-1", NOW) is None


def _roca(more: int = 0) -> rsa.RSAPublicKey:
    """A key with the fingerprint of ROCA, or the next modulus but some."""
    product = math.prod(_PRIMES)
    first = pow(65537, 5, product) + product * (2**2047 // product + 1)
    odd = first if first % 2 else first + product
    return rsa.RSAPublicNumbers(65537, odd + more).public_key()


@pytest.mark.parametrize(("more", "is_taken"), [(0, False), (2, True), (4, True)])
def test_given_a_key_that_can_be_factored_when_fetched_then_it_is_ignored(
    more: int, is_taken: bool, world: World
) -> None:
    jwk = RSAAlgorithm.to_jwk(_roca(more), as_dict=True)

    world.server.publish("/jwks", {"keys": [jwk | {"kid": "key-1"}]})

    assert (world.find("key-1", NOW) is not None) == is_taken


def test_given_a_bare_key_when_fetched_then_optional_members_may_be_missing(
    world: World,
) -> None:
    bare = world.signer.jwk(use=..., alg=...)

    world.server.publish("/jwks", {"keys": [bare]})

    assert world.find("key-1", NOW) is not None


@pytest.mark.parametrize(
    "name", ["use", "alg", "key_ops", "x5c", "d", "p", "oth", "k", "crv"]
)
def test_given_a_member_that_is_null_when_fetched_then_it_counts_as_absent(
    name: str, world: World
) -> None:
    world.server.publish("/jwks", {"keys": [world.signer.jwk(**{name: None})]})

    assert world.find("key-1", NOW) is not None


@pytest.mark.parametrize("kid", [pytest.param(..., id="none"), None])
def test_given_keys_without_id_when_the_token_has_none_either_then_they_fit(
    kid: object, world: World
) -> None:
    world.server.publish("/jwks", {"keys": [world.signer.jwk(kid=kid)]})

    assert world.find(None, NOW) is not None
    assert world.find("key-1", NOW + MINUTE) is None


@pytest.mark.parametrize(
    ("others", "fitting"),
    [
        pytest.param([], 1, id="one key"),
        pytest.param([{"use": "enc"}], 1, id="one that fits"),
        pytest.param([{"kid": "key-2"}], 1, id="one under two ids"),
        pytest.param(["stranger"], 2, id="two that fit"),
    ],
)
def test_given_a_token_without_key_id_when_looked_up_then_each_fitting_key_is_found(
    others: list[Any], fitting: int, world: World, stranger: Signer
) -> None:
    more = [
        stranger.jwk() if each == "stranger" else world.signer.jwk(**each)
        for each in others
    ]
    world.server.publish("/jwks", {"keys": [*more, world.signer.jwk()]})

    assert len(world.keys(None, NOW)) == fitting
    assert world.find(None, NOW) is not None


def test_given_two_keys_under_an_id_when_looked_up_then_both_are_found(
    world: World, stranger: Signer
) -> None:
    own, other = world.signer.jwk(), stranger.jwk()
    world.server.publish("/jwks", {"keys": [other, own, own]})

    assert len(world.keys("key-1", NOW)) == 2


@pytest.fixture(scope="session")
def many() -> list[Signer]:
    """One key more than are tried, of the kind that is made fast."""
    return [Signer("ES256", f"key-{n}") for n in range(MOST_KEYS + 1)]


@pytest.mark.parametrize("kid", [pytest.param(None, id="no id"), "key"])
def test_given_many_keys_that_fit_when_looked_up_then_eight_are_found(
    kid: str | None, many: list[Signer], server: KeyServer, key_sets: KeySets
) -> None:
    own = {} if kid is None else {"kid": kid}
    url = server.publish("/jwks", {"keys": [each.jwk(**own) for each in many]})

    found = list(key_sets.keys(url, kid=kid, algorithm="ES256", now=NOW))

    assert len(found) == MOST_KEYS == 8


def test_given_no_key_that_is_right_when_tried_then_the_issuer_is_asked_again(
    world: World, stranger: Signer
) -> None:
    (old,) = world.keys("key-1", NOW)
    world.server.publish("/jwks", {"keys": [stranger.jwk()]})

    within_the_pause = world.keys("key-1", NOW + MINUTE - SECOND)
    after_it = world.keys("key-1", NOW + MINUTE)
    once_more = world.keys("key-1", NOW + 2 * MINUTE - SECOND)

    assert within_the_pause == [old]
    assert after_it[0] == old
    assert len(after_it) == 2
    assert once_more == after_it[1:]
    assert world.fetches == 2


def test_given_a_key_that_is_right_when_tried_then_the_issuer_is_left_alone(
    world: World,
) -> None:
    world.find("key-1", NOW)

    assert world.find("key-1", NOW + MINUTE) is not None
    assert world.fetches == 1


def test_given_the_issuer_is_down_when_no_key_was_right_then_the_client_is_not_blamed(
    world: World,
) -> None:
    """The right key may be in the set that could not be fetched."""
    world.keys("key-1", NOW)
    world.server.down = True

    assert world.keys("key-1", NOW + MINUTE - SECOND)
    for later in (MINUTE, 2 * MINUTE - SECOND):
        with pytest.raises(ProviderUnavailable):
            world.keys("key-1", NOW + later)

    assert world.fetches == 2


@pytest.mark.parametrize(
    ("made_for", "asked_for"),
    [
        ("ES256", "ES384"),
        ("ES384", "ES256"),
        ("ES512", "ES256"),
        ("EdDSA", "ES256"),
        ("ES256", "EdDSA"),
        ("RS256", "ES256"),
        ("ES256", "RS256"),
    ],
)
def test_given_a_key_of_another_family_when_looked_up_then_it_is_not_found(
    made_for: str, asked_for: str, server: KeyServer, key_sets: KeySets
) -> None:
    jwk = Signer(made_for).jwk(alg=...)
    url = server.publish("/jwks", {"keys": [jwk]})

    fitting = find(key_sets, url, NOW, algorithm=made_for)
    other = find(key_sets, url, NOW, algorithm=asked_for)

    assert fitting is not None
    assert other is None


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512", "none"])
def test_given_an_algorithm_without_public_key_when_looked_up_then_no_request_is_sent(
    algorithm: str, world: World
) -> None:
    with pytest.raises(SettingsUnavailable):
        find(world.key_sets, world.url, NOW, algorithm=algorithm)

    assert world.fetches == 0


def test_given_two_urls_when_looked_up_then_each_has_keys_of_its_own(
    world: World, stranger: Signer
) -> None:
    other = world.server.publish("/other", {"keys": [stranger.jwk()]})

    mine = world.find("key-1", NOW)
    theirs = find(world.key_sets, other, NOW)

    assert mine != theirs


CONFIGURATION = {"issuer": ISSUER, "jwks_uri": "https://issuer.example.com/jwks"}


def test_given_a_configuration_when_discovered_then_it_is_cached(
    server: KeyServer, key_sets: KeySets
) -> None:
    url = server.publish("/configuration", CONFIGURATION)

    named = key_sets.discover(url, ISSUER, NOW)
    nameless = key_sets.discover(url, None, NOW + HOUR - SECOND)

    assert named == nameless
    assert named == Configuration(ISSUER, "https://issuer.example.com/jwks")
    assert server.count("/configuration") == 1


def test_given_a_copy_when_discovered_again_then_once_in_a_minute(
    server: KeyServer, key_sets: KeySets
) -> None:
    url = server.publish("/configuration", CONFIGURATION)
    key_sets.discover(url, ISSUER, NOW)
    moved = {**CONFIGURATION, "jwks_uri": "https://issuer.example.com/keys"}
    server.publish("/configuration", moved)

    early = key_sets.discover(url, ISSUER, NOW + MINUTE - SECOND, again=True)
    unasked = key_sets.discover(url, ISSUER, NOW + MINUTE)
    asked = key_sets.discover(url, ISSUER, NOW + MINUTE, again=True)

    assert early == unasked == Configuration(ISSUER, CONFIGURATION["jwks_uri"])
    assert asked == Configuration(ISSUER, moved["jwks_uri"])
    assert server.count("/configuration") == 2


def test_given_one_url_for_both_when_one_is_wrong_then_the_other_goes_on(
    server: KeyServer, key_sets: KeySets
) -> None:
    url = server.publish("/configuration", CONFIGURATION)
    key_sets.discover(url, ISSUER, NOW)

    with pytest.raises(ProviderUnavailable) as refusal:
        find(key_sets, url, NOW)

    assert type(refusal.value.__cause__) is DocumentRefused
    assert key_sets.discover(url, ISSUER, NOW).issuer == ISSUER


@pytest.mark.parametrize(
    "found",
    [
        ISSUER + "/",
        ISSUER.upper(),
        "https://evil.example.com",
        "",
    ],
)
def test_given_the_configuration_of_another_issuer_when_discovered_then_refused(
    found: str, server: KeyServer, key_sets: KeySets
) -> None:
    url = server.publish("/configuration", {**CONFIGURATION, "issuer": found})

    with pytest.raises(ProviderUnavailable) as refusal:
        key_sets.discover(url, ISSUER, NOW)

    assert type(refusal.value.__cause__) is IssuerDiffers


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({}, id="empty"),
        pytest.param({"issuer": ISSUER}, id="no keys"),
        pytest.param({"jwks_uri": "https://x.example.com"}, id="no issuer"),
        pytest.param({**CONFIGURATION, "issuer": 1}, id="issuer of the wrong type"),
        pytest.param({**CONFIGURATION, "issuer": "a b"}, id="issuer with a space"),
        pytest.param({**CONFIGURATION, "jwks_uri": None}, id="keys of the wrong type"),
    ],
)
def test_given_no_configuration_when_discovered_then_the_provider_is_unavailable(
    document: object, server: KeyServer, key_sets: KeySets
) -> None:
    url = server.publish("/configuration", document)

    with pytest.raises(ProviderUnavailable) as refusal:
        key_sets.discover(url, None, NOW)

    assert type(refusal.value.__cause__) is DocumentRefused


@pytest.mark.parametrize(
    ("age", "is_used"),
    [
        pytest.param(24 * HOUR - SECOND, True, id="a second before 24 h"),
        pytest.param(24 * HOUR, False, id="24 h"),
    ],
)
def test_given_the_issuer_is_down_when_24_hours_pass_then_so_is_its_configuration(
    age: timedelta, is_used: bool, server: KeyServer, key_sets: KeySets
) -> None:
    url = server.publish("/configuration", CONFIGURATION)
    key_sets.discover(url, ISSUER, NOW)
    server.answers["/configuration"] = Answer({}, 500)

    try:
        key_sets.discover(url, ISSUER, NOW + age)
    except ProviderUnavailable:
        used = False
    else:
        used = True

    assert used is is_used


@pytest.mark.parametrize(
    "algorithm", ["RS256", "RS512", "PS384", "ES256", "ES384", "ES512", "EdDSA"]
)
def test_given_a_pem_of_the_algorithm_when_loaded_then_it_is_a_key(
    algorithm: str,
) -> None:
    assert load_pem(Signer(algorithm).pem, algorithm) is not None


def _weak_pem() -> str:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505
    return _pem(weak.public_key())


def _pem(public: rsa.RSAPublicKey) -> str:
    form = PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(Encoding.PEM, form).decode()


def _private_pem() -> str:
    private = Signer("ES256").private
    pem: bytes = private.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    return pem.decode()


@pytest.mark.parametrize(
    ("make", "algorithm"),
    [
        pytest.param(lambda: "x", "RS256", id="no PEM"),
        pytest.param(lambda: _pem(_roca()), "RS256", id="can be factored"),
        pytest.param(lambda: "schlüssel", "RS256", id="not ASCII"),
        pytest.param(lambda: Signer("ES256").pem, "RS256", id="EC for RSA"),
        pytest.param(lambda: Signer().pem, "ES256", id="RSA for EC"),
        pytest.param(lambda: Signer("ES384").pem, "ES256", id="another curve"),
        pytest.param(lambda: Signer("ES256").pem, "EdDSA", id="EC for EdDSA"),
        pytest.param(lambda: Signer().pem, "HS256", id="HMAC by a public key"),
        pytest.param(_weak_pem, "RS256", id="short"),
        pytest.param(_private_pem, "ES256", id="private"),
    ],
)
def test_given_a_pem_that_does_not_fit_when_loaded_then_the_settings_are_wrong(
    make: Any, algorithm: str
) -> None:
    with pytest.raises(SettingsUnavailable):
        load_pem(make(), algorithm)


@pytest.mark.parametrize(
    ("make", "algorithm"),
    [
        pytest.param(lambda: "s" * 32, "RS256", id="no HMAC"),
        pytest.param(lambda: "", "HS256", id="empty"),
        pytest.param(lambda: Signer("ES256").pem, "HS256", id="a public key"),
        pytest.param(lambda: f"ssh-rsa {'s' * 32}", "HS256", id="an SSH key"),
        pytest.param(
            lambda: "-----BEGIN PUBLIC KEY-----\n" + "s" * 32, "HS256", id="half a PEM"
        ),
    ],
)
def test_given_a_secret_that_does_not_fit_when_loaded_then_the_settings_are_wrong(
    make: Any, algorithm: str
) -> None:
    with pytest.raises(SettingsUnavailable):
        load_secret(make(), algorithm)
