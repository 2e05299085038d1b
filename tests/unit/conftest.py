"""Fixtures of the unit suite: moto is the only fake of AWS."""

import functools
import gc
import io
import logging
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import botocore.loaders
import botocore.session
import pytest
from argon2 import PasswordHasher
from cryptography.hazmat.primitives.asymmetric import rsa
from moto import mock_aws
from moto.core import responses, utils
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.serialize import ResponseSerializer
from moto.ses.models import ses_backends
from mypy_boto3_dynamodb import DynamoDBClient

from anonauth import keys
from anonauth.handlers import _http
from anonauth.store import Store
from support.service.harness import SENDER, TABLE, Clients, Deployment, make_table
from support.service.rings import RsaKeys


def pytest_configure() -> None:
    # moto looks for every attribute under several names; DynamoDB's have the right one
    # already, and the search takes half the time of the suite.
    slow = ResponseSerializer.get_value

    def get_value(self: Any, value: Any, key: str, shape: Any) -> Any:
        service = self.operation_model.service_model.service_name
        if service == "dynamodb" and type(value) is dict:
            return value.get(key)
        return slow(self, value, key, shape)

    ResponseSerializer.get_value = get_value  # type: ignore[method-assign]

    # For each call it lists the methods of a class again.
    pytest.MonkeyPatch().setattr(
        responses,
        "method_names_from_class",
        functools.cache(utils.method_names_from_class),
    )

    # Each session reads anew what botocore knows of a service, and each service that a
    # test starts has a dozen sessions.
    pytest.MonkeyPatch().setattr(
        botocore.loaders,
        "create_loader",
        functools.cache(botocore.loaders.create_loader),
    )


def pytest_collection_finish() -> None:
    # The imports of the suite are a million objects that live on: sweeping them again
    # and again takes a third of its time.
    gc.freeze()


@pytest.fixture(scope="session")
def moto() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        yield


@pytest.fixture(scope="session")
def db(moto: None) -> DynamoDBClient:
    return boto3.client("dynamodb")


@pytest.fixture(scope="session")
def key_id(moto: None) -> str:
    return boto3.client("kms").create_key()["KeyMetadata"]["KeyId"]


@pytest.fixture
def table(db: DynamoDBClient) -> Iterator[str]:
    """An empty table."""
    make_table(db, TABLE)
    yield TABLE
    db.delete_table(TableName=TABLE)


@pytest.fixture(scope="session")
def shared_clients(moto: None) -> Clients:
    return Clients()


@pytest.fixture
def clients(shared_clients: Clients) -> Clients:
    """The clients, and a wire without memory and faults."""
    shared_clients.wire.reset()
    return shared_clients


@pytest.fixture
def store(table: str, clients: Clients) -> Store:
    """A store that does not wait between its attempts."""
    return clients.store(table)


@pytest.fixture
def new_service(
    table: str, db: DynamoDBClient, key_id: str, clients: Clients
) -> Deployment:
    """The service before its first deployment has made a key ring."""
    return Deployment(table, db, key_id, clients)


@pytest.fixture(scope="session")
def rsa_keys() -> RsaKeys:
    return RsaKeys()


@pytest.fixture(autouse=True)
def made_keys(rsa_keys: RsaKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "generate_private_key", rsa_keys.generate)


@pytest.fixture(scope="session")
def made_ring() -> dict[str, Any]:
    """Holds the first ring that a test deployed."""
    return {}


@pytest.fixture
def service(new_service: Deployment, made_ring: dict[str, Any]) -> Deployment:
    """The service, deployed: it has a key ring, and has loaded nothing yet."""
    if made_ring:
        new_service.db.put_item(TableName=new_service.table, Item=made_ring)
    with pytest.MonkeyPatch.context() as patch:
        # Its keys are in every test: no other key may be one of them.
        patch.setattr(keys, "generate_private_key", rsa.generate_private_key)
        new_service.rotate()
    made_ring.update(new_service.items("KEY#")["KEY#ring"])
    new_service.restart()
    return new_service


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the functions log, as it would reach CloudWatch."""
    (handler,) = _http.logger.handlers
    assert isinstance(handler, logging.StreamHandler)
    before = handler.setStream(stream := io.StringIO())
    yield stream
    handler.setStream(before)


@pytest.fixture
def sent(moto: None) -> Iterator[list[Any]]:
    """The mails that SES has taken."""
    backend = ses_backends[DEFAULT_ACCOUNT_ID]["eu-central-1"]
    backend.reset()  # a service that another test has started may have sent some
    backend.verify_email_identity(SENDER)
    yield backend.sent_messages
    backend.reset()


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hashes that argon2 is run on."""
    seen: list[str] = []
    verify: Callable[..., bool] = PasswordHasher.verify

    def record(self: PasswordHasher, hash: str, password: str) -> bool:  # noqa: A002
        seen.append(hash)
        return verify(self, hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", record)
    return seen
