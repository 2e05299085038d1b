"""The version that was released last is updated to this one, and rolled back to.

The users that one version has made go on with the other, as changelog.md promises.
`RELEASED=<commit>` starts from another state than the last release.
"""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.conftest import build
from runtime.ministack import (
    REGION,
    client,
    ministack,
    operator_command,
    queue_of_all_events,
)
from runtime.stack import BUCKET, LOGIN, NAME, SESSION, Stack, Version
from support.project.released import extract_release
from support.project.tools import ROOT, machine
from support.service.calls import API, APP
from support.service.provider_logins import (
    NEW_PASSWORD,
    PASSWORD,
    SECRET,
    by_password,
    by_token,
)

pytestmark = pytest.mark.long

SETTINGS, ISSUER = "/anonauth/settings", "/anonauth/settings/issuer"
SENDER = "noreply@example.com"
MAIL = {
    "sender": SENDER,
    "confirm_url": "https://www.example.com/confirm",
    "reset_url": "https://www.example.com/reset",
}
DOCUMENT = {
    "apps": {
        APP: {
            "api-key": {},
            "custom-token": {
                "issuers": [{"algorithm": "HS256", "secret": {"ssm": "issuer"}}]
            },
            "local-userpass": {"mail": MAIL},
        }
    }
}
JWT, PASSWORDS = "custom-token", "local-userpass"


class People:
    """Users that a version has made, and what each has on its device.

    Args:
        stack: The stack as it is deployed now.
        name: Part of their addresses and subjects, which others must not have.
    """

    def __init__(self, stack: Stack, name: str) -> None:
        self.address, self.later = f"{name}@example.org", f"{name}-later@example.org"
        self.jwt, self.left_jwt = by_token(name), by_token(f"{name}-left")
        self.guest = stack.log_in()
        self.login_key = {"login_key": secrets.token_urlsafe(32)}
        self.keyed = stack.log_in(body=self.login_key)
        self.left = stack.log_in()
        stack.call("DELETE", SESSION, self.left["refresh_token"])

        self.by_jwt = stack.log_in()
        stack.link(self.by_jwt, JWT, self.jwt)
        self.merged = stack.log_in()
        merge = {"merge": self.merged["refresh_token"]}
        assert stack.log_in(JWT, {**self.jwt, **merge})["merged"] is True

        self.by_mail = stack.log_in()
        stack.register(self.address)
        stack.confirm(self.address)
        stack.link(self.by_mail, PASSWORDS, by_password(PASSWORD, self.address))
        self.phone = stack.log_in(PASSWORDS, by_password(PASSWORD, self.address))
        self.key, self.disabled = (
            stack.call(
                "POST", f"{API}/auth/api_keys", self.phone["refresh_token"], body
            )
            for body in ({"name": "on"}, {"name": "off"})
        )
        off = f"{API}/auth/api_keys/{self.disabled['_id']}/disable"
        stack.call("PUT", off, self.phone["refresh_token"])

        self.gone = stack.log_in(JWT, self.left_jwt)
        stack.call("DELETE", f"{API}/auth/delete", self.gone["access_token"])

        # Two mails that nobody has read yet.
        stack.register(self.later)
        reset = f"{LOGIN}{PASSWORDS}/reset/send"
        stack.call("POST", reset, body={"email": self.address})

        self.alive = [self.guest, self.keyed, self.by_jwt, self.by_mail, self.phone]
        self.seen = [stack.profile(each["access_token"]) for each in self.alive]

    def stay_as_they_were(self, stack: Stack) -> None:
        """Check that tokens are good and that nothing of a user has changed."""
        by_access = [stack.profile(each["access_token"]) for each in self.alive]
        by_refresh = [stack.refresh(each) for each in self.alive]
        assert by_access == by_refresh
        for before, after in zip(self.seen, by_refresh, strict=True):
            # A refresh on another day moves a guest's end.
            same = {key: before[key] for key in before if key != "expires_at"}
            assert same == {key: after.get(key) for key in same}
        absorbed = stack.refresh(self.by_jwt)["former_ids"]
        assert absorbed == [self.merged["user_id"]]
        for ended in (self.left, self.merged, self.gone):
            assert stack.is_logged_out(ended)

    def go_on(self, stack: Stack) -> None:
        """Check that they do whatever they could have done before."""
        again = stack.log_in(body=self.login_key)
        assert again["user_id"] == self.keyed["user_id"]
        assert again["refresh_token"] != self.left["refresh_token"]

        another = stack.log_in(JWT, self.jwt)
        assert another["user_id"] == self.by_jwt["user_id"]
        assert stack.log_in(JWT, self.left_jwt)["user_id"] != self.gone["user_id"]

        old_password = by_password(PASSWORD, self.address)
        desk = stack.log_in(PASSWORDS, old_password)
        assert desk["user_id"] == self.by_mail["user_id"]
        program = stack.log_in("api-key", {"key": self.key["key"]})
        assert program["user_id"] == self.by_mail["user_id"]
        assert stack.profile(program["access_token"])["type"] == "server"
        assert stack.refuses("api-key", {"key": self.disabled["key"]})

        stack.confirm(self.later)
        stack.link(self.guest, PASSWORDS, by_password(PASSWORD, self.later))
        assert "expires_at" not in stack.refresh(self.guest)

        reset = stack.mail_token(self.address) | {"password": NEW_PASSWORD}
        stack.call("POST", f"{LOGIN}{PASSWORDS}/reset", body=reset)
        for ended in (self.by_mail, self.phone, desk, program):
            assert stack.is_logged_out(ended)
        new_password = by_password(NEW_PASSWORD, self.address)
        self.by_mail = stack.log_in(PASSWORDS, new_password)
        assert self.by_mail["user_id"] == desk["user_id"]
        assert (
            stack.send("POST", f"{LOGIN}{PASSWORDS}/login", body=old_password)[0] == 401
        )

        stack.call("DELETE", SESSION, self.keyed["refresh_token"])
        assert stack.is_logged_out(self.keyed)
        self.alive = [self.guest, self.by_jwt, self.by_mail]
        self.seen = [stack.refresh(each) for each in self.alive]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """The version that was released last."""
    root = tmp_path_factory.mktemp("released")
    extract_release(root)
    # Dependencies that are staged for one state of the repository serve all others.
    staged = ROOT / ".build"
    staged.mkdir(exist_ok=True)
    (root / ".build").symlink_to(staged)
    bundle = tmp_path_factory.mktemp("released-bundle")
    build(bundle, root=root)
    return Version("released", root, bundle)


@pytest.fixture(scope="module")
def present(bundle: Path) -> Version:
    """The version that is in the working tree."""
    return Version("present", ROOT, bundle)


@pytest.fixture(scope="module")
def stack(
    released: Version, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The released version on ministack."""
    with ministack(tmp_path_factory.mktemp("ministack")) as url:
        ssm, s3 = client("ssm", url), client("s3", url)
        for name, text in ((SETTINGS, json.dumps(DOCUMENT)), (ISSUER, SECRET)):
            ssm.put_parameter(Name=name, Value=text, Type="SecureString")
        client("sesv2", url).create_email_identity(EmailIdentity=SENDER)
        s3.create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        stack = Stack(url, queue=queue_of_all_events(url))
        stack.deploy(
            released,
            {
                "AppIds": APP,
                "Architecture": machine(),
                "MailSender": SENDER,
                "SettingsParameter": SETTINGS,
            },
        )
        yield stack


@pytest.fixture(scope="module")
def ada(stack: Stack) -> People:
    """People that the released version has made."""
    return People(stack, "ada")


def test_given_people_of_the_release_when_updated_then_everybody_goes_on(
    stack: Stack, ada: People, present: Version
) -> None:
    items, outputs = stack.items(), {**stack.outputs}
    outputs.pop("Version", None)

    stack.deploy(present, {})

    assert stack.items() == items
    assert outputs.items() <= stack.outputs.items()
    ada.stay_as_they_were(stack)
    ada.go_on(stack)


def test_given_an_updated_stack_when_operated_then_the_commands_read_its_table(
    stack: Stack, ada: People
) -> None:
    target = ("--stack", NAME, "--region", REGION, "--json")
    words = (("users", "show", ada.by_jwt["user_id"]), ("keys", "list"), ("doctor",))

    user, keys, health = (
        json.loads(operator_command(stack.endpoint_url, *word, *target).stdout)
        for word in words
    )

    assert user["former_ids"] == [ada.merged["user_id"]]
    assert [key["state"] for key in keys["keys"]] == ["signing", "signing", "standby"]
    states = {each["name"]: each["state"] for each in health["findings"]}
    assert [states[name] for name in ("stack", "lost users", "settings")] == ["ok"] * 3


def test_given_people_of_this_version_when_rolled_back_then_everybody_goes_on(
    stack: Stack, ada: People, released: Version
) -> None:
    """Their items have whatever this version adds."""
    eve = People(stack, "eve")
    items = stack.items()

    stack.deploy(released, {})

    assert stack.items() == items
    ada.stay_as_they_were(stack)
    eve.stay_as_they_were(stack)
    eve.go_on(stack)
    told = stack.events_until("user.linked", eve.guest["user_id"])
    for people in (ada, eve):
        for kind in ("user.created", "user.linked"):
            assert (kind, people.guest["user_id"]) in told
