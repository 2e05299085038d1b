"""What others are asked for: key sets, configurations, answers, and our settings."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from anonauth.challenges import SiteVerify
from anonauth.errors import BadCredential, ChallengeFailed, ProviderUnavailable
from anonauth.issuers.fetch import Fetcher, Reply
from anonauth.issuers.key_sets import Key, KeySets
from anonauth.provider_settings.schema import (
    ChallengeSettings,
    FacebookSettings,
    GoogleSettings,
)
from anonauth.providers.oauth2_facebook import Facebook
from anonauth.providers.oauth2_google import Google
from support.forgery.key_server import Answer, KeyServer, Signer, unlimited
from support.hostile.fuzzing import HOSTILE, Body, Mutator, new_seed, timely

Record = Callable[[str, object], None]

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
URL = "https://issuer.example/keys"
ALGORITHMS = ["RS256", "PS256", "ES256", "ES512", "EdDSA"]

REPETITIONS = pytest.mark.parametrize(
    "times", [300, pytest.param(10_000, marks=pytest.mark.long)]
)


class Says(Fetcher):
    """Answers whatever it is told to, as if it had been fetched."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply

    def _fetch(self, method: str, url: str, form: bytes | None) -> Reply:
        return self.reply


def as_fetched(value: Any) -> Reply | None:
    """Return a value as JSON would bring it, None if a fetcher refuses it."""
    body = json.loads(json.dumps(value))
    return Reply(200, body) if isinstance(body, dict) else None


@pytest.fixture(scope="module")
def signers() -> list[Signer]:
    return [Signer(algorithm, f"key-{algorithm}") for algorithm in ALGORITHMS]


def find(fetcher: Fetcher, url: str, kid: str | None, algorithm: str) -> Key | None:
    keys = KeySets(fetcher).keys(url, kid=kid, algorithm=algorithm, now=NOW)
    return next(keys, None)


def read_with(fetcher: Fetcher, url: str = URL) -> list[object]:
    """Return what the document at a URL is good for, read in all ways."""
    found: list[object] = []
    for algorithm in ALGORITHMS:
        for kid in (None, f"key-{algorithm}"):
            # A cache of its own for each: none is asked twice in a minute.
            try:
                key = find(fetcher, url, kid, algorithm)
            except ProviderUnavailable:
                continue
            found.append(key)
    return found


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_given_a_hostile_document_when_fetched_then_it_has_no_key_within_50_ms(
    providers: KeyServer, signers: list[Signer], make: Callable[[Body], bytes]
) -> None:
    providers.answers["/keys"] = Answer(make({"keys": []}))
    fetcher = Fetcher(allow_private=True)

    def look() -> object:
        try:
            return find(fetcher, f"{providers.url}/keys", "a", "RS256")
        except ProviderUnavailable:
            return None

    assert timely(look) is None


@REPETITIONS
def test_given_a_key_set_when_changed_then_its_keys_are_public_or_none(
    signers: list[Signer], times: int, record_property: Record
) -> None:
    seed, told = new_seed()
    mutator, good = Mutator(seed), {"keys": [signer.jwk() for signer in signers]}
    keys = 0

    for _ in range(times):
        changed = mutator.value(good)
        reply = as_fetched(changed)
        if reply is None:
            continue
        says = Says(reply)
        found = timely(lambda: read_with(says))  # noqa: B023
        for key in found:
            assert key is None or hasattr(key, "public_bytes"), (told, changed)
        keys += sum(key is not None for key in found)

    record_property("seed", told)
    record_property("key sets", f"{times}, with {keys} keys that can be used")
    assert keys > times


@REPETITIONS
def test_given_a_configuration_when_changed_then_it_names_an_issuer_or_is_refused(
    times: int, record_property: Record
) -> None:
    seed, told = new_seed()
    good = {"issuer": "https://issuer.example", "jwks_uri": URL}
    mutator, taken = Mutator(seed), 0
    fetcher = Fetcher(resolve=lambda _: ["127.0.0.1"])

    for _ in range(times):
        changed = mutator.value(good)
        reply = as_fetched(changed)
        if reply is None:
            continue
        try:
            found = KeySets(Says(reply)).discover(URL, None, NOW)
        except ProviderUnavailable:
            continue
        assert isinstance(found.issuer, str), (told, changed)
        # Wherever it says that the keys are: not in a private network.
        with pytest.raises(ProviderUnavailable):
            fetcher.document(found.jwks_url)
        taken += 1

    record_property("seed", told)
    record_property("configurations", f"{times}, of which {taken} can be used")
    assert taken > times / 10


CHALLENGE = ChallengeSettings(
    verify_url=URL, secret="s", hostnames=("a.example",), action="login", min_score=0.5
)
PASSED = {"success": True, "hostname": "a.example", "action": "login", "score": 0.9}
FAILED = {"success": False, "error-codes": ["invalid-input-response"]}


def passes(answer: Mapping[str, Any]) -> bool:
    try:
        SiteVerify(CHALLENGE, Says(Reply(200, answer))).verify("x")
    except (ChallengeFailed, ProviderUnavailable):
        return False
    return True


@pytest.mark.parametrize("good", [PASSED, FAILED], ids=["passed", "failed"])
@REPETITIONS
def test_given_a_challenges_answer_when_changed_then_it_passes_only_if_it_says_so(
    good: Mapping[str, Any], times: int, record_property: Record
) -> None:
    seed, told = new_seed()
    mutator, passed = Mutator(seed), 0

    for _ in range(times):
        changed = mutator.value(dict(good))
        reply = as_fetched(changed)
        if reply is not None and timely(lambda: passes(reply.body)):  # noqa: B023
            said: dict[str, Any] = {name: reply.body.get(name) for name in PASSED}
            score = said.pop("score")
            # Names of hosts are the same in capitals (RFC 4343 §3).
            said["hostname"] = str(said["hostname"]).lower()
            assert said == {k: v for k, v in PASSED.items() if k != "score"}, told
            assert type(score) in {int, float}, told
            assert 0.5 <= score <= 1, told
            passed += 1

    record_property("seed", told)
    record_property("answers", f"{times}, of which {passed} pass")
    assert (passed > 0) == (good is PASSED)


FACEBOOK = FacebookSettings(app_id="1", app_secret="s")
INSPECTED = {
    "data": {
        "is_valid": True,
        "app_id": "1",
        "type": "USER",
        "expires_at": 0,
        "user_id": "7",
    },
    # Of the other call's answer: both are read from the same here.
    "id": "7",
    "name": "Ada",
    "picture": {"data": {"url": "https://a.example/"}},
    "error": {"code": 190},
}
EXCHANGED = {"id_token": "e30.e30.e30", "error": None}
GOOGLE = GoogleSettings(client_ids=("web",), client_secret="s")


def of_facebook(fetcher: Fetcher) -> Facebook:
    return Facebook(FACEBOOK, KeySets(fetcher), fetcher, unlimited)


@pytest.mark.parametrize("status", [200, 400])
@REPETITIONS
def test_given_facebooks_answers_when_changed_then_they_prove_one_user_or_nobody(
    status: int, times: int, record_property: Record
) -> None:
    seed, told = new_seed()
    mutator, proved = Mutator(seed), 0

    def verify(body: Mapping[str, Any]) -> str | None:
        provider = of_facebook(Says(Reply(status, body)))
        try:
            found = provider.verify({"accessToken": "a"}, network="", now=NOW)
        except (BadCredential, ProviderUnavailable):
            return None
        for text in (*found.data, *found.data.values()):
            assert text.encode().decode() == text, told  # no half a character
        return found.id

    for _ in range(times):
        changed = mutator.value(INSPECTED)
        reply = as_fetched(changed)
        if reply is not None and (found := timely(lambda: verify(reply.body))):  # noqa: B023
            assert reply.body["data"]["is_valid"] is True, told
            assert found == str(reply.body["data"]["user_id"]), told
            assert found == str(reply.body["id"]), told
            proved += 1

    record_property("seed", told)
    record_property(f"Facebook's answers of {status}", f"{times}, {proved} of a user")
    assert (proved > 0) == (status == 200)


@pytest.mark.parametrize("status", [200, 400])
@REPETITIONS
def test_given_googles_answers_when_changed_then_no_other_error_than_a_refusal(
    status: int, times: int, record_property: Record
) -> None:
    seed, told = new_seed()
    mutator = Mutator(seed)

    for _ in range(times):
        reply = as_fetched(mutator.value(EXCHANGED))
        if reply is None:
            continue
        says = Says(Reply(status, reply.body))
        provider = Google(GOOGLE, KeySets(says), says, unlimited)
        with pytest.raises((BadCredential, ProviderUnavailable)):
            provider.verify({"authCode": "a"}, network="", now=NOW)

    record_property("seed", told)
