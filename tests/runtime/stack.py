"""A stack on ministack that this machine deploys itself, and an API in front of it.

`sam build` and `sam deploy` take longer than all the rest, so their part is done here:
one bundle for all functions, a template that names it, and CloudFormation.
"""

import io
import json
import re
import time
import urllib.request
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anonauth.local.api_gateway import Gateway, HttpRequest
from anonauth.local.template import read_template
from anonauth.wiring import utc_now
from runtime.ministack import client, without_metric_math
from support.service.calls import API, APP

NAME, BUCKET = "anonauth", "code"
LOGIN = f"{API}/app/{APP}/auth/providers/"
SESSION = f"{API}/auth/session"

Json = dict[str, Any]


@dataclass(frozen=True)
class Version:
    """A state of the repository, and its bundle."""

    name: str
    root: Path
    bundle: Path

    def archive(self) -> bytes:
        """Return the bundle as Lambda takes it. Compressing it would take seconds."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for path in self.bundle.rglob("*"):
                archive.write(path, path.relative_to(self.bundle))
        return packed.getvalue()

    def template(self) -> str:
        """Return the template, as `sam package` changes it."""
        text = (self.root / "template.yaml").read_text()
        packaged = text.replace(" functions/\n", f" s3://{BUCKET}/{self.name}.zip\n")
        assert packaged != text
        return without_metric_math(packaged)


@dataclass
class Stack:
    """A stack on ministack, and the API in front of its functions."""

    endpoint_url: str
    queue: str  # receives its events
    outputs: dict[str, str] = field(default_factory=dict)
    _functions: dict[str, str] = field(default_factory=dict)
    _gateway: Gateway | None = None

    def connect(self, service: str) -> Any:
        return client(service, self.endpoint_url)

    def deploy(self, version: Version, parameters: Mapping[str, str]) -> None:
        """Create the stack, or update it. Parameters that are not named stay."""
        formation, s3 = self.connect("cloudformation"), self.connect("s3")
        template = version.template()
        s3.put_object(Bucket=BUCKET, Key=f"{version.name}.zip", Body=version.archive())
        s3.put_object(Bucket=BUCKET, Key=f"{version.name}.yaml", Body=template.encode())
        stays = {} if not self.outputs else self._parameters()
        given: list[Json] = [
            {"ParameterKey": name, "ParameterValue": value}
            for name, value in parameters.items()
        ]
        given += [
            {"ParameterKey": name, "UsePreviousValue": True}
            for name in stays
            if name not in parameters and f"\n  {name}:\n" in template
        ]
        change = formation.update_stack if self.outputs else formation.create_stack
        change(
            StackName=NAME,
            TemplateURL=f"{self.endpoint_url}/{BUCKET}/{version.name}.yaml",
            Parameters=given,
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        while (stack := self._described())["StackStatus"].endswith("_IN_PROGRESS"):
            time.sleep(0.1)
        events = formation.describe_stack_events(StackName=NAME)["StackEvents"]
        failed = [each for each in events if each["ResourceStatus"].endswith("_FAILED")]
        assert not failed, failed
        assert stack["StackStatus"] in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}
        self.outputs = {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]}
        pages = formation.get_paginator("list_stack_resources")
        self._functions = {
            each["LogicalResourceId"]: each["PhysicalResourceId"]
            for page in pages.paginate(StackName=NAME)
            for each in page["StackResourceSummaries"]
            if each["ResourceType"] == "AWS::Lambda::Function"
        }
        self._gateway = Gateway(
            read_template(version.root / "template.yaml"),
            invoke=self._invoke,
            clock=utc_now,
            domain_name=self.outputs["BaseUrl"].removeprefix("https://"),
        )

    def _described(self) -> Any:
        found = self.connect("cloudformation").describe_stacks(StackName=NAME)
        return found["Stacks"][0]

    def _parameters(self) -> dict[str, str]:
        return {
            each["ParameterKey"]: each["ParameterValue"]
            for each in self._described()["Parameters"]
        }

    def _invoke(self, function: str, event: Json) -> Any:
        answer = self.connect("lambda").invoke(
            FunctionName=self._functions[function], Payload=json.dumps(event).encode()
        )
        result = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, result
        return result

    def send(
        self, method: str, target: str, token: str = "", body: Json | None = None
    ) -> tuple[int, Any]:
        """Send a request to the API; return the status and the answer."""
        sent = b"" if body is None else json.dumps(body).encode()
        headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
        if token:
            headers += (("authorization", f"Bearer {token}"),)
        assert self._gateway
        answer = self._gateway.answer(HttpRequest(method, target, headers, sent))
        return answer.status, json.loads(answer.body)

    def call(
        self, method: str, target: str, token: str = "", body: Json | None = None
    ) -> Any:
        """Send a request that succeeds; return the answer."""
        status, answer = self.send(method, target, token, body)
        assert status == 200, (method, target, answer)
        return answer

    def log_in(self, provider: str = "anon-user", body: Json | None = None) -> Json:
        answer: Json = self.call("POST", f"{LOGIN}{provider}/login", body=body)
        return answer

    def refuses(self, provider: str, body: Json) -> bool:
        """Tell whether a login is refused because its credential is bad."""
        return self.send("POST", f"{LOGIN}{provider}/login", body=body)[0] == 401

    def link(self, guest: Json, provider: str, body: Json) -> None:
        """Link, and keep the new access token, as SDKs do."""
        target = f"{LOGIN}{provider}/login?link=true"
        guest |= self.call("POST", target, guest["access_token"], body)

    def register(self, address: str) -> None:
        body = {"email": address, "password": "correct horse"}
        self.call("POST", f"{LOGIN}local-userpass/register", body=body)

    def confirm(self, address: str) -> None:
        """Follow the link of the mail that an address got when it was registered."""
        target = f"{LOGIN}local-userpass/confirm"
        self.call("POST", target, body=self.mail_token(address))

    def mail_token(self, address: str) -> Json:
        """Return what the newest mail to an address tells the app's page."""
        with urllib.request.urlopen(  # noqa: S310 - ministack's own address
            f"{self.endpoint_url}/_ministack/ses/messages"
        ) as answer:
            (messages,) = json.load(answer)["messages"].values()
        (*_, text) = (m["BodyText"] for m in messages if m["To"] == [address])
        found = re.search(r"token=([\w-]+)&tokenId=([\w-]+)", text)
        assert found, text
        return {"token": found[1], "tokenId": found[2]}

    def profile(self, access_token: str) -> Json:
        answer: Json = self.call("GET", f"{API}/auth/profile", access_token)
        return answer

    def refresh(self, person: Json) -> Json:
        """Return the profile of a person who is still logged in."""
        refreshed = self.call("POST", SESSION, person["refresh_token"])
        return self.profile(refreshed["access_token"])

    def is_logged_out(self, person: Json) -> bool:
        status, answer = self.send("POST", SESSION, person["refresh_token"])
        return (status, answer["error_code"]) == (401, "InvalidSession")

    def items(self) -> dict[str, Json]:
        """Return the items of the table, by their keys."""
        pages = self.connect("dynamodb").get_paginator("scan")
        return {
            item["pk"]["S"]: item
            for page in pages.paginate(TableName=self.outputs["TableName"])
            for item in page["Items"]
        }

    def events_until(self, kind: str, user_id: str) -> set[tuple[str, str]]:
        """Return types and users of all events, up to one that is waited for."""
        sqs, told = self.connect("sqs"), set[tuple[str, str]]()
        for _ in range(60):
            got = sqs.receive_message(
                QueueUrl=self.queue, WaitTimeSeconds=1, MaxNumberOfMessages=10
            )
            for message in got.get("Messages", []):
                sqs.delete_message(
                    QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"]
                )
                event = json.loads(message["Body"])
                told.add((event["detail-type"], event["detail"]["uid"]))
            if (kind, user_id) in told:
                break
        return told
