"""Fixtures of the unit suite: moto is the only fake of AWS."""

import copy
import functools
import gc
import io
import logging
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import botocore.compat
import botocore.hooks
import botocore.loaders
import botocore.session
import pytest
import typer.main
import typer.testing
from argon2 import PasswordHasher
from botocore.auth import SigV4Auth
from botocore.config import Config
from botocore.hooks import EventAliaser, HierarchicalEmitter
from cryptography.hazmat.primitives.asymmetric import rsa
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends
from moto.ses.models import ses_backends
from mypy_boto3_dynamodb import DynamoDBClient

from anonauth import keys
from anonauth.handlers import _http
from anonauth.local.dynamodb.moto_patches import patch_moto
from anonauth.store import Store
from support.service.harness import SENDER, TABLE, Clients, Deployment, make_table
from support.service.rings import RsaKeys


def pytest_configure() -> None:
    # Each session would read anew what botocore knows of a service, and learn its names
    # of events again. A service that a test starts has a dozen sessions.
    patch = pytest.MonkeyPatch()
    patch.setattr(
        botocore.session,
        "create_loader",
        functools.cache(botocore.loaders.create_loader),
    )
    aliaser: Any = EventAliaser(HierarchicalEmitter())
    alias = type(aliaser)._alias_event_name
    patch.setattr(
        EventAliaser, "_alias_event_name", lambda _, name: alias(aliaser, name)
    )
    # It would also look at the signature of each of its handlers again.
    accepts_kwargs = functools.lru_cache(1024)(botocore.compat.accepts_kwargs)
    patch.setattr(
        botocore.hooks,
        "accepts_kwargs",
        lambda handler: accepts_kwargs(getattr(handler, "__func__", handler)),
    )
    # Each session would also register its 127 handlers one by one.
    handlers: Any = botocore.session.Session()._events._emitter  # type: ignore[attr-defined]

    def with_handlers(self: Any, events: Any) -> None:
        events._emitter = self._original_handler = copy.copy(handlers)

    patch.setattr(botocore.session.Session, "_register_builtin_handlers", with_handlers)
    # moto checks no signature.
    patch.setattr(SigV4Auth, "add_auth", _with_no_signature(SigV4Auth.add_auth))
    # Typer would build all commands anew for each that a test runs.
    patch.setattr(
        typer.testing, "_get_command", functools.cache(typer.main.get_command)
    )


def _with_no_signature(sign: Callable[..., None]) -> Callable[..., None]:
    def add(self: Any, request: Any) -> None:
        # An engine has another address, and looks at the signature.
        is_for_moto = ".amazonaws.com/" in request.url and type(self) is SigV4Auth
        if not is_for_moto or self.credentials is None:
            sign(self, request)
            return
        scope = f"20260310/{self._region_name}/{self._service_name}/aws4_request"
        del request.headers["Authorization"]  # of the attempt before
        request.headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.credentials.access_key}/{scope}, "
            "SignedHeaders=host, Signature=0"
        )

    return add


def pytest_collection_finish() -> None:
    # The imports of the suite are a million objects that live on: sweeping them again
    # and again takes a third of its time.
    gc.freeze()


# For all tests, so that it begins before a module's service and ends after it.
# Otherwise the service would take the credentials along that moto needs.
@pytest.fixture(scope="session", autouse=True)
def moto() -> Iterator[None]:
    # Without the patches a transaction copies the table, and moto keeps a gigabyte.
    with pytest.MonkeyPatch.context() as patch, patch_moto(), mock_aws():
        patch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        yield


@pytest.fixture(scope="session")
def db(moto: None) -> DynamoDBClient:
    return boto3.client("dynamodb", config=Config(user_agent="tests"))


@pytest.fixture(scope="session")
def key_id(moto: None) -> str:
    return boto3.client("kms").create_key()["KeyMetadata"]["KeyId"]


@pytest.fixture(scope="session")
def made_table(db: DynamoDBClient) -> Any:
    """An empty table as moto has it, to be copied: making it takes two calls."""
    make_table(db, TABLE)
    return _moto_tables().pop(TABLE)


@pytest.fixture
def table(made_table: Any) -> Iterator[str]:
    """An empty table."""
    tables = _moto_tables()
    tables[TABLE] = copy.deepcopy(made_table)
    yield TABLE
    del tables[TABLE]


def _moto_tables() -> dict[str, Any]:
    tables: dict[str, Any] = dynamodb_backends[DEFAULT_ACCOUNT_ID][
        "eu-central-1"
    ].tables
    return tables


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


@pytest.fixture(scope="session", autouse=True)
def made_keys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "generate_private_key", RsaKeys().generate)
        yield


@pytest.fixture(scope="session")
def made_ring() -> dict[str, Any]:
    """Holds the first ring that a test deployed, as moto has it."""
    return {}


@pytest.fixture
def service(new_service: Deployment, made_ring: dict[str, Any]) -> Deployment:
    """The service, deployed: it has a key ring, and has loaded nothing yet."""
    items: Any = _moto_tables()[new_service.table].items
    if made_ring:
        items.update(copy.deepcopy(made_ring))
        return new_service
    with pytest.MonkeyPatch.context() as patch:
        # Its keys are in every test: no other key may be one of them.
        patch.setattr(keys, "generate_private_key", rsa.generate_private_key)
        new_service.rotate()
    made_ring.update(copy.deepcopy(dict(items)))
    new_service.wire.reset()
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
