"""AWS fails at every call, in every way: the answers to clients, and the state after.

The calls are those of a clean run, so a new call is tried automatically. Every place in
the source that calls AWS has to be reached.
"""

import ast
import functools
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.retries import standard
from botocore.retries.quota import RetryQuota
from moto import backend_index, mock_aws
from moto.backend_index import backend_url_patterns
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ses.models import ses_backends

from anonauth import keys
from support.engine.engines import Engine
from support.engine.fault_operations import GROUPS, HOT, OPERATIONS
from support.engine.fault_world import World
from support.engine.faulting import Faults, Tally
from support.engine.faults import CONNECT_TIMEOUT, READ_TIMEOUT
from support.forgery.key_server import KeyServer, Signer
from support.project.tools import ROOT
from support.service.harness import SENDER, Deployment
from support.service.rings import RsaKeys
from support.service.socket_wire import (
    Answer,
    Asked,
    Front,
    RawTable,
    SocketClients,
    Upstream,
    by_engine,
    by_moto,
    without_moto,
)

PACKAGE = ROOT / "functions" / "anonauth"

SERVICES = {"events", "kms", "ses", "sesv2", "ssm"}

pytestmark = pytest.mark.parametrize(
    "engine", ["dynoxide"], indirect=True, scope="package"
)


@pytest.fixture(scope="module")
def world(engine: Engine) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch, mock_aws(), KeyServer() as server:
        patch.setenv("AWS_DEFAULT_REGION", engine.region)
        patch.setattr(keys, "generate_private_key", RsaKeys().generate)
        # The SDK retries calls itself, after a pause, and ever less often while they
        # fail. That budget starts anew with each execution environment.
        patch.setattr(standard.ExponentialBackoff, "delay_amount", lambda *_: 0.0)
        patch.setattr(
            standard.quota, "RetryQuota", functools.partial(RetryQuota, 10**9)
        )
        # moto asks each of its services whether it serves an address.
        ours = [each for each in backend_url_patterns if each[0] in SERVICES]
        patch.setattr(backend_index, "backend_url_patterns", ours)
        key_id = boto3.client("kms").create_key()["KeyMetadata"]["KeyId"]
        backend: Any = ses_backends[DEFAULT_ACCOUNT_ID][engine.region]
        backend.verify_email_identity(SENDER)
        with (
            engine.table() as table,
            by_engine(engine.endpoint_url) as tables,
            Front(_behind(tables, by_moto(engine.region))) as front,
        ):
            clients = SocketClients(front, engine.region, key_id)
            without_moto(engine.db)
            service = Deployment(table, engine.db, key_id, clients)
            raw, mails = RawTable(table, tables), backend.sent_messages
            yield World(service, clients, raw, server, Signer(), mails)
            clients.close()


def _behind(tables: Upstream, others: Upstream) -> Upstream:
    def upstream(asked: Asked) -> Answer:
        return (tables if asked.service == "dynamodb" else others)(asked)

    return upstream


@pytest.fixture(scope="module")
def prepared(world: World) -> Callable[[str], Faults]:
    """Return an operation that starts cold, prepared once."""
    return functools.cache(lambda name: Faults(name, OPERATIONS[name], world))


def test_given_our_clients_when_made_then_they_give_up_as_is_counted_here(
    world: World,
) -> None:
    """Otherwise the times that the tests below allow would be wrong."""
    store: Any = world.service.services.store._connection.client
    clients = [store, *(world.clients.connect(name) for name in ("kms", "sesv2"))]

    for client in clients:
        config = client.meta.config
        assert config.connect_timeout == CONNECT_TIMEOUT
        assert config.read_timeout == READ_TIMEOUT


@pytest.mark.parametrize(
    "name", [*HOT, pytest.param("link local-userpass", marks=pytest.mark.long)]
)
def test_given_a_warm_function_when_a_call_fails_then_its_client_gets_what_it_asked_for(
    world: World, name: str
) -> None:
    tally = Tally()

    faults = Faults(name, OPERATIONS[name], world, is_warm=True)
    faults.try_all(tally, without_variants=faults.sites)

    assert tally.hidden
    assert tally.refused


@pytest.mark.parametrize(
    ("name", "once", "always"),
    [
        ("refresh", 12, 12),
        pytest.param("refresh", 100, 10_000, marks=pytest.mark.long),
        pytest.param("link local-userpass", 60, 20, marks=pytest.mark.long),
        pytest.param("log in api-key", 60, 20, marks=pytest.mark.long),
        pytest.param("merge into a user", 60, 20, marks=pytest.mark.long),
        pytest.param("reset", 60, 20, marks=pytest.mark.long),
    ],
    ids=str,
)
def test_given_a_warm_function_when_an_answer_ends_early_then_no_user_is_lost(
    world: World,
    name: str,
    once: int,
    always: int,
    record_property: Callable[[str, object], None],
) -> None:
    """At every byte of the answer that a refresh reads, if the answer is long."""
    tally = Tally()

    faults = Faults(name, OPERATIONS[name], world, is_warm=True)
    faults.try_cuts(tally, once=once, always=always)

    record_property(f"cuts, {name}:", str(tally))
    assert tally.hidden
    assert tally.refused


@pytest.mark.long
@pytest.mark.parametrize("group", GROUPS)
def test_given_any_call_that_fails_in_any_way_then_its_client_gets_what_it_asked_for(
    prepared: Callable[[str], Faults],
    group: str,
    record_property: Callable[[str, object], None],
) -> None:
    """At once, or after one retry. Nothing is half done, in between or afterwards.

    A line that calls AWS meets each variant of a fault in one operation of its group.
    Most operations read the key ring and the settings by the same lines.
    """
    tally = Tally()
    met: set[str] = set()

    for name in GROUPS[group]:
        faults = prepared(name)
        faults.try_all(tally, without_variants=met)
        faults.try_cuts(tally, once=4, always=1, without=met)
        met.update(faults.sites)

    record_property(f"faults, {group}:", str(tally))
    assert tally.hidden
    assert tally.refused


@pytest.mark.long
@pytest.mark.parametrize(
    "name", ["link local-userpass", "link custom-token", "merge into a user", "delete"]
)
def test_given_any_two_calls_that_fail_then_its_client_gets_what_it_asked_for(
    world: World, name: str, record_property: Callable[[str, object], None]
) -> None:
    tally = Tally()

    Faults(name, OPERATIONS[name], world, is_warm=True).try_pairs(tally)

    record_property(f"pairs of faults, {name}:", str(tally))
    assert tally.hidden
    assert not tally.refused  # each call of a warm function has three attempts


@pytest.mark.long
def test_given_the_source_when_searched_then_all_its_calls_to_aws_are_tried_here(
    prepared: Callable[[str], Faults],
) -> None:
    tried = {site for name in OPERATIONS for site in prepared(name).sites}

    assert tried == sites_in_source() - OF_OPERATORS


OF_OPERATORS = {
    "store/accounts:delete_account",
    "store/overview:get_data_of",
    "store/restoring:_read_raw",
    "store/restoring:restore_records",
    "store/restoring:restore_user",
}
"""Only the commands of an operator make these calls: `export`, `restore`, `doctor`."""


def sites_in_source() -> set[str]:
    """Return the functions that call the table, or a client of AWS."""
    return {
        f"{path.relative_to(PACKAGE).with_suffix('')}:{function.name}"
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] not in {"cli", "local"}
        and path.name != "table.py"
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        and any(map(_is_call_to_aws, ast.walk(function)))
    }


def _is_call_to_aws(node: ast.AST) -> bool:
    # self._send(…), self._try_write(…) of the store; self._client.…(…) of others.
    match node:
        case ast.Call(func=ast.Attribute(attr="_send" | "_try_write")):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="_client"))):
            return True
    return False
