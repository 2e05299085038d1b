"""The provider `api-key`, on the real store."""

from datetime import timedelta
from typing import Any

import pytest

from anonauth.domain.encoding import hash_secret
from anonauth.domain.users import ApiKey, Session, User
from anonauth.errors import BadCredential, BadRequest, StoreUnavailable
from anonauth.providers.api_key import ApiKeyProvider
from anonauth.store import Store
from support.service.harness import APP, OTHER_APP, START, Clients
from support.service.wire import no_connection

SECRET = "k" * 43
NETWORK = "203.0.113.9"


@pytest.fixture
def key(store: Store) -> ApiKey:
    """A key whose secret is `SECRET`, of user u1."""
    session = Session("s1", "hash", "custom-token", START, START.date())
    user = User(
        app=APP,
        id="u1",
        anonymous=False,
        version=1,
        created_at=START,
        last_active_day=START.date(),
        expires_at=None,
        sessions={"s1": session},
        identities=(),
    )
    key = ApiKey("k1", "laptop", hash_secret(SECRET), START)
    assert store.create_user(user)
    assert store.create_api_key(user, session, key, START)
    return key


def test_given_a_key_when_verified_then_it_is_that_of_its_user(
    store: Store, key: ApiKey
) -> None:
    provider = ApiKeyProvider(APP, identities=store)

    identity = provider.verify({"key": SECRET}, network=NETWORK, now=START)

    assert (identity.provider, identity.id) == ("api-key", key.id)
    assert identity.key == key.hash
    assert identity.record is not None
    assert identity.record.user_id == "u1"


def test_given_other_fields_beside_the_key_when_verified_then_they_are_ignored(
    store: Store, key: ApiKey
) -> None:
    """Core adds `provider`, and every SDK `options` (client-api.md §1.9, §2.2)."""
    provider = ApiKeyProvider(APP, identities=store)
    body = {"key": SECRET, "provider": "api-key", "options": {"device": {}}}

    identity = provider.verify(body, network=NETWORK, now=START + timedelta(days=999))

    assert identity.id == key.id


@pytest.mark.parametrize(
    "secret",
    [
        pytest.param("K" * 43, id="other case"),
        pytest.param("k" * 42, id="one short"),
        pytest.param("k" * 44, id="one long"),
        pytest.param(f" {SECRET}", id="a space before it"),
        pytest.param(hash_secret(SECRET), id="its hash"),
        pytest.param("k1", id="its id"),
        pytest.param("ключ", id="not ASCII"),
        pytest.param("k" * 256, id="as long as can be"),
    ],
)
def test_given_another_text_when_verified_then_it_is_no_key(
    store: Store, key: ApiKey, secret: str
) -> None:
    provider = ApiKeyProvider(APP, identities=store)

    with pytest.raises(BadCredential) as refusal:
        provider.verify({"key": secret}, network=NETWORK, now=START)

    assert refusal.value.reason == "invalid API key"
    assert str(refusal.value) == "unauthorized"


def test_given_a_key_of_another_app_when_verified_then_it_is_no_key(
    store: Store, key: ApiKey
) -> None:
    provider = ApiKeyProvider(OTHER_APP, identities=store)

    with pytest.raises(BadCredential):
        provider.verify({"key": SECRET}, network=NETWORK, now=START)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="missing"),
        pytest.param({"key": None}, id="null"),
        pytest.param({"key": 5}, id="number"),
        pytest.param({"key": [SECRET]}, id="array"),
        pytest.param({"key": {"$oid": SECRET}}, id="object"),
        pytest.param({"key": ""}, id="empty"),
        pytest.param({"key": "k" * 257}, id="overlong"),
        pytest.param({"Key": SECRET}, id="other name"),
    ],
)
def test_given_nothing_that_could_be_a_key_when_verified_then_the_table_is_not_asked(
    store: Store, clients: Clients, body: dict[str, Any]
) -> None:
    with pytest.raises(BadRequest):
        ApiKeyProvider(APP, identities=store).verify(body, network=NETWORK, now=START)

    assert clients.wire.calls == []


def test_given_no_table_when_verified_then_nothing_is_said_of_the_key(
    store: Store, key: ApiKey, clients: Clients
) -> None:
    clients.wire.always = no_connection

    with pytest.raises(StoreUnavailable):
        ApiKeyProvider(APP, identities=store).verify(
            {"key": SECRET}, network=NETWORK, now=START
        )
