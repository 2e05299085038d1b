"""Damaged answers of AWS, on a real socket: never taken for an answer.

`tests/engine/test_faults.py` has them at every call of every operation.
"""

import functools
import itertools
import json
import re
import secrets
from binascii import crc32
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.retries import standard
from botocore.retries.quota import RetryQuota
from botocore.session import Session, get_session
from mypy_boto3_dynamodb import DynamoDBClient

from anonauth.aws_answers import DAMAGED, check_answers, is_damaged
from anonauth.domain.providers import USERPASS
from anonauth.errors import StoreUnavailable
from anonauth.store import Store
from support.service.harness import (
    APP,
    CREATE_KEY,
    DELETE,
    LINK,
    LIST_KEYS,
    LOGIN,
    LOGOUT,
    PROFILE,
    SENDER,
    SESSION,
    SETTINGS,
    Deployment,
    Reply,
    make_table,
)
from support.service.socket_wire import (
    Act,
    Answer,
    Asked,
    Break,
    Front,
    Said,
    SocketClients,
    SocketWire,
    Upstream,
    answer,
    by_moto,
)

REGION = "eu-central-1"
ITEM = {"pk": {"S": "USER#app#0123"}, "anonymous": {"BOOL": True}}


@pytest.fixture(scope="module")
def session() -> Session:
    made = get_session()
    made.set_credentials("somebody", "secret")
    check_answers(made)
    return made


# -- One call: each service, each byte -----------------------------------------------

CALLS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "get_item": (
        "dynamodb",
        {"TableName": "t", "Key": {"pk": {"S": "USER#app#0123"}}},
        {"Item": ITEM},
    ),
    "put_item": ("dynamodb", {"TableName": "t", "Item": ITEM}, {}),
    "decrypt": (
        "kms",
        {"CiphertextBlob": b"wrapped"},
        {"KeyId": "k", "Plaintext": "a2V5"},
    ),
    "get_parameter": (
        "ssm",
        {"Name": "/settings"},
        {"Parameter": {"Name": "/settings", "Value": "{}"}},
    ),
    "put_events": (
        "events",
        {"Entries": [{"Source": "anonauth"}]},
        {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]},
    ),
    "send_email": ("sesv2", {"Content": {}}, {"MessageId": "0100"}),
}


class Spoken:
    """What the server says to the next calls, without a word of AWS's."""

    def __init__(self, session: Session, front: Front) -> None:
        self._session = session
        self._front = front
        self._clients: dict[str, Any] = {}
        self.attempts = 0

    def call(self, name: str, said: Said, *, total_attempts: int = 1) -> Any:
        service, arguments, _ = CALLS[name]
        key = f"{service} {total_attempts}"
        if key not in self._clients:
            self._clients[key] = self._session.create_client(
                service,
                region_name=REGION,
                endpoint_url=self._front.url,
                config=Config(
                    retries={"total_max_attempts": total_attempts, "mode": "standard"}
                ),
            )
        self.attempts = 0

        def say(_: Asked) -> Answer:
            raise AssertionError

        def act(_: Asked, __: Upstream) -> Said:
            self.attempts += 1
            if self.attempts < total_attempts:
                self._front.expect(act)
            return said

        self._front.upstream = say
        self._front.expect(act)
        return getattr(self._clients[key], name)(**arguments)


@pytest.fixture(scope="module")
def spoken(session: Session) -> Iterator[Spoken]:
    with Front(lambda _: answer(200, {})) as front:
        yield Spoken(session, front)


def with_crc(whole: Answer) -> Answer:
    """Return an answer as DynamoDB frames it."""
    crc = ("x-amz-crc32", str(crc32(whole.body)))
    return Answer(whole.status, (*whole.headers, crc), whole.body)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("get_item", 1),
        *(pytest.param(name, 1, marks=pytest.mark.long) for name in [*CALLS][1:]),
        *((name, 11) for name in [*CALLS][1:]),
    ],
    ids=str,
)
def test_given_an_answer_when_the_connection_ends_at_any_byte_then_it_is_none(
    spoken: Spoken, name: str, step: int
) -> None:
    whole = bytes(with_crc(answer(200, CALLS[name][2])))

    for length in range(0, len(whole), step):
        with pytest.raises((ClientError, BotoCoreError)):
            spoken.call(name, Said(whole[:length], "close"))

    found = spoken.call(name, Said(whole))
    assert found["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_given_a_refusal_when_the_connection_ends_at_any_byte_then_it_refuses_nothing(
    spoken: Spoken,
) -> None:
    refusal = {"__type": "com.amazonaws#ConditionalCheckFailedException"}
    whole = bytes(answer(400, {**refusal, "message": "The conditional request failed"}))
    codes = set()

    for length in range(len(whole)):
        with pytest.raises((ClientError, BotoCoreError)) as failed:
            spoken.call("put_item", Said(whole[:length], "close"))
        if isinstance(failed.value, ClientError):
            codes.add(failed.value.response["Error"]["Code"])

    assert codes == {DAMAGED}
    with pytest.raises(ClientError) as refused:
        spoken.call("put_item", Said(whole))
    assert refused.value.response["Error"]["Code"] == "ConditionalCheckFailedException"


GOOD = with_crc(answer(200, {"Item": ITEM}))
HALF = GOOD.body[: len(GOOD.body) // 2]

DAMAGES = {
    "half a body": Said(GOOD.head + HALF, "close"),
    "half a body of right length": Said(bytes(GOOD.with_body(HALF))),
    "empty body": Said(bytes(GOOD.with_body(b""))),
    "page of HTML": Said(bytes(answer(200, b"<html>Log in</html>", "text/html"))),
    "altered by a letter": Said(bytes(GOOD).replace(b"USER", b"USEP")),
    "altered, shorter, CRC of what was sent": Said(
        bytes(answer(200, {})).replace(b"\r\n\r\n", b"\r\nx-amz-crc32: 1\r\n\r\n")
    ),
    "not in UTF-8": Said(bytes(GOOD.with_body(b'{"Item":{"pk":{"S":"\xff"}}}'))),
    "JSON, but null": Said(bytes(GOOD.with_body(b"null"))),
    "JSON, but a list": Said(bytes(GOOD.with_body(b"[]"))),
    "JSON, and more": Said(bytes(GOOD.with_body(GOOD.body + b"}"))),
    "deeper than anything": Said(bytes(GOOD.with_body(b"[" * 100_000))),
    "a length of no number": Said(
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n" + GOOD.body, "close"
    ),
    "a redirect": Said(bytes(answer(302, b"<html>Moved</html>", "text/html"))),
    "a refusal of HTML": Said(bytes(answer(400, b"<html>Bad</html>", "text/html"))),
    "a refusal without a body": Said(bytes(answer(400, b""))),
}


@pytest.mark.parametrize("said", DAMAGES.values(), ids=DAMAGES)
def test_given_a_damaged_answer_when_it_comes_then_it_is_an_unknown_outcome(
    spoken: Spoken, said: Said
) -> None:
    with pytest.raises(ClientError) as failed:
        spoken.call("get_item", said)

    error = failed.value.response
    assert error["Error"]["Code"] == DAMAGED
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 500


@pytest.mark.parametrize(
    "body",
    [b"<html>Down</html>", b"<h1>Down</h1>", b"[]", b"\xff", b'{"__type":"Intern'],
    ids=["page", "other page", "list", "no UTF-8", "half"],
)
def test_given_a_5xx_with_any_body_when_it_comes_then_its_status_is_what_is_told(
    spoken: Spoken, body: bytes
) -> None:
    with pytest.raises(ClientError) as failed:
        spoken.call("get_item", Said(bytes(answer(503, body))))

    assert failed.value.response["Error"]["Code"] == "503"


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(bytes(GOOD), id="with CRC"),
        pytest.param(bytes(GOOD.with_body(GOOD.body)), id="without CRC"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            + f"{len(GOOD.body):x}\r\n".encode()
            + GOOD.body
            + b"\r\n0\r\n\r\n",
            id="in chunks",
        ),
    ],
)
def test_given_a_whole_answer_when_it_comes_then_it_is_read(
    spoken: Spoken, whole: bytes
) -> None:
    assert spoken.call("get_item", Said(whole))["Item"] == ITEM


def test_given_no_item_when_the_answer_says_so_then_there_is_none(
    spoken: Spoken,
) -> None:
    found = spoken.call("get_item", Said(bytes(with_crc(answer(200, {})))))

    assert "Item" not in found


@pytest.mark.parametrize("name", ["decrypt", "get_parameter", "put_events"])
def test_given_an_answer_without_what_was_asked_for_when_it_comes_then_it_is_none(
    spoken: Spoken, name: str
) -> None:
    with pytest.raises(ClientError) as failed:
        spoken.call(name, Said(bytes(answer(200, {}))))

    assert failed.value.response["Error"]["Code"] == DAMAGED


def test_given_a_client_that_repeats_when_an_answer_is_damaged_then_it_asks_again(
    spoken: Spoken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)

    with pytest.raises(ClientError):
        spoken.call("decrypt", DAMAGES["half a body"], total_attempts=2)

    assert spoken.attempts == 2


def test_given_an_operators_client_when_an_answer_is_damaged_then_it_asks_once() -> (
    None
):
    made = get_session()
    made.set_credentials("somebody", "secret")
    check_answers(made, repeats=False)

    with Front(lambda _: answer(200, {})) as front:
        spoken = Spoken(made, front)
        with pytest.raises(ClientError) as failed:
            spoken.call("decrypt", DAMAGES["half a body"], total_attempts=2)

    assert failed.value.response["Error"]["Code"] == DAMAGED
    assert spoken.attempts == 1


# -- Other protocols, which operators' commands meet ----------------------------------

XML = b'<?xml version="1.0"?><DescribeStacksResponse/>'


@pytest.mark.parametrize(
    ("operation", "status", "body", "damaged"),
    [
        pytest.param("cloudformation.DescribeStacks", 200, XML, False, id="XML"),
        pytest.param("cloudformation.DescribeStacks", 200, XML[:-2], True, id="half"),
        pytest.param("cloudformation.DescribeStacks", 200, b"", True, id="none"),
        pytest.param(
            "cloudformation.DescribeStacks", 200, b"<html></html>", True, id="page"
        ),
        pytest.param("cloudformation.DescribeStacks", 400, b"", True, id="refusal"),
        pytest.param("s3.ListObjectsV2", 200, XML, False, id="XML of S3"),
        pytest.param("s3.ListObjectsV2", 200, XML[:-2], True, id="half of S3"),
        pytest.param("s3.CopyObject", 200, b"", False, id="S3 says nothing"),
        pytest.param(
            "s3.GetBucketPolicy", 200, b"{}", False, id="text in place of XML"
        ),
        pytest.param("s3.HeadObject", 404, b"", False, id="HEAD"),
        pytest.param("sesv2.TagResource", 200, b"", False, id="nothing is read"),
        pytest.param("kms.CreateAlias", 200, b"null", False, id="no output"),
        pytest.param("eventbridgev2.CreateEventBus", 200, b"\xa0", False, id="CBOR"),
        pytest.param("lambda.GetFunction", 200, b"", True, id="nothing of REST"),
    ],
)
def test_given_an_operation_when_it_answers_then_its_protocol_decides(
    session: Session, operation: str, status: int, body: bytes, damaged: bool
) -> None:
    service, _, name = operation.partition(".")
    model = session.get_service_model(service).operation_model(name)

    found = is_damaged(model, {"status_code": status, "headers": {}, "body": body})

    assert found is damaged


def test_given_a_stream_when_it_is_answered_then_it_is_left_to_its_reader(
    session: Session,
) -> None:
    model = session.get_service_model("s3").operation_model("GetObject")
    whole = {"status_code": 200, "headers": {"content-length": "9"}, "body": object()}

    assert not is_damaged(model, whole)


# -- The whole service, on moto behind the socket -------------------------------------

PARTNER = "partner-secret-of-at-least-32-bytes"
DOCUMENT = {
    "apps": {
        APP: {
            "api-key": {},
            "custom-token": {
                "issuers": [{"algorithm": "HS256", "secret": {"ssm": "partner"}}]
            },
            USERPASS: {
                "mail": {
                    "sender": SENDER,
                    "confirm_url": "https://app.example/confirm",
                    "reset_url": "https://app.example/reset",
                }
            },
        }
    }
}
READS = {"GetItem", "BatchGetItem"}


def damaged(change: Callable[[Answer], Said]) -> Act:
    """Return an act that damages answers. It does not pass writes on."""

    def act(asked: Asked, upstream: Upstream) -> Said:
        is_read = asked.operation in READS
        return change(upstream(asked) if is_read else answer(200, {"MessageId": "1"}))

    return act


ACTS = {
    "half a body": damaged(
        lambda whole: Said(whole.head + whole.body[: len(whole.body) // 2], "close")
    ),
    "half a body of right length": damaged(
        lambda whole: Said(bytes(whole.with_body(whole.body[: len(whole.body) // 2])))
    ),
    "empty body": damaged(lambda whole: Said(bytes(whole.with_body(b"")))),
    "page of HTML": damaged(
        lambda _: Said(bytes(answer(200, b"<html>Log in</html>", "text/html")))
    ),
}
QUICK = {"half a body of right length", "page of HTML"}

Ask = Callable[[], Reply]


@pytest.fixture(scope="module")
def deployed(db: DynamoDBClient, key_id: str) -> Iterator[Deployment]:
    table = "anonauth-behind-a-socket"
    make_table(db, table, has_stream=False)
    with pytest.MonkeyPatch.context() as patch, Front(by_moto(REGION)) as front:
        # The SDK pauses before it repeats a call, and in bad times repeats fewer.
        patch.setattr(standard.ExponentialBackoff, "delay_amount", lambda *_: 0.0)
        patch.setattr(
            standard.quota, "RetryQuota", functools.partial(RetryQuota, 10**9)
        )
        clients = SocketClients(front, REGION, key_id)
        ssm = clients.connect("ssm")
        partner = {"Name": f"{SETTINGS}/partner", "Value": PARTNER}
        ssm.put_parameter(**partner, Type="SecureString", Overwrite=True)
        yield Deployment(table, db, key_id, clients)
        clients.close()
    db.delete_table(TableName=table)


@pytest.fixture
def warm(deployed: Deployment, sent: list[Any]) -> Deployment:
    """The service, with its key ring and its settings read."""
    deployed.restart_with(DOCUMENT)
    deployed.rotate()
    done(by_token(deployed, "warming up"))
    return deployed


def wire_of(service: Deployment) -> SocketWire:
    assert isinstance(service.wire, SocketWire)
    return service.wire


def done(reply: Reply) -> dict[str, Any]:
    assert reply.status == 200, reply
    body: dict[str, Any] = reply.json
    return body


def by_token(service: Deployment, subject: str, link: str | None = None) -> Reply:
    at = int(service.now.timestamp())
    claims = {"sub": subject, "aud": APP, "iat": at, "exp": at + 3600}
    body = json.dumps({"token": jwt.encode(claims, PARTNER, "HS256")})
    options: dict[str, Any] = {"token": link, "query": {"link": "true"}} if link else {}
    return service.send(
        LINK, body=body, parameters={"provider": "custom-token"}, **options
    )


def userpass(service: Deployment, call: str, **fields: str) -> Reply:
    route = f"POST /api/client/v2.0/app/{{appId}}/auth/providers/{USERPASS}/{call}"
    return service.send(route, body=json.dumps(fields))


def mailed(sent: list[Any]) -> dict[str, str]:
    (url,) = re.findall(r"^https://\S+$", sent[-1].body, re.MULTILINE)
    return dict(parse_qsl(urlsplit(url).query))


def refresh(service: Deployment, _: list[Any]) -> Ask:
    token = service.log_in()["refresh_token"]
    return lambda: service.send(SESSION, token=token)


def profile(service: Deployment, _: list[Any]) -> Ask:
    token = service.log_in()["access_token"]
    return lambda: service.send(PROFILE, token=token)


def link(service: Deployment, _: list[Any]) -> Ask:
    user = service.log_in()
    return lambda: by_token(service, user["user_id"], user["access_token"])


def log_in(service: Deployment, _: list[Any]) -> Ask:
    return lambda: service.send(LOGIN)


def log_in_by_token(service: Deployment, _: list[Any]) -> Ask:
    done(by_token(service, "ada"))
    return lambda: by_token(service, "ada")


def log_in_by_key(service: Deployment, _: list[Any]) -> Ask:
    token = done(by_token(service, secrets.token_hex(4)))["refresh_token"]
    key = done(service.send(CREATE_KEY, token=token, body='{"name": "laptop"}'))
    body = json.dumps({"key": key["key"]})
    return lambda: service.send(LINK, body=body, parameters={"provider": "api-key"})


def list_keys(service: Deployment, _: list[Any]) -> Ask:
    token = done(by_token(service, "ada"))["refresh_token"]
    return lambda: service.send(LIST_KEYS, token=token)


def register(service: Deployment, _: list[Any]) -> Ask:
    email = f"{secrets.token_hex(4)}@example.com"
    return lambda: userpass(service, "register", email=email, password="correct horse")


def reset(service: Deployment, sent: list[Any]) -> Ask:
    email = f"{secrets.token_hex(4)}@example.com"
    done(userpass(service, "register", email=email, password="correct horse"))
    done(userpass(service, "confirm", **mailed(sent)))
    done(userpass(service, "reset/send", email=email))
    token = mailed(sent)
    return lambda: userpass(service, "reset", **token, password="battery staple")


def log_out(service: Deployment, _: list[Any]) -> Ask:
    token = service.log_in()["refresh_token"]
    return lambda: service.send(LOGOUT, token=token)


def delete(service: Deployment, _: list[Any]) -> Ask:
    token = service.log_in()["access_token"]
    return lambda: service.send(DELETE, token=token)


OPERATIONS = [
    refresh,
    profile,
    link,
    log_in,
    log_in_by_token,
    log_in_by_key,
    list_keys,
    register,
    reset,
    log_out,
    delete,
]


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(act, id=name, marks=[] if name in QUICK else [pytest.mark.long])
        for name, act in ACTS.items()
    ],
)
@pytest.mark.parametrize("prepare", OPERATIONS, ids=lambda prepare: prepare.__name__)
def test_given_damaged_answers_when_anything_is_asked_then_503_and_no_user_is_lost(
    warm: Deployment,
    sent: list[Any],
    prepare: Callable[[Deployment, list[Any]], Ask],
    act: Act,
) -> None:
    ask = prepare(warm, sent)
    before = warm.items()

    wire_of(warm).breaks_always = lambda _: Break(act)
    during = ask()
    wire_of(warm).clear_breaks()

    assert during.status == 503, during
    assert int(during.headers["retry-after"]) > 0
    assert warm.items() == before
    assert ask().status == 200


@pytest.mark.parametrize("prepare", OPERATIONS, ids=lambda prepare: prepare.__name__)
def test_given_one_damaged_answer_when_anything_is_asked_then_no_client_notices(
    warm: Deployment, sent: list[Any], prepare: Callable[[Deployment, list[Any]], Ask]
) -> None:
    ask = prepare(warm, sent)

    wire_of(warm).breaks = [Break(ACTS["half a body"])]

    assert ask().status == 200
    assert not wire_of(warm).breaks


def test_given_a_cold_function_when_every_answer_is_damaged_then_503(
    warm: Deployment, sent: list[Any]
) -> None:
    """Its key ring, a key that KMS unwraps, or its settings cannot be read."""
    ask = log_in_by_token(warm, sent)

    acts = itertools.product(("GetItem", "Decrypt", "GetParameter"), ACTS.values())
    for operation, act in acts:
        warm.restart(SETTINGS_PARAMETER=SETTINGS)
        wire_of(warm).breaks_always = {operation: Break(act)}.get
        during = ask()
        wire_of(warm).clear_breaks()

        assert during.status == 503, (operation, during)
        assert ask().status == 200


def test_given_a_thread_when_it_makes_the_client_then_its_answers_are_checked(
    moto: None,
) -> None:
    """PynamoDB would give each thread a session of its own."""
    page = answer(200, b"<html>Log in</html>", "text/html")

    with Front(lambda _: page) as front, ThreadPoolExecutor(1) as thread:
        store = Store(
            "any", region=REGION, endpoint_url=front.url, pause=lambda _: None
        )
        thread.submit(store.connect).result()
        there = thread.submit(lambda: store.aws_session).result()
        with pytest.raises(StoreUnavailable):
            store.get_user(APP, "0" * 24)

    assert there is store.aws_session
