"""The `cli` extra installs everything that the local service needs."""

import re
import subprocess
import sys
import tomllib

import pytest

from support.project.tools import ROOT
from support.service.command import environment

# Dependencies of `moto[server]` that the extra leaves out.
LEFT_OUT = [
    *("antlr4", "aws_xray_sdk", "cfnlint", "flask", "flask_cors", "graphql"),
    *("joserfc", "networkx", "openapi_spec_validator", "samtranslator", "sympy"),
]

# Calls each service over HTTP, signed for another region with other credentials.
_CODE = f"""
import sys
for name in {LEFT_OUT}:
    sys.modules[name] = None
import botocore.session
from botocore.exceptions import ClientError
from anonauth.local.server import LocalServer
from support.service.calls import log_in, APP

with LocalServer(app_ids=(APP,), aws_port=0) as server:
    session = botocore.session.get_session()
    def aws(service):
        return session.create_client(
            service, region_name="us-west-2", endpoint_url=server.aws_url,
            aws_access_key_id="ASIAEXAMPLE", aws_secret_access_key="x",
        )
    user = log_in(server.base_url)["user_id"]
    table = dict(TableName="anonauth-local")
    dynamodb, streams = aws("dynamodb"), aws("dynamodbstreams")
    key = {{"pk": {{"S": f"USER#{{APP}}#{{user}}"}}}}
    assert dynamodb.get_item(**table, Key=key)["Item"]["anonymous"]["BOOL"]
    put = {{"Put": {{**table, "Item": {{"pk": {{"S": "é"}}}}}}}}
    dynamodb.transact_write_items(TransactItems=[put])
    try:
        dynamodb.put_item(
            **table, Item={{"pk": {{"S": "é"}}}},
            ConditionExpression="attribute_not_exists(pk)",
        )
    except dynamodb.exceptions.ConditionalCheckFailedException as exc:
        print("refused", exc.response["ResponseMetadata"]["HTTPStatusCode"])
    (stream,) = streams.list_streams(**table)["Streams"]
    print(streams.describe_stream(StreamArn=stream["StreamArn"])["StreamDescription"][
        "StreamStatus"])
    kms = aws("kms")
    sealed = kms.encrypt(KeyId="alias/anonauth-local", Plaintext=b"a")
    print(kms.decrypt(CiphertextBlob=sealed["CiphertextBlob"])["Plaintext"])
    settings = aws("ssm").get_parameter(Name="/anonauth/settings", WithDecryption=True)
    print("local-userpass" in settings["Parameter"]["Value"])
    ses = aws("sesv2")
    ses.create_email_identity(EmailIdentity="ada@example.com")
    print([each["IdentityName"] for each in ses.list_email_identities()[
        "EmailIdentities"]])
    entry = dict(Source="x", DetailType="y", Detail="{{}}")
    print(aws("events").put_events(Entries=[entry])["FailedEntryCount"])
    try:
        aws("secretsmanager").list_secrets()
    except ClientError as exc:
        print(exc.response["ResponseMetadata"]["HTTPStatusCode"])
"""


@pytest.mark.long
def test_given_the_extra_alone_when_each_service_is_asked_then_it_answers() -> None:
    tests = f"{ROOT / 'functions'}:{ROOT / 'tests'}"

    ended = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", _CODE],
        env=environment(PYTHONPATH=tests),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ended.stdout.splitlines() == [
        "refused 400",
        "ENABLED",
        "b'a'",
        "True",
        "['app@example.com', 'ada@example.com']",  # the first by the default settings
        "0",
        "404",
    ], ended.stderr


def test_given_the_extra_when_read_then_it_takes_only_what_is_used_of_moto() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]

    (moto,) = (each for each in extras["cli"] if each.startswith("moto"))
    (of_tests,) = (each for each in extras["dev"] if each.startswith("moto"))

    taken = re.fullmatch(r"moto\[([a-z,]+)\]==(.+)", moto)
    assert taken is not None
    assert set(taken[1].split(",")).isdisjoint({"all", "cloudformation", "server"})
    assert of_tests == f"moto[server]=={taken[2]}"
