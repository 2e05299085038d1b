"""`anonauth serve --data DIR`: the data that a service finds after a restart.

A copy of the directory, made while the service runs, is what `kill -9` would leave.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from anonauth.local import aws
from anonauth.local.aws import KEY_ALIAS, TABLE_NAME
from anonauth.local.command_error import CommandError
from anonauth.local.journal import DataDirectory
from anonauth.local.lambdas import LocalDeployment
from anonauth.local.server import LocalServer
from anonauth.local.template import find_template, read_template
from support.project.tools import ROOT
from support.service.calls import API, APP, call, log_in

USERPASS = f"{API}/app/{APP}/auth/providers/local-userpass"
ITEM: dict[str, Any] = {
    "pk": {"S": "MINE#1"},
    "many": {"BS": [b"a", b"b"]},
    "deep": {"M": {"list": {"L": [{"B": b"\0\xff"}, {"NULL": True}, {"N": "1"}]}}},
}
ACCOUNT = b'{"username": "ada@example.com", "password": "correct horse"}'


@contextmanager
def serving(data: Path, **options: Any) -> Iterator[LocalServer]:
    with LocalServer(app_ids=(APP,), data=data, **options) as running:
        yield running


def refresh(server: LocalServer, user: dict[str, str]) -> int:
    path = f"{API}/auth/session"
    return call(server.base_url, "POST", path, token=user["refresh_token"]).status


def events(server: LocalServer, user: dict[str, str]) -> list[dict[str, Any]]:
    told = call(server.base_url, "GET", "/_local/events").json()
    return [each for each in told if each["detail"]["uid"] == user["user_id"]]


def clients(server: LocalServer) -> list[Any]:
    """Return clients of DynamoDB, SSM and KMS on --aws-port."""
    return [
        aws.make_aws_session().create_client(
            name,
            endpoint_url=server.aws_url,
            region_name="eu-central-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(retries={"total_max_attempts": 1}),
        )
        for name in ("dynamodb", "ssm", "kms")
    ]


def killed(data: Path) -> Path:
    """Return the directory that would be left if the service were killed now."""
    return Path(shutil.copytree(data, data.with_name(data.name + "-left")))


def test_given_users_a_key_and_a_clock_when_restarted_then_all_are_restored(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    with serving(data) as server:
        is_new = server.deployment.data_summary
        guest = log_in(server.base_url)
        call(
            server.base_url,
            "POST",
            f"{USERPASS}/register",
            body=ACCOUNT.replace(b"username", b"email"),
        )
        link = call(
            server.base_url,
            "POST",
            f"{USERPASS}/login?link=true",
            token=guest["access_token"],
            body=ACCOUNT,
        )
        created = events(server, guest)
        answer = call(
            server.base_url, "POST", "/_local/clock", body=b'{"advance": "P20D"}'
        )
        lost = log_in(server.base_url)
        call(
            server.base_url,
            "DELETE",
            f"{API}/auth/session",
            token=lost["refresh_token"],
        )
        assert (link.status, answer.status) == (200, 200)
        then = server.deployment.clock()

    with serving(data) as server:
        found = server.deployment.data_summary
        statuses = [refresh(server, user) for user in (guest, lost)]
        again = call(server.base_url, "POST", f"{USERPASS}/login", body=ACCOUNT)
        told = events(server, guest)
        passed = server.deployment.clock() - then

    assert is_new == "new"
    assert found == "1 user, clock 20 days ahead"
    assert statuses == [200, 401]
    assert (again.status, again.json()["user_id"]) == (200, guest["user_id"])
    assert timedelta() < passed < timedelta(minutes=2)
    # Each event is published once. Sequence numbers, which give their order, continue.
    assert [each["detail-type"] for each in told] == ["user.logged_in"]
    assert told[0]["detail"]["sequence"] > created[-1]["detail"]["sequence"]


def test_given_a_write_from_outside_when_killed_after_its_answer_then_it_is_saved(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    with serving(data, aws_port=0) as server:
        guest = log_in(server.base_url)
        dynamodb, ssm, kms = clients(server)
        dynamodb.put_item(TableName=TABLE_NAME, Item=ITEM)
        ssm.put_parameter(Name="/mine", Value="kept", Type="SecureString")
        sealed = kms.encrypt(KeyId=KEY_ALIAS, Plaintext=b"secret")["CiphertextBlob"]
        left = killed(data)

        # The service can no longer write, so no client gets an answer.
        full = os.open(data / "journal-1", os.O_RDONLY)
        assert server.deployment._data is not None
        good, server.deployment._data._journal = server.deployment._data._journal, full
        with pytest.raises(ClientError) as refused:
            dynamodb.delete_item(TableName=TABLE_NAME, Key={"pk": {"S": "MINE#1"}})
        status = refresh(server, guest)
        local = [
            call(server.base_url, method, f"/_local/{path}", body=body).status
            for method, path, body in (
                ("GET", "events", None),
                ("POST", "clock", b'{"advance": "PT1S"}'),
            )
        ]
        server.deployment._data._journal = good
        os.close(full)
        healed = refresh(server, guest)

    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert (status, local, healed) == (503, [503, 503], 200)
    with serving(data):
        pass  # what was written in between is complete
    with serving(left, aws_port=0) as server:
        dynamodb, ssm, kms = clients(server)
        item = dynamodb.get_item(TableName=TABLE_NAME, Key={"pk": {"S": "MINE#1"}})
        value = ssm.get_parameter(Name="/mine", WithDecryption=True)
        opened = kms.decrypt(CiphertextBlob=sealed)
        assert refresh(server, guest) == 200

    assert item["Item"] == ITEM
    assert value["Parameter"]["Value"] == "kept"
    assert opened["Plaintext"] == b"secret"


def test_given_a_kill_before_an_event_when_restarted_then_it_is_published(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    with serving(data) as server:
        guest = log_in(server.base_url)
        told = events(server, guest)
        left = killed(data)
    journal = left / "journal-1"
    *lines, last = journal.read_bytes().splitlines(keepends=True)
    assert "told" in json.loads(last)
    journal.write_bytes(b"".join(lines))

    with serving(left) as server:
        again = events(server, guest)

    assert [each["detail-type"] for each in told] == ["user.created"]
    assert again == told


def test_given_a_bound_when_it_is_passed_then_a_snapshot_has_everything(
    tmp_path: Path,
) -> None:
    template = read_template(find_template(ROOT))
    kept = DataDirectory(tmp_path, longest_journal=2_000)
    with LocalDeployment(template, data=kept) as deployment:
        table = deployment._table
        assert table is not None
        deployment.run_schedules()
        journal = "".join(path.read_text() for path in tmp_path.glob("journal-*"))
        header, *items = (tmp_path / "snapshot").read_text().splitlines()

    with LocalDeployment(template, data=DataDirectory(tmp_path)) as deployment:
        deployment.run_schedules()  # reads the key ring with the restored key

    assert json.loads(header)["generation"] > 1
    assert len(journal) <= 2 * 2_000 + 2 * len("".join([header, *items]))
    found = {json.loads(item)["pk"]["S"] for item in items}
    assert "KEY#ring" in found
    assert "SCAN#expiring" in journal  # written after the snapshot
    # Not only ours: moto also has the keys of other tests in this process.
    keys = json.loads(header)["aws"]["keys"]
    assert [KEY_ALIAS] in [key["aliases"] for key in keys]


@pytest.mark.long
def test_given_a_settings_document_when_started_without_it_then_it_stays(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    files = [tmp_path / "keys.json", tmp_path / "passwords.json"]
    files[0].write_text('{"apps": {"*": {"api-key": {}}}}')
    files[1].write_text('{"apps": {"*": {"local-userpass": {}}}}')
    found = []

    for file in (None, files[0], None, files[1], None):
        with serving(data, settings=file) as server:
            found.append(server.providers)

    assert found == [
        ["local-userpass", "api-key"],
        *2 * [["api-key"]],
        *2 * [["local-userpass"]],
    ]


def test_given_a_process_that_mocks_aws_when_served_without_data_then_settings_are_gone(
    tmp_path: Path, moto: None
) -> None:
    file = tmp_path / "keys.json"
    file.write_text('{"apps": {"*": {"api-key": {}}}}')
    for settings in (file, None):  # the second time they are read from the directory
        with serving(tmp_path / "data", settings=settings) as server:
            assert server.providers == ["api-key"]

    with LocalServer(aws_port=0) as fresh:
        assert fresh.providers == ["local-userpass", "api-key"]


@pytest.mark.long
def test_given_a_directory_in_use_when_served_then_the_first_goes_on(
    tmp_path: Path,
) -> None:
    with serving(tmp_path) as server:
        with pytest.raises(CommandError, match="is in use by another service"):
            serving(tmp_path).__enter__()
        with pytest.raises(CommandError, match="another service in this process"):
            serving(tmp_path / "other").__enter__()

        log_in(server.base_url)
