"""Code blocks that a newcomer copies from a page do what the text says."""

import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import jwt
import pytest
import yaml
from boto3.dynamodb.conditions import Key
from botocore.exceptions import ClientError
from moto.events.models import EventPattern
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    create_backend_app,
)

from anonauth.local.http import HttpServer
from anonauth.local.server import LocalServer
from anonauth.provider_settings.document import parse
from support.project import sam_template
from support.project.pages import PAGES, block, page, section
from support.project.tools import ROOT, require_tool
from support.service.calls import APP, call, log_in, login_path
from support.service.story import SCHEMA

README = (ROOT / "README.md").read_text()
REGION = "eu-central-1"


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer(app_ids=("myapp-abcde",)) as server:
        yield server


def run(*command: str) -> list[str]:
    ran = subprocess.run(  # noqa: S603 - the page's own words
        command, capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_given_the_curl_session_when_copied_then_it_goes_from_login_to_logout(
    server: LocalServer,
) -> None:
    bash, _ = require_tool("bash"), require_tool("curl")

    lived, profile, logout, again = run(
        str(bash), "-euo", "pipefail", "-c", block("the curl session", server.base_url)
    )

    user = re.fullmatch(r"user ([0-9a-f]{24}) lives until (\S+Z)", lived)
    assert user is not None
    assert f'"user_id":"{user[1]}"' in profile
    assert f'"expires_at":"{user[2]}"' in profile
    assert logout == "{}"
    assert "failed to find refresh token" in again


def test_given_the_link_session_when_copied_then_the_guest_is_permanent(
    server: LocalServer,
) -> None:
    """A reader who runs it again gets another user, and no taken address."""
    bash, _ = require_tool("bash"), require_tool("curl")
    session = block("the link session", server.base_url)

    ran = [run(str(bash), "-euo", "pipefail", "-c", session) for _ in range(2)]

    user_ids = set()
    for guest, registered, profile, login in ran:
        user_id = guest.removeprefix("guest ")
        user_ids.add(user_id)
        assert registered == "{}"
        assert f'"user_id":"{user_id}"' in profile
        assert f'"data":{{"email":"{user_id}@example.com"}}' in profile
        assert "expires_at" not in profile
        assert login == f"login {user_id}"
    assert len(user_ids) == 2


def test_given_the_settings_document_when_copied_then_it_is_valid() -> None:
    document = parse(block("the settings document"))

    app = document.app("myapp-abcde")
    assert all(getattr(app, name) for name in app.__struct_fields__)


def test_given_the_verifier_when_copied_then_it_verifies(server: LocalServer) -> None:
    """A plain OIDC verifier against the running service: RS256, kid, iss, aud.

    Its clock is half a minute behind ours, and every token is fresh.
    """
    server.advance(timedelta(seconds=30))

    (line,) = run(sys.executable, "-c", block("the verifier", server.base_url))

    assert re.fullmatch(r"[0-9a-f]{24} True", line)


def test_given_a_clock_that_moved_when_the_other_verifier_is_copied_then_it_verifies(
    server: LocalServer,
) -> None:
    """The plain verifier would refuse every new token as one from the future."""
    before = log_in(server.base_url)["access_token"]
    server.advance(timedelta(days=1))
    token = log_in(server.base_url)["access_token"]
    copied: dict[str, Any] = {}

    exec(block("the verifier at another time", server.base_url), copied)  # noqa: S102
    verify, now = copied["verify"], copied["now"]

    assert verify(token, now)["aud"] == APP
    lifetime = 30 * 60
    for bad, at in (
        (before, now),
        (token, now + lifetime + 61),
        (token, now - 120),
        (token, time.time()),  # noqa: TID251 - the time without the clock
    ):
        with pytest.raises(jwt.ExpiredSignatureError):
            verify(bad, at)
    altered = token[:-8] + "AAAAAAAA"
    with pytest.raises(jwt.InvalidSignatureError):
        verify(altered, now)


@pytest.mark.long
def test_given_the_fixture_when_copied_then_a_test_logs_in(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(block("the fixture"))
    (tmp_path / "test_app.py").write_text(
        "import urllib.request\n"
        "from datetime import timedelta\n\n\n"
        "def test_a_login(auth):\n"
        f"    path = auth.base_url + '{login_path(APP)}'\n"
        "    login = urllib.request.Request(path, method='POST')\n"
        "    assert urllib.request.urlopen(login).status == 200\n"
        "    auth.advance(timedelta(days=1))\n"
    )

    told = run(sys.executable, "-m", "pytest", "-q", str(tmp_path))

    assert told[-1].startswith("1 passed")


@pytest.mark.parametrize(
    ("rule", "event"),
    [
        pytest.param("the rule", "user.deleted", id="clean up"),
        pytest.param("the rule of merges", "user.merged", id="move"),
    ],
)
def test_given_a_rule_when_deployed_then_it_matches_its_events_only(
    rule: str, event: str
) -> None:
    (resource,) = yaml.safe_load(block(rule)).values()
    function = resource["Properties"]
    (trigger,) = function["Events"].values()
    # Lambda accepts the event in any case. If the function then fails, its own queue
    # keeps the event, and the rule's queue never gets it.
    assert function["EventInvokeConfig"]["DestinationConfig"]["OnFailure"]
    assert trigger["Properties"]["DeadLetterConfig"]
    assert trigger["Type"] == "EventBridgeRule"
    pattern = EventPattern.load(json.dumps(trigger["Properties"]["Pattern"]))
    kinds = SCHEMA["properties"]["detail-type"]["enum"]
    told: list[Any] = [
        {"source": "anonauth", "detail-type": kind, "detail": {"app": APP}}
        for kind in kinds
    ]

    matched = [each["detail-type"] for each in told if pattern.matches_event(each)]

    assert matched == [event]


def test_given_the_pattern_of_one_stack_when_two_publish_then_it_matches_one(
    server: LocalServer,
) -> None:
    pattern = yaml.safe_load(block("one stack only"))["Pattern"]
    (stack,) = pattern["detail"]["stack"]
    rule = EventPattern.load(json.dumps(pattern))
    log_in(server.base_url)

    event = call(server.base_url, "GET", "/_local/events").json()[-1]
    same_event = event | {"detail": event["detail"] | {"stack": stack}}

    assert not rule.matches_event(event)
    assert rule.matches_event(same_event)


@pytest.fixture
def notes(server: LocalServer) -> Iterator[Any]:
    """The table of an app that the documented consumers change."""
    client = boto3.client("dynamodb", REGION)
    client.create_table(
        TableName="notes",
        KeySchema=[
            {"AttributeName": "owner", "KeyType": "HASH"},
            {"AttributeName": "id", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "owner", "AttributeType": "S"},
            {"AttributeName": "id", "AttributeType": "S"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    yield boto3.resource("dynamodb", REGION).Table("notes")
    client.delete_table(TableName="notes")


def write_notes(notes: Any, owner: str, number: int) -> None:
    with notes.batch_writer() as batch:
        for each in range(number):
            note = {"owner": owner, "id": f"{owner}-{each:05}", "text": "x" * 1000}
            batch.put_item(Item=note)


def owners_in(notes: Any) -> list[str]:
    """Return the owner of each note, sorted."""
    owners: list[str] = []
    page: dict[str, Any] = {"LastEvaluatedKey": None}
    while "LastEvaluatedKey" in page:
        start = page["LastEvaluatedKey"]
        page = notes.scan(**({"ExclusiveStartKey": start} if start else {}))
        owners += [item["owner"] for item in page["Items"]]
    return sorted(owners)


class CutOff(Exception):
    """Lambda ended the function."""


class Consumer:
    """A documented consumer, and the calls of DynamoDB that it has made."""

    def __init__(self, name: str = "the consumer") -> None:
        self.calls: list[str] = []
        self._most: int | None = None
        self._meanwhile: tuple[int, Callable[[], None]] | None = None
        session = boto3.Session(region_name=REGION)
        session.events.register("before-call.dynamodb", self._count)
        self._code: dict[str, Any] = {}
        exec(block(name), self._code)  # noqa: S102 - the page's own words
        self._code["boto3"] = session

    def run(
        self,
        event: Any,
        most: int | None = None,
        meanwhile: tuple[int, Callable[[], None]] | None = None,
    ) -> None:
        """Give it an event.

        Args:
            event: The event.
            most: Number of calls after which it is cut off.
            meanwhile: What happens before a call, and how many calls come before that.
        """
        self.calls, self._most, self._meanwhile = [], most, meanwhile
        self._code["handler"](event, None)

    def _count(self, model: Any, **_: Any) -> None:
        if len(self.calls) == self._most:
            raise CutOff
        if self._meanwhile and len(self.calls) == self._meanwhile[0]:
            self._meanwhile[1]()
        self.calls.append(model.name)


def test_given_the_consumer_when_a_user_is_deleted_then_only_its_notes_are_deleted(
    server: LocalServer, notes: Any
) -> None:
    gone, stays = (log_in(server.base_url) for _ in range(2))
    for user in (gone, stays):
        write_notes(notes, user["user_id"], 3)
    path = "/api/client/v2.0/auth/session"
    call(server.base_url, "DELETE", path, token=gone["refresh_token"])
    event = call(server.base_url, "GET", "/_local/events").json()[-1]
    consumer = Consumer()

    for _ in range(2):  # an event can be delivered twice
        consumer.run(event)

    owners = [item["owner"] for item in notes.scan()["Items"]]
    assert event["detail-type"] == "user.deleted"
    assert owners == [stays["user_id"]] * 3
    assert block("the consumer").count("\n") <= 18


def functions_shown() -> dict[str, sam_template.Json]:
    """Return the functions that pages show for a template, by their names."""
    found = {}
    for path in PAGES:
        for code in re.findall(r"^```yaml\n(.*?)^```", path.read_text(), re.S | re.M):
            resources = yaml.safe_load(code)
            for name, resource in resources.items():
                kind = resource.get("Type") if isinstance(resource, dict) else None
                if kind in {"AWS::Serverless::Function", "AWS::Lambda::Function"}:
                    found[name] = resource["Properties"]
    return found


def test_given_functions_that_pages_show_then_each_has_time_memory_and_a_test() -> None:
    shown = functions_shown()
    handlers = [
        code
        for path in PAGES
        for code in re.findall(
            r"^```(?:python|js)\n(.*?)^```", path.read_text(), re.S | re.M
        )
        if re.search(r"\b(lambda_)?handler\b", code)
    ]

    # A new function needs a test such as the one below.
    assert shown.keys() == {"CleanUp", "MoveNotes"}
    assert handlers == [
        # tests/template/test_authorizer_page.py has their tests.
        block("the authorizers in CDK"),
        block("the handler of a connection"),
        block("the consumer"),
        block("the consumer of merges"),
        block("the function behind API Gateway"),
    ]
    for function in shown.values():
        assert 3 < function["Timeout"] <= 900  # without it, 3 s
        assert 128 < function["MemorySize"] <= 10_240  # without it, 128 MB


# Lambda gives a function a core in proportion to its memory, a whole one at this size.
WHOLE_CORE = 1769  # MB

# Runs a handler within limits (s, MB), and prints its calls of AWS and its CPU (s).
AS_ON_LAMBDA = """
import json, resource, sys
code, event, seconds, memory = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
resource.setrlimit(resource.RLIMIT_AS, (int(memory) << 20, int(memory) << 20))
import boto3
calls = []
boto3.setup_default_session()
count = lambda model, **_: calls.append(model.name)
boto3.DEFAULT_SESSION.events.register("before-call", count)
function = {}
exec(code, function)
function["handler"](json.loads(event), None)
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([calls, used.ru_utime + used.ru_stime]))
"""


@contextmanager
def moto_served() -> Iterator[str]:
    """Yield an address at which other processes find the AWS of this process."""
    application = DomainDispatcherApplication(create_backend_app)
    server = HttpServer("127.0.0.1", 0)
    server.serve(application)
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.close()


def run_as_on_lambda(
    function: sam_template.Json,
    code: str,
    detail: sam_template.Json,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[list[str], float]:
    """Run a handler in a process with the memory and CPU of its function on Lambda.

    Return its calls, and the seconds that it computes on Lambda.
    """
    share = min(1, function["MemorySize"] / WHOLE_CORE)
    limits = str(int(function["Timeout"] * share)), str(function["MemorySize"])
    event = json.dumps({"detail": detail})
    with moto_served() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "false")
        monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
        (line,) = run(sys.executable, "-c", AS_ON_LAMBDA, code, event, *limits)
        monkeypatch.delenv("AWS_ENDPOINT_URL")
    calls, cpu = json.loads(line)
    return calls, cpu / share


@pytest.mark.long
def test_given_10000_notes_when_cleaned_up_then_time_and_memory_are_enough(
    notes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is judged by calls and CPU, which other work here does not change.

    100 ms a call is slow for DynamoDB. A partition, here one user's notes, takes 1,000
    write units a second, and deleting a note of up to 1 KB takes one.
    """
    function = functions_shown()["CleanUp"]
    write_notes(notes, "gone", 10_000)

    calls, computing = run_as_on_lambda(
        function, block("the consumer"), {"uid": "gone"}, monkeypatch
    )

    seconds = max(len(calls) * 0.1, 10_000 / 1_000) + computing
    assert notes.scan(Select="COUNT")["Count"] == 0
    assert calls.count("Query") > 10  # pages of 1 MB
    assert len(calls) <= 420  # as the page says
    assert 3 < seconds < function["Timeout"] / 2  # a slower processor has time too


@pytest.mark.long
def test_given_2000_notes_when_moved_then_time_and_memory_are_enough(
    notes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged as above. A write of a transaction takes two units."""
    function = functions_shown()["MoveNotes"]
    write_notes(notes, "guest", 2_000)

    calls, computing = run_as_on_lambda(
        function,
        block("the consumer of merges"),
        {"uid": "guest", "into": "owner"},
        monkeypatch,
    )

    seconds = max(len(calls) * 0.1, 2_000 * 2 / 1_000) + computing
    assert owners_in(notes) == ["owner"] * 2_000
    assert len(calls) == 81  # as the page says
    assert 3 < seconds < function["Timeout"] / 2


def test_given_a_clean_up_that_is_cut_off_when_run_again_then_it_goes_on_from_there(
    notes: Any,
) -> None:
    write_notes(notes, "gone", 2_000)
    event = {"detail": {"uid": "gone"}}
    consumer = Consumer()
    consumer.run({"detail": {"uid": "nobody"}})
    assert consumer.calls == ["Query"]

    with pytest.raises(CutOff):
        consumer.run(event, most=31)
    notes.reload()
    left = notes.item_count
    consumer.run(event)

    assert left == 2_000 - 30 * 25
    # A page does not end with a full batch.
    pages = consumer.calls.count("Query")
    assert consumer.calls.count("BatchWriteItem") <= left / 25 + pages
    assert notes.scan(Select="COUNT")["Count"] == 0


MERGED = {"detail": {"uid": "guest", "into": "owner"}}
DELETED = {"detail": {"uid": "owner", "former_ids": ["earlier", "guest"]}}


def consumer_of(event: Any) -> Consumer:
    return Consumer("the consumer of merges" if event is MERGED else "the consumer")


def test_given_a_merge_when_told_twice_then_the_notes_are_moved_once(
    notes: Any,
) -> None:
    write_notes(notes, "guest", 120)
    notes.put_item(Item={"owner": "owner", "id": "own", "text": "mine"})
    notes.put_item(Item={"owner": "other", "id": "own", "text": "theirs"})
    before = {item["id"]: item["text"] for item in notes.scan()["Items"]}
    consumer = Consumer("the consumer of merges")

    for _ in range(2):
        consumer.run(MERGED)

    owners, mine = owners_in(notes), Key("owner").eq("owner")
    moved = notes.query(KeyConditionExpression=mine)["Items"]
    assert consumer.calls == ["Query"]
    assert owners == ["other", *["owner"] * 121]
    assert {i["id"]: i["text"] for i in moved} == before | {"own": "mine"}


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([MERGED, DELETED], id="in order"),
        pytest.param([DELETED, MERGED], id="deletion first"),
        pytest.param([MERGED, DELETED, MERGED, DELETED], id="twice"),
        pytest.param([DELETED, MERGED, DELETED, MERGED], id="deletion first, twice"),
        pytest.param([MERGED, DELETED, MERGED], id="merge again at the end"),
    ],
)
def test_given_a_merge_and_a_deletion_in_any_order_then_no_note_is_left(
    events: list[Any], notes: Any
) -> None:
    for owner in ("guest", "earlier", "owner", "other"):
        write_notes(notes, owner, 3)

    for event in events:
        consumer_of(event).run(event)

    assert owners_in(notes) == ["other"] * 3


@pytest.mark.long
@pytest.mark.parametrize(
    ("first", "second", "call"),
    [
        *(
            pytest.param(MERGED, DELETED, n, id=f"deletion in move {n}")
            for n in range(5)
        ),
        *(
            pytest.param(DELETED, MERGED, n, id=f"move in deletion {n}")
            for n in range(11)
        ),
        *(pytest.param(MERGED, MERGED, n, id=f"move in move {n}") for n in range(5)),
    ],
)
def test_given_two_runs_at_once_when_the_first_is_retried_then_no_note_is_lost(
    first: Any, second: Any, call: int, notes: Any
) -> None:
    """The second runs before one of the first's calls."""
    for owner in ("guest", "owner"):
        write_notes(notes, owner, 70)
    consumer, other = consumer_of(first), consumer_of(second)

    with suppress(ClientError):  # Lambda runs it again
        consumer.run(first, meanwhile=(call, lambda: other.run(second)))
    consumer.run(first)

    assert other.calls
    left = [] if DELETED in (first, second) else ["owner"] * 140
    assert owners_in(notes) == left


def test_given_a_merge_that_dropped_an_id_when_told_then_its_notes_are_moved(
    notes: Any,
) -> None:
    write_notes(notes, "dropped", 3)

    consumer = Consumer("the consumer of merges")
    consumer.run({"detail": {**MERGED["detail"], "dropped": "dropped"}})

    assert owners_in(notes) == ["owner"] * 3


def test_given_a_note_with_the_same_id_when_moved_then_none_is_overwritten(
    notes: Any,
) -> None:
    for owner in ("guest", "owner"):
        notes.put_item(Item={"owner": owner, "id": "same", "text": owner})

    with pytest.raises(ClientError, match="TransactionCanceledException"):
        Consumer("the consumer of merges").run(MERGED)

    assert {item["owner"]: item["text"] for item in notes.scan()["Items"]} == {
        "guest": "guest",
        "owner": "owner",
    }


def test_given_the_events_when_read_then_they_are_the_schemas() -> None:
    table = section("events.md", "## The events")
    rows = re.findall(r"^\| `(user\.\w+)` \|.*\| (.*?) \|$", table, re.MULTILINE)

    told = {
        name: set(re.findall(r"`(\w+)`", more.partition(":")[0])) for name, more in rows
    }

    required = {
        kind["properties"]["detail-type"]["enum"][0]: set(
            kind["properties"]["detail"]["required"]
        )
        - {"sequence", "expires_at"}
        for kind in SCHEMA["oneOf"]
    }
    assert told == required


def test_given_the_parameters_when_read_then_they_are_the_templates() -> None:
    table = section("deploy.md", "## Parameters")
    rows = re.findall(r"^\| (`.+?) \| (.+?) \|", table, re.MULTILINE)
    told = {
        name: default.strip("`")
        for names, defaults in rows
        for name, default in zip(
            re.findall(r"`(\w+)`", names), itertools.cycle(defaults.split(", "))
        )
    }
    declared = {
        name: str(parameter["Default"]) or "empty"
        for name, parameter in sam_template.load()["Parameters"].items()
    }

    assert told == declared


def test_given_readme_when_measured_then_it_is_short() -> None:
    text = page("README.md")

    assert len(text.split()) <= 1800
    assert text.count("\n") <= 220


def test_given_readme_when_read_then_the_test_command_is_the_first_with_pytest() -> (
    None
):
    """A reader who searches for `pytest` also finds the command that installs it."""
    first = next(line for line in page("README.md").splitlines() if "pytest" in line)

    assert first == block("the test command").strip()
