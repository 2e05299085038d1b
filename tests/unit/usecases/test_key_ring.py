"""The Keys function: its daily schedule, and its custom resource."""

import http.server
import json
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import jwt
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from anonauth.errors import KeysUnavailable, StoreUnavailable
from anonauth.handlers._cloudformation import AnswerNotAccepted
from anonauth.usecases.key_ring import KeyRotation
from support.service.harness import JWKS, LOGIN, PROFILE, SESSION, Deployment
from support.service.wire import Fault, Forward, access_denied, no_connection, throttled

DAY = timedelta(days=1)


@dataclass
class Receiver:
    """The signed URL at which CloudFormation waits for a PUT."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)  # of the next answers; else 200
    answers: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    received = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {k.lower(): v for k, v in self.headers.items()}
            received.answers.append((headers, json.loads(body)))
            self.send_response(received.statuses.pop(0) if received.statuses else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        received.url = f"http://127.0.0.1:{server.server_port}/answer?signed=1"
        yield received
        server.shutdown()


def request(kind: str, receiver: Receiver) -> dict[str, Any]:
    event = {
        "RequestType": kind,
        "ResponseURL": receiver.url,
        "StackId": "arn:aws:cloudformation:eu-central-1:123456789012:stack/a/b",
        "RequestId": "request-1",
        "LogicalResourceId": "KeyRing",
        "ResourceType": "Custom::KeyRing",
        "ResourceProperties": {},
    }
    return event if kind == "Create" else event | {"PhysicalResourceId": "KeyRing"}


@pytest.mark.parametrize("kind", ["Create", "Update"])
def test_given_a_deployment_when_it_asks_then_there_is_a_ring_and_an_answer(
    new_service: Deployment, receiver: Receiver, kind: str
) -> None:
    new_service.invoke("KeysFunction", request(kind, receiver))

    ((headers, answer),) = receiver.answers
    assert headers["content-type"] == ""
    assert answer == {
        "Status": "SUCCESS",
        "PhysicalResourceId": "KeyRing",
        "StackId": "arn:aws:cloudformation:eu-central-1:123456789012:stack/a/b",
        "RequestId": "request-1",
        "LogicalResourceId": "KeyRing",
        "Data": answer["Data"],
    }
    assert new_service.send(LOGIN).status == 200


def test_given_a_key_when_unwrapped_then_kms_is_told_which_key_it_was_wrapped_by(
    service: Deployment, key_id: str
) -> None:
    """Otherwise KMS uses the key that the item names, even another account's."""
    service.log_in()

    sent = zip(service.wire.calls, service.wire.bodies, strict=True)
    asked = [body["KeyId"] for call, body in sent if call == "Decrypt"]
    assert asked == [key_id, key_id]


def test_given_a_redeployment_when_it_asks_then_the_ring_stays(
    service: Deployment, receiver: Receiver
) -> None:
    before = service.items()

    service.invoke("KeysFunction", request("Update", receiver))

    assert service.items() == before
    assert receiver.answers[0][1]["Status"] == "SUCCESS"


def test_given_a_stack_that_is_deleted_when_it_asks_then_nothing_is_touched(
    new_service: Deployment, receiver: Receiver
) -> None:
    new_service.invoke("KeysFunction", request("Delete", receiver))

    assert new_service.wire.calls == []
    assert receiver.answers[0][1]["Status"] == "SUCCESS"


def test_given_an_error_when_a_stack_waits_then_it_gets_failed_and_no_detail(
    new_service: Deployment, receiver: Receiver
) -> None:
    new_service.wire.always = no_connection

    new_service.invoke("KeysFunction", request("Create", receiver))

    answer = receiver.answers[0][1]
    assert answer["Status"] == "FAILED"
    assert answer["Reason"] == "StoreUnavailable; see log stream"


def kms_denies(request: AWSPreparedRequest, forward: Forward) -> AWSResponse | None:
    if "TrentService" in str(request.headers["X-Amz-Target"]):  # or bytes
        return access_denied(request, forward)
    return forward()


@pytest.mark.parametrize(
    ("denied", "error"),
    [
        pytest.param(access_denied, "StoreUnavailable", id="table"),
        pytest.param(kms_denies, "KeysUnavailable", id="KMS"),
    ],
)
@pytest.mark.parametrize("after", [1, 4, None])
def test_given_a_role_that_iam_does_not_know_yet_when_a_stack_waits_then_it_is_waited(
    new_service: Deployment,
    receiver: Receiver,
    denied: Fault,
    error: str,
    after: int | None,
) -> None:
    """After that many pauses access is allowed; None: it never is."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == after:
            new_service.wire.always = None

    new_service.services.pause = pause
    new_service.wire.always = denied

    new_service.invoke("KeysFunction", request("Create", receiver))

    ((_, answer),) = receiver.answers
    assert pauses == [2, 4, 8, 16][:after]
    if after:
        assert answer["Status"] == "SUCCESS"
        assert new_service.send(LOGIN).status == 200
    else:
        assert answer["Status"] == "FAILED"
        assert answer["Reason"].startswith(error)


@pytest.mark.parametrize("fault", [throttled, no_connection])
def test_given_another_error_when_a_stack_waits_then_it_fails_at_once(
    new_service: Deployment, receiver: Receiver, fault: Fault
) -> None:
    pauses: list[float] = []
    new_service.services.pause = pauses.append
    new_service.wire.always = fault

    new_service.invoke("KeysFunction", request("Create", receiver))

    assert receiver.answers[0][1]["Status"] == "FAILED"
    assert pauses == []


def test_given_denied_access_when_the_schedule_runs_then_it_fails_at_once(
    new_service: Deployment,
) -> None:
    pauses: list[float] = []
    new_service.services.pause = pauses.append
    new_service.wire.always = access_denied

    with pytest.raises(StoreUnavailable):
        new_service.rotate()

    assert pauses == []


@pytest.mark.parametrize("status", [302, 403, 500, 503])
def test_given_an_answer_that_is_not_accepted_when_sent_then_it_is_sent_again(
    new_service: Deployment,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    """Each time but the last: the stack waited 180 s for an answer that was lost."""
    pauses: list[float] = []
    new_service.services.pause = pauses.append
    receiver.statuses = [status] * 3

    new_service.invoke("KeysFunction", request("Create", receiver))

    told = [vars(record) for record in caplog.records if record.levelname == "ERROR"]
    assert [answer["Status"] for _, answer in receiver.answers] == ["SUCCESS"] * 4
    assert pauses == [2, 4, 8]
    assert [each["outcome"] for each in told] == [f"HTTP status {status}"] * 3
    assert "signed=1" not in str(told)


@pytest.mark.parametrize("is_there", [True, False], ids=["403", "no connection"])
def test_given_answers_that_are_never_accepted_when_sent_then_the_function_fails(
    new_service: Deployment,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
    is_there: bool,
) -> None:
    """So that Lambda calls it again. The signed URL is neither logged nor raised."""
    receiver.statuses = [403] * 9
    waiting = request("Create", receiver)
    if not is_there:
        waiting["ResponseURL"] = "http://127.0.0.1:1/answer?signed=1"

    with pytest.raises(AnswerNotAccepted) as failed:
        new_service.invoke("KeysFunction", waiting)

    told = [vars(record) for record in caplog.records if record.levelname == "ERROR"]
    trace = "".join(traceback.format_exception(failed.value))
    assert len(told) == 4
    assert len(receiver.answers) == (4 if is_there else 0)
    assert "signed=1" not in str(told) + trace


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        pytest.param([no_connection] * 3, StoreUnavailable, id="table"),
        pytest.param([None, *[throttled] * 9], KeysUnavailable, id="KMS"),
    ],
)
def test_given_an_error_when_the_schedule_runs_then_it_fails_and_can_be_repeated(
    new_service: Deployment, faults: list[Any], error: type[Exception]
) -> None:
    new_service.wire.faults = list(faults)

    with pytest.raises(error):
        new_service.rotate()

    assert new_service.items() == {}
    new_service.wire.faults = []
    new_service.rotate()
    assert new_service.send(JWKS).status == 200


def test_given_a_ring_when_written_then_no_key_is_in_clear(
    service: Deployment,
) -> None:
    ring = service.items()["KEY#ring"]
    _, private = service.services.ring.access_signing_key(service.now)
    _, shared = service.services.ring.refresh_signing_key(service.now)
    prime = private.private_numbers().p.to_bytes(128, "big")

    stored = b"".join(key["M"]["wrapped"]["B"] for key in ring["keys"]["L"])
    public = b"".join(
        key["M"]["public"]["B"] for key in ring["keys"]["L"] if "public" in key["M"]
    )
    assert shared not in stored
    assert prime not in stored + public
    assert len(ring["keys"]["L"]) == 3


@pytest.mark.long
def test_given_rotations_when_a_session_goes_on_then_it_never_notices(
    service: Deployment,
) -> None:
    refresh = service.log_in()["refresh_token"]
    kids = set()

    for _ in range(200):
        service.advance(DAY)
        kids |= {key["kid"] for key in service.send(JWKS).json["keys"]}
        assert service.send(SESSION, token=refresh).status == 200

    assert len(kids) == 4  # from days 0, 90 and 180, and the standby


def kms_down(request: AWSPreparedRequest, forward: Forward) -> AWSResponse | None:
    if "TrentService" in str(request.headers["X-Amz-Target"]):  # or bytes
        return no_connection(request, forward)
    return forward()


def test_given_kms_is_down_when_warm_then_200_and_when_cold_then_503(
    service: Deployment,
) -> None:
    refresh = service.log_in()["refresh_token"]
    service.wire.always = kms_down
    service.now += timedelta(hours=1)  # the ring itself is read many times

    warm = [service.send(LOGIN), service.send(SESSION, token=refresh)]
    service.restart()
    cold = [service.send(LOGIN), service.send(SESSION, token=refresh)]

    assert [reply.status for reply in warm] == [200, 200]
    assert [reply.status for reply in cold] == [503, 503]
    assert {reply.headers["retry-after"] for reply in cold} == {"2"}
    service.wire.always = None
    assert service.send(SESSION, token=refresh).status == 200


def test_given_kms_is_down_when_the_standby_takes_over_then_warm_functions_go_on(
    service: Deployment,
) -> None:
    ring = service.services.store.load_ring()
    assert ring is not None
    old, standby = ring.of("access")
    service.now = standby.signs_from - timedelta(seconds=1)
    refresh = service.log_in()["refresh_token"]
    service.send(SESSION, token=refresh)
    service.wire.always = kms_down
    service.now = standby.signs_from

    replies = [service.send(LOGIN), service.send(SESSION, token=refresh)]

    assert [reply.status for reply in replies] == [200, 200]
    for reply in replies:
        header = jwt.get_unverified_header(reply.json["access_token"])
        assert header["kid"] == old.kid
    service.wire.always = None
    service.now += timedelta(minutes=1)
    renewed = service.send(SESSION, token=refresh).json["access_token"]
    assert jwt.get_unverified_header(renewed)["kid"] == standby.kid


def rotation_of(service: Deployment) -> KeyRotation:
    return KeyRotation(service.services.store, service.services.key_maker)


def test_given_a_leaked_key_when_revoked_then_its_tokens_end_and_no_session_does(
    service: Deployment,
) -> None:
    service.advance(DAY)
    body = service.log_in()
    access, refresh = body["access_token"], body["refresh_token"]
    assert service.send(PROFILE, token=access).status == 200
    leaked = jwt.get_unverified_header(access)["kid"]

    rotation_of(service).revoke(leaked, service.now)

    service.now += timedelta(minutes=5) - timedelta(seconds=1)
    assert service.send(PROFILE, token=access).status == 200
    service.now += timedelta(seconds=1)
    refused = service.send(PROFILE, token=access)
    assert (refused.status, refused.json["error_code"]) == (401, "InvalidSession")
    renewed = service.send(SESSION, token=refresh).json["access_token"]
    assert jwt.get_unverified_header(renewed)["kid"] != leaked
    assert service.send(PROFILE, token=renewed).status == 200
    assert leaked not in service.send(JWKS).text


def test_given_the_refresh_key_when_revoked_then_its_sessions_end_and_new_ones_begin(
    service: Deployment,
) -> None:
    refresh = service.log_in()["refresh_token"]

    rotation_of(service).revoke(jwt.get_unverified_header(refresh)["kid"], service.now)

    service.restart()
    service.now += timedelta(minutes=2, seconds=-1)
    assert service.send(LOGIN).status == 503
    service.now += timedelta(seconds=1)
    assert service.send(SESSION, token=refresh).status == 401
    again = service.log_in()["refresh_token"]
    assert service.send(SESSION, token=again).status == 200
