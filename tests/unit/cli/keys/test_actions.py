"""`anonauth keys`: the leak drill, on moto and on the AWS of `anonauth serve`."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import boto3
import pytest
from mypy_boto3_dynamodb import DynamoDBClient
from typer.testing import CliRunner, Result

from anonauth.cli.commands import app
from anonauth.cli.deployment import open_deployment, open_services
from anonauth.cli.keys.actions import KeyList, describe_revocation
from anonauth.cli.options import DeploymentOptions
from anonauth.domain.signing_keys import (
    MOST_RING_KEYS,
    Ring,
    RingKey,
)
from anonauth.local.command_error import CommandError
from anonauth.local.server import LocalServer
from anonauth.store import Store
from anonauth.usecases.key_ring import KeyRotation
from support.contracts.store_contract import DAY, NOW
from support.project.tools import ROOT
from support.service.calls import call, log_in
from support.service.command import run_on_terminal
from support.service.command_results import printed, problem
from support.service.harness import TABLE
from support.service.rings import NumberedKeys, RingInMemory
from support.service.stacks import template_with_outputs

HOUR = timedelta(hours=1)
KEY_FIELDS = [
    "kid",
    "use",
    "state",
    "published_at",
    "signs_from",
    "stops_at",
    "dropped_at",
]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments])


def states(body: dict[str, Any]) -> list[tuple[str, str]]:
    return [(key["use"], key["state"]) for key in body["keys"]]


def kid_of(body: dict[str, Any], use: str, state: str) -> str:
    (kid,) = (k["kid"] for k in body["keys"] if (k["use"], k["state"]) == (use, state))
    return str(kid)


@pytest.fixture(scope="module")
def old_ring() -> dict[str, Any]:
    """Holds the item of the first ring, because creating RSA keys is slow."""
    return {}


@pytest.fixture
def there(
    table: str, key_id: str, db: DynamoDBClient, old_ring: dict[str, Any]
) -> list[str]:
    """The options that name a deployment whose ring is two days old."""
    if old_ring:
        db.put_item(TableName=table, Item=old_ring)
    else:
        with open_services(DeploymentOptions(table=table, kms_key=key_id)) as services:
            KeyRotation(services.store, services.key_maker).rotate(
                services.clock() - 2 * DAY
            )
        key = {"pk": {"S": "KEY#ring"}}
        old_ring |= db.get_item(TableName=table, Key=key)["Item"]
    return ["--table", table, "--kms-key", key_id]


def test_given_a_ring_when_listed_then_each_key_says_what_it_is_for(
    there: list[str],
) -> None:
    body = printed(run("list", "--table", TABLE, "--json"))

    assert body.keys() == {"version", "keys"}
    assert all(list(key) == KEY_FIELDS for key in body["keys"])
    assert states(body) == [
        ("refresh", "signing"),
        ("access", "signing"),
        ("access", "standby"),
    ]
    refresh, signing, _ = body["keys"]
    assert refresh["stops_at"] is refresh["dropped_at"] is None
    assert signing["signs_from"] == signing["published_at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", signing["dropped_at"])


def test_given_a_ring_when_listed_for_people_then_no_id_is_cut_off(
    there: list[str],
) -> None:
    body = printed(run("list", "--table", TABLE, "--json"))

    lines = run("list", "--table", TABLE).stdout.splitlines()

    assert "UTC" in lines[0]
    for key, line in zip(body["keys"], lines[2:], strict=True):
        assert line.split()[:3] == [key["kid"], key["use"], key["state"]]


def test_given_keys_of_every_age_when_listed_then_their_states_follow_time() -> None:
    ring = RingInMemory(keys=NumberedKeys())
    ring.rotate(NOW)
    ring.rotate(NOW + 90 * DAY)
    ring.rotate_now("refresh", NOW + 90 * DAY)

    def at(days: float) -> list[str]:
        keys = KeyList(ring.ring, NOW + days * DAY)
        return [keys.state(key) for key in ring.ring.keys]

    assert at(90) == ["signing", "verifying", "signing", "standby", "standby"]
    assert at(97.9) == ["verifying", "verifying", "signing", "standby", "signing"]
    assert at(98) == ["verifying", "spent", "signing", "standby", "signing"]


def test_given_a_standby_of_two_days_when_rotated_then_it_signs_at_once(
    there: list[str],
) -> None:
    before = printed(run("list", *there[:2], "--json"))

    body = printed(run("rotate", *there, "--json"))

    standby = kid_of(before, "access", "standby")
    assert (body["kid"], body["use"]) == (standby, "access")
    assert kid_of(body, "access", "signing") == standby
    assert kid_of(body, "access", "verifying") == kid_of(before, "access", "signing")
    assert kid_of(body, "access", "standby") != standby
    assert printed(run("list", *there[:2], "--json"))["version"] == body["version"]


def test_given_a_rotation_when_told_then_it_says_which_key_signs_from_when(
    there: list[str],
) -> None:
    now = run("rotate", *there).stdout
    tomorrow = run("rotate", *there).stdout
    refresh = run("rotate", "--use", "refresh", *there).stdout
    body = printed(run("list", *there[:2], "--json"))

    assert re.match(
        rf"access key {kid_of(body, 'access', 'signing')} has signed since", now
    )
    standby = next(k for k in body["keys"] if k["kid"] in tomorrow)
    assert standby["state"] == "standby"
    assert f"signs from {standby['signs_from']}, when it has been public" in tomorrow
    pending = kid_of(body, "refresh", "standby")
    assert re.match(rf"refresh key {pending} signs from .+ every function", refresh)


@pytest.mark.long
@pytest.mark.parametrize("use", ["access", "refresh"])
def test_given_a_rotation_when_repeated_then_no_keys_pile_up(
    there: list[str], use: str
) -> None:
    once = printed(run("rotate", "--use", use, *there, "--json"))

    for _ in range(3):
        again = printed(run("rotate", "--use", use, *there, "--json"))

    assert [key["kid"] for key in again["keys"]] == [key["kid"] for key in once["keys"]]


def test_given_a_full_ring_when_rotated_then_one_line(
    there: list[str], store: Store
) -> None:
    ring = store.load_ring()
    assert ring is not None
    (old,) = ring.of("refresh")
    for number in range(MOST_RING_KEYS - len(ring.keys)):
        ring = ring.added(replace(old, kid=f"old-{number}"))
    store.save_ring(replace(ring, version=2))

    line = problem(run("rotate", *there))

    assert line.startswith("the ring has 24 keys, and a rotation by hand adds no more:")
    assert store.load_ring() == replace(ring, version=2)


def test_given_the_signing_key_when_revoked_then_the_standby_signs(
    there: list[str],
) -> None:
    before = printed(run("list", *there[:2], "--json"))
    leaked = kid_of(before, "access", "signing")

    result = run("revoke", leaked, *there, "--yes", "--json")

    body = printed(result)
    assert body["revoked"] == leaked
    assert leaked not in [key["kid"] for key in body["keys"]]
    assert kid_of(body, "access", "signing") == kid_of(before, "access", "standby")
    assert "within 5 minutes" in result.stderr
    assert "up to 2 hours" in result.stderr
    assert printed(run("list", *there[:2], "--json"))["keys"] == body["keys"]


def test_given_the_beginning_of_an_id_when_revoked_then_it_is_enough(
    there: list[str],
) -> None:
    leaked = kid_of(printed(run("list", *there[:2], "--json")), "access", "standby")

    result = run("revoke", leaked[:9], *there, "--yes")

    assert result.stdout.startswith(f"access key {leaked} is revoked\n")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["-hK"], id="like -h"),
        pytest.param(["-s"], id="like --stack"),
        pytest.param(["--", "-hK"], id="escaped"),
        pytest.param(["--", "--stack"], id="an option, escaped"),
        pytest.param(["--", "-h"], id="help, escaped"),
    ],
)
def test_given_an_id_that_begins_with_a_hyphen_when_revoked_then_it_is_no_option(
    there: list[str], store: Store, arguments: list[str]
) -> None:
    kid = arguments[-1]
    ring = store.load_ring()
    assert ring is not None
    _, standby = ring.of("access")
    store.save_ring(
        replace(ring.replaced(standby, replace(standby, kid=kid)), version=2)
    )

    body = printed(run("revoke", *there, "--yes", "--json", *arguments))

    assert body["revoked"] == kid


@pytest.mark.parametrize("arguments", [["-h"], ["-h", "KID"], ["KID", "--help"]])
def test_given_help_when_asked_for_a_revocation_then_it_is_no_id(
    arguments: list[str],
) -> None:
    result = run("revoke", *arguments)

    assert result.exit_code == 0
    assert "Revoke a key, so that all tokens" in result.stdout
    told = " ".join(result.stdout.split())
    assert "for up to 5 minutes warm functions still sign with it" in told


@pytest.mark.parametrize("arguments", [["--stak", "s"], ["--stak=s"], ["KID", "--al"]])
def test_given_an_unknown_option_when_revoking_then_it_is_no_id(
    arguments: list[str],
) -> None:
    result = run("revoke", *arguments)

    assert result.exit_code == 2
    told = " ".join(result.stderr.replace("│", " ").split())
    assert "No such option: --" in told
    assert "Put -- before a KID that begins with --" in told


@pytest.mark.parametrize("command", [["rotate"], ["revoke", ""]], ids=" ".join)
def test_given_keys_from_the_future_when_to_be_changed_then_one_line(
    there: list[str], store: Store, command: list[str]
) -> None:
    """Either clock may be wrong. A ring written now could leave no key to sign."""
    with open_services(DeploymentOptions(table=there[1], kms_key=there[3])) as services:
        made_at = services.clock() + 91 * DAY
        KeyRotation(services.store, services.key_maker).rotate(made_at)
    before = store.load_ring()

    line = problem(run(*command, *there))

    made = (
        f"the ring's newest key was created at {made_at:%Y-%m-%dT%H:%M:%SZ}, later than"
    )
    assert line.startswith(f"{made} this machine's clock says")
    assert "local service if its clock was moved" in line
    assert store.load_ring() == before
    listed = run("list", *there[:2], "--json")
    assert made in listed.stderr
    assert len(printed(listed)["keys"]) == 4


def test_given_a_clock_when_a_minute_behind_the_newest_key_then_it_may_pass() -> None:
    ring = ring_of(ACCESS, ("access", 0, -99))

    assert KeyList(ring, NOW - timedelta(seconds=60)).clock_warning() is None
    assert KeyList(ring, NOW - timedelta(seconds=61)).clock_warning() is not None


def test_given_no_terminal_when_revoking_then_nothing_is_changed(
    there: list[str],
) -> None:
    before = printed(run("list", *there[:2], "--json"))

    result = run("revoke", kid_of(before, "access", "signing"), *there)

    assert "--yes" in problem(result)
    assert printed(run("list", *there[:2], "--json")) == before


def ring_of(*keys: tuple[str, int, int]) -> Ring:
    """A ring of keys: use, hours since published, hours since it began to sign."""
    return Ring(
        1,
        tuple(
            RingKey(
                kid=f"{use}-{number}",
                use="access" if use == "access" else "refresh",
                wrapped=b"",
                public=None,
                published_at=NOW - published * HOUR,
                signs_from=NOW - since * HOUR,
                stops_at=NOW + 97 * DAY if use == "access" else None,
            )
            for number, (use, published, since) in enumerate(keys)
        ),
    )


def with_a_young_last_key(ring: Ring) -> Ring:
    """The ring, with a last key that was published a minute ago."""
    *_, last = ring.keys
    return ring.replaced(last, replace(last, published_at=NOW - timedelta(minutes=1)))


ACCESS, REFRESH = ("access", 99, 99), ("refresh", 99, 99)


@pytest.mark.parametrize(
    ("ring", "words"),
    [
        pytest.param(
            ring_of(ACCESS, ("access", 30, -99)),
            ["(signing)", "5 minutes", "2 hours", "No session", "access-1 signs from"],
            id="signing",
        ),
        pytest.param(
            ring_of(ACCESS, ("access", 3, -99)),
            ["access-1 signs from now on, but has been public only since 2026-03-10"],
            id="signing, the standby is young",
        ),
        pytest.param(ring_of(ACCESS), ["A new one signs at once"], id="the only one"),
        pytest.param(
            ring_of(("access", 9, -9), ACCESS), ["(standby)", "nothing"], id="standby"
        ),
        pytest.param(
            ring_of(ACCESS, ("access", 80, 80)), ["(verifying)"], id="verifying"
        ),
        pytest.param(
            ring_of(REFRESH),
            [
                "Every session",
                "begun since 2026-03-06T09:00:00Z.",
                "ANONYMOUS USERS OF THESE SESSIONS ARE LOST FOR GOOD",
                "No user can log in for two minutes",
                "rotate --use refresh` first, and revoke after ten minutes.",
            ],
            id="refresh",
        ),
        pytest.param(
            with_a_young_last_key(ring_of(REFRESH, ("refresh", 0, -1))),
            ["No user can log in until 2026-03-10T12:01:00Z.", "LOST FOR GOOD"],
            id="the only one that signs, the next is a minute old",
        ),
        pytest.param(
            ring_of(REFRESH, ("refresh", 1, -1)),
            ["A new key signs from then on", "LOST FOR GOOD"],
            id="the only one that signs, the next is known",
        ),
        pytest.param(
            ring_of(("refresh", 9, 8), REFRESH),
            ["A new key signs from then on", "LOST FOR GOOD"],
            id="refresh, with an older one",
        ),
        pytest.param(
            ring_of(REFRESH, ("refresh", 9, 8)),
            [
                "since 2026-03-06T09:00:00Z and before 2026-03-10T04:00:00Z",
                "LOST FOR GOOD",
            ],
            id="an older refresh key",
        ),
        pytest.param(
            ring_of(("refresh", 0, -1), REFRESH),
            ["No session ends"],
            id="a refresh key that is yet to sign",
        ),
    ],
)
def test_given_a_key_when_about_to_be_revoked_then_it_says_what_that_does(
    ring: Ring, words: list[str]
) -> None:
    keys = KeyList(ring, NOW)
    told = "\n".join(describe_revocation(ring.keys[0], keys))

    signs = (ring.keys[0].use, keys.state(ring.keys[0])) == ("access", "signing")
    assert ("warm functions still sign with it" in told) == signs
    assert told.startswith(f"Revoking {ring.keys[0].use} key {ring.keys[0].kid}")
    assert all(part in told for part in words), told
    assert ("LOST" in told) == ("LOST FOR GOOD" in str(words))


@pytest.fixture
def stacks(moto: None) -> Iterator[Any]:
    """CloudFormation, whose stacks are deleted after the test."""
    client = boto3.client("cloudformation")
    yield client
    for stack in client.describe_stacks()["Stacks"]:
        client.delete_stack(StackName=stack["StackName"])


def test_given_a_stack_when_named_then_its_outputs_say_the_rest(stacks: Any) -> None:
    stacks.create_stack(
        StackName="anonauth",
        TemplateBody=template_with_outputs(
            TableName={"Ref": "Table"},
            RingKeyArn={"Fn::GetAtt": ["RingKey", "Arn"]},
            ClientAppIds="one,two",
        ),
    )

    with open_services(DeploymentOptions(stack="anonauth"), with_key=True) as services:
        assert services.settings.app_ids == {"one", "two"}
        assert services.settings.region == "eu-central-1"
        KeyRotation(services.store, services.key_maker).rotate(services.clock())
    listed = printed(run("list", "--stack", "anonauth", "--json"))
    rotated = printed(run("rotate", "--stack", "anonauth", "--json"))

    assert rotated["kid"] == kid_of(listed, "access", "standby")


def test_given_a_stack_of_something_else_when_named_then_one_line(stacks: Any) -> None:
    stacks.create_stack(
        StackName="other", TemplateBody=template_with_outputs(Table="t")
    )

    line = problem(run("list", "--stack", "other"))

    assert line.startswith("stack 'other' is not an anonauth stack")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["list"], "which deployment? Give --stack", id="no target"),
        pytest.param(
            ["list", "--stack", "a", "--table", "b"],
            "--stack and --table both",
            id="two targets",
        ),
        pytest.param(
            ["list", "--stack", "none"],
            "no stack 'none' in eu-central-1",
            id="no stack",
        ),
        pytest.param(
            ["list", "--table", "none", "--region", "eu-west-1"],
            "no table 'none' in eu-west-1",
            id="no table",
        ),
        pytest.param(
            ["list", "--table", TABLE],
            f"table '{TABLE}' has no key ring yet",
            id="no ring",
        ),
        pytest.param(
            ["rotate", "--table", TABLE, "--kms-key", "KEY"],
            f"table '{TABLE}' has no key ring yet",
            id="no ring to rotate",
        ),
        pytest.param(
            ["rotate", "--table", TABLE], "--table needs --kms-key", id="no KMS key"
        ),
        pytest.param(
            ["list", "--endpoint-url", "foo"], "'foo' is not a URL", id="no URL"
        ),
        pytest.param(
            ["list", "--endpoint-url", "http://127.0.0.1:1"],
            "nothing answers at http://127.0.0.1:1",
            id="nothing there",
        ),
    ],
)
def test_given_what_cannot_work_when_run_then_one_line_and_exit_code_1(
    table: str, arguments: list[str], message: str
) -> None:
    assert message in problem(run(*arguments))


def test_given_an_id_that_is_not_there_when_revoked_then_one_line(
    there: list[str],
) -> None:
    nobody = problem(run("revoke", "nobody", *there, "--yes"))
    empty = problem(run("revoke", "", *there, "--yes"))

    assert nobody == "no key 'nobody' in the ring; `anonauth keys list` shows all"
    assert empty.startswith("no key ''")


def test_given_a_beginning_that_two_ids_have_when_looked_up_then_one_line() -> None:
    keys = KeyList(ring_of(ACCESS, ACCESS), NOW)

    with pytest.raises(CommandError, match="'access-' begins the ids of 2 keys"):
        keys.find("access-")
    assert keys.find("access-1") is keys.ring.keys[1]


def test_given_a_kms_key_that_is_none_when_rotating_then_one_line(
    there: list[str],
) -> None:
    line = problem(run("rotate", *there[:2], "--kms-key", "alias/none"))

    assert line.startswith("Encrypt: NotFound: ")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        pytest.param(
            {"AWS_DEFAULT_REGION": "eu-central-1"},
            "no AWS credentials: Unable to locate credentials; set AWS_PROFILE",
            id="no credentials",
        ),
        pytest.param(
            {"AWS_REGION": "eu-central-1", "AWS_PROFILE": "nobody"},
            "no AWS credentials: The config profile (nobody) could not be found",
            id="no such profile",
        ),
        pytest.param({}, "no region: give --region", id="no region"),
    ],
)
@pytest.mark.parametrize("target", ["--table", "--stack"])
def test_given_no_way_into_aws_when_run_then_one_line(
    moto: None,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    environment: dict[str, str],
    message: str,
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert message in problem(run("list", target, "anonauth"))


def test_given_a_policy_that_refuses_when_run_then_one_line(refusing: str) -> None:
    line = problem(run("list", "--endpoint-url", refusing))

    assert line == ("GetItem: AccessDenied: User: ada is not authorized to perform: it")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(404, '{"message": "only DynamoDB is here"}', id="JSON"),
        pytest.param(404, "<html><p>Not found</html>", id="HTML"),
        pytest.param(404, "<html><p>Not found</p></html>", id="an error in XML"),
        pytest.param(200, "<html><p>Welcome</p></html>", id="another's XML"),
        pytest.param(200, "", id="nothing"),
    ],
)
def test_given_something_else_than_cloudformation_when_asked_then_one_line(
    answering: Callable[[int, str], str], status: int, body: str
) -> None:
    url = answering(status, body)

    line = problem(run("list", "--stack", "anonauth", "--endpoint-url", url))

    assert line == f"no CloudFormation at {url}; leave out --stack for a local service"


def test_given_a_page_instead_of_xml_when_another_service_is_asked_then_one_line(
    answering: Callable[[int, str], str],
) -> None:
    url = answering(200, "<html><p>Log in to this network</html>")

    with (
        pytest.raises(CommandError) as refused,
        open_deployment(DeploymentOptions(table=TABLE, endpoint_url=url)) as found,
    ):
        found.connect("sts").get_caller_identity()

    line = str(refused.value)
    assert line == (
        "the answer to GetCallerIdentity is not from AWS, or is damaged; "
        "GetCallerIdentity changes nothing, so run the command again"
    )


@pytest.mark.long
def test_given_a_local_service_when_a_stack_is_named_then_one_line() -> None:
    with LocalServer(aws_port=0) as server:
        there = ["--stack", "anonauth", "--endpoint-url", str(server.aws_url)]
        line = problem(run("list", *there))

    assert line.startswith(f"no CloudFormation at {server.aws_url}; ")


def test_given_help_when_asked_for_then_the_service_is_not_imported() -> None:
    code = (
        "import sys, anonauth.cli.commands;"
        "print(*{'anonauth.cli.' + name for name in ('deployment', 'events.tail',"
        "'keys.actions', 'stats.counts', 'table_scan', 'users.actions',"
        "'users.export')} & sys.modules.keys())"
    )
    ran = subprocess.run(  # noqa: S603 - constant words
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "functions")},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ran.stdout == "\n"


@pytest.mark.long
def test_given_a_local_service_when_a_key_has_leaked_then_the_drill_works() -> None:
    """The steps of operate.md, run as a shell runs them."""
    with LocalServer(aws_port=0) as server:
        there = ["--endpoint-url", server.aws_url]
        access = log_in(server.base_url)["access_token"]
        leaked = kid_of(printed(run("list", *there, "--json")), "access", "signing")

        said_no = run_on_terminal("keys", "revoke", leaked, *there, answer="n\n")
        still = printed(run("list", *there, "--json"))
        said_yes = run_on_terminal("keys", "revoke", leaked[:12], *there, answer="y\n")
        server.advance(timedelta(minutes=5))
        profile = call(
            server.base_url, "GET", "/api/client/v2.0/auth/profile", token=access
        )
        log_in(server.base_url)
        server.advance(91 * DAY)
        from_the_past = problem(run("rotate", *there))

    assert said_no[0] == 1
    assert "Revoke it? [y/N]:" in said_no[1]
    assert said_no[1].endswith("anonauth: nothing was changed\r\n")
    assert kid_of(still, "access", "signing") == leaked
    assert said_yes[0] == 0, said_yes[1]
    assert f"access key {leaked} is revoked" in said_yes[1]
    assert profile.status == 401
    assert "restart the local service if its clock was moved" in from_the_past
