"""The whole service over HTTP, as clients see it."""

import base64
import http.client
import json
import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import boto3
import jwt
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from typer.testing import CliRunner
from werkzeug.wrappers import Response

from anonauth.cli.commands import app
from anonauth.local import aws
from anonauth.local.api_gateway import FunctionStopped, HttpRequest
from anonauth.local.command_error import CommandError
from anonauth.local.http import HttpServer
from anonauth.local.lambdas import LocalDeployment
from anonauth.local.server import LocalServer
from anonauth.local.template import find_template, read_template
from support.project.tools import ROOT
from support.service.calls import API, APP, OTHER_APP, Answer, call, log_in, login_path

ORIGIN = "https://www.example.com"
JSON = {"Content-Type": "application/json"}


def test_given_a_login_when_used_to_the_end_then_every_call_is_as_promised(
    server: LocalServer,
) -> None:
    base_url = server.base_url

    def send(method: str, path: str, token: str) -> Answer:
        return call(base_url, method, f"{API}{path}", token=token)

    opened = log_in(base_url)
    profile = send("GET", "/auth/profile", opened["access_token"])
    refreshed = send("POST", "/auth/session", opened["refresh_token"])
    access_token = refreshed.json()["access_token"]
    logged_out = send("DELETE", "/auth/session", opened["refresh_token"])
    again = send("DELETE", "/auth/session", opened["refresh_token"])
    gone = send("GET", "/auth/profile", access_token)

    assert profile.json()["user_id"] == opened["user_id"]
    assert profile.headers["content-type"] == "application/json"
    assert (logged_out.status, logged_out.json()) == (200, {})
    assert again.status == 401
    assert again.json()["error"] == ("invalid session: failed to find refresh token")
    assert (gone.status, gone.json()["error_code"]) == (401, "InvalidSession")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param({}, None, id="no body, no type"),
        pytest.param(JSON, b"", id="empty"),
        pytest.param(JSON, b"{}", id="object"),
        pytest.param({}, b"{}", id="no type, so base64"),
        pytest.param(
            {"Content-Type": "application/x-www-form-urlencoded"}, b"{}", id="curl -d"
        ),
    ],
)
def test_given_any_way_to_send_nothing_when_logging_in_then_it_works(
    headers: dict[str, str], body: bytes | None, server: LocalServer
) -> None:
    answer = call(server.base_url, "POST", login_path(), headers=headers, body=body)

    assert answer.status == 200


def test_given_a_plain_oidc_verifier_when_it_gets_a_token_then_it_accepts_it(
    server: LocalServer,
) -> None:
    issuer = f"{server.base_url}{API}/app/{APP}"
    opened = log_in(server.base_url)
    discovered = call(
        server.base_url, "GET", f"{API}/app/{APP}/.well-known/openid-configuration"
    ).json()

    keys = jwt.PyJWKClient(discovered["jwks_uri"])
    key = keys.get_signing_key_from_jwt(opened["access_token"])
    claims = jwt.decode(
        opened["access_token"], key, algorithms=["RS256"], audience=APP, issuer=issuer
    )

    assert discovered["issuer"] == issuer
    assert claims["sub"] == opened["user_id"]
    assert jwt.get_unverified_header(opened["access_token"])["kid"] == key.key_id


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("GET", f"{API}/app/{APP}/location", id="200"),
        pytest.param("GET", f"{API}/auth/profile", id="401"),
        pytest.param("GET", f"{API}/app/nobody/location", id="404 of an app"),
        pytest.param("GET", "/nothing", id="404 of a route"),
        pytest.param("POST", f"{login_path()}?link=true", id="400"),
    ],
)
def test_given_a_page_elsewhere_when_it_calls_then_it_may_read_every_answer(
    method: str, path: str, server: LocalServer
) -> None:
    answer = call(server.base_url, method, path, headers={"Origin": ORIGIN})

    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-expose-headers"] == "retry-after"
    assert answer.headers["content-type"] == "application/json"


def test_given_a_preflight_when_sent_then_it_names_what_the_sdk_needs(
    server: LocalServer,
) -> None:
    answer = call(
        server.base_url,
        "OPTIONS",
        f"{API}/auth/profile",
        headers={
            "Origin": ORIGIN,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization",
        },
    )

    assert answer.status in {200, 204}
    assert answer.headers["access-control-allow-origin"] == "*"
    methods = answer.headers["access-control-allow-methods"].split(",")
    assert {"GET", "POST", "PUT", "DELETE", "OPTIONS"} <= set(methods)
    names = answer.headers["access-control-allow-headers"].split(",")
    assert {"authorization", "content-type", "accept"} <= set(names)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("HEAD", f"{API}/auth/profile", id="HEAD"),
        pytest.param("GET", f"{API}/app/{APP}/location/", id="trailing slash"),
        pytest.param("GET", f"/{API}/app/{APP}/location", id="two slashes"),
        pytest.param("POST", f"/{login_path()}", id="two slashes of a login"),
        pytest.param("PUT", f"{API}/auth/session", id="method"),
        pytest.param("POST", "/", id="root"),
        pytest.param("GET", "/prod" + API + "/auth/profile", id="prefix"),
    ],
)
def test_given_an_unknown_route_when_called_then_404_in_the_contracts_shape(
    method: str, path: str, server: LocalServer
) -> None:
    answer = call(server.base_url, method, path)

    assert answer.status == 404
    assert answer.headers["content-type"] == "application/json"
    if method != "HEAD":
        assert answer.json().keys() == {"error", "error_code", "link"}


def test_given_a_list_of_origins_when_served_then_the_local_page_is_allowed() -> None:
    with LocalServer(parameters={"AllowedOrigins": "https://app.example"}) as server:
        statuses = {
            origin: call(
                server.base_url,
                "POST",
                login_path(server.app_ids[0]),
                headers={"Origin": origin, "Content-Type": "text/plain"},
            ).status
            for origin in (
                "https://app.example",
                "https://elsewhere.example",
                f"http://127.0.0.1:{server.port}",
                f"http://localhost:{server.port}",
                f"http://[::1]:{server.port}",
                f"http://localhost:{server.port + 1}",
            )
        }

    assert list(statuses.values()) == [200, 400, 200, 200, 200, 400]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(f"{API}/app/{APP}/.well-known/jwks.json", id="key set"),
        pytest.param(
            f"{API}/app/{APP}/.well-known/openid-configuration", id="configuration"
        ),
        pytest.param(f"{API}/app/{APP}/location", id="location"),
        pytest.param("/openapi.json", id="OpenAPI document"),
    ],
)
def test_given_a_document_when_asked_for_by_head_then_as_get_without_the_body(
    path: str, server: LocalServer
) -> None:
    get, head = (call(server.base_url, method, path) for method in ("GET", "HEAD"))

    own = {"date", "apigw-requestid"}
    assert (head.status, head.body) == (200, b"")
    assert {k: v for k, v in head.headers.items() if k not in own} == {
        k: v for k, v in get.headers.items() if k not in own
    }
    assert head.headers["content-length"] == str(len(get.body))
    assert head.headers["x-content-type-options"] == "nosniff"
    assert "strict-transport-security" not in head.headers  # plain HTTP


def test_given_no_token_when_refused_then_the_scheme_is_named(
    server: LocalServer,
) -> None:
    answer = call(server.base_url, "GET", f"{API}/auth/profile")

    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_given_11_mb_when_sent_then_413_as_on_aws(server: LocalServer) -> None:
    connection = http.client.HTTPConnection(server.base_url.removeprefix("http://"))
    connection.request("POST", login_path(), b"a" * 11_000_000, {"Origin": ORIGIN})
    response = connection.getresponse()

    assert response.status == 413
    assert response.read() == b'{"message":"Request Entity Too Large"}'
    assert response.headers["access-control-allow-origin"] == "*"
    connection.close()


def test_given_a_low_limit_when_exceeded_then_429_that_a_page_may_read() -> None:
    limits = {"ThrottlingRateLimit": "1", "ThrottlingBurstLimit": "2"}
    with LocalServer(parameters=limits) as server:
        answers = [
            call(
                server.base_url,
                "GET",
                f"{API}/app/{APP}/location",
                headers={"Origin": ORIGIN},
            )
            for _ in range(4)
        ]

    assert [answer.status for answer in answers[:2]] == [200, 200]
    assert 429 in {answers[2].status, answers[3].status}
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.body == b'{"message":"Too Many Requests"}'
    assert refused.headers["access-control-allow-origin"] == "*"


def test_given_calls_when_logged_then_no_line_has_tokens_queries_or_addresses(
    server: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "anonauth.serve"):
        opened = log_in(server.base_url)
        call(server.base_url, "GET", "/secret?secret=1", token=opened["access_token"])

    lines = [r.getMessage() for r in caplog.records if r.name == "anonauth.serve"]
    assert lines[0].startswith(
        f"POST {API}/app/{{appId}}/auth/providers/anon-user/login  200  "
    )
    assert lines[1].startswith("GET $default  404  ")
    assert "secret" not in caplog.text
    assert "127.0.0.1" not in "".join(lines)
    assert opened["access_token"] not in caplog.text


def test_given_many_clients_when_they_log_in_at_once_then_each_gets_a_user(
    server: LocalServer,
) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: log_in(server.base_url), range(24)))

    assert len({one["user_id"] for one in opened}) == 24


def test_given_a_base_url_when_served_then_tokens_and_location_carry_it() -> None:
    with LocalServer(base_url="https://auth.example.com") as server:
        listening = f"http://127.0.0.1:{server.port}"
        opened = log_in(listening)
        location = call(listening, "GET", f"{API}/app/{APP}/location").json()

    claims = jwt.decode(opened["access_token"], options={"verify_signature": False})
    assert claims["iss"].startswith("https://auth.example.com/")
    assert location["hostname"] == "https://auth.example.com"


@pytest.mark.long
@pytest.mark.parametrize(
    ("host", "base_url"),
    [
        pytest.param("127.0.0.1", "http://127.0.0.1:", id="loopback"),
        pytest.param("localhost", "http://localhost:", id="name"),
        pytest.param("0.0.0.0", "http://127.0.0.1:", id="every address"),  # noqa: S104
    ],
)
def test_given_a_host_when_served_then_the_base_url_can_be_called(
    host: str, base_url: str
) -> None:
    with LocalServer(host=host) as server:
        assert server.base_url.startswith(base_url)
        assert server.needs_base_url == (host == "0.0.0.0")  # noqa: S104
        log_in(server.base_url)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"app_ids": ("a b",)}, "AppIds: 'a b' is not allowed", id="app"),
        pytest.param({"base_url": "https://h/p"}, "BASE_URL: 'https://h/p'", id="path"),
        pytest.param(
            {"endpoint_url": "http://127.0.0.1:1"},
            "no DynamoDB at http://127.0.0.1:1: Could not connect",
            id="no server there",
        ),
        pytest.param({"endpoint_url": "nonsense"}, "no DynamoDB at nonsense", id="url"),
        pytest.param(
            {"endpoint_url": "http://127.0.0.1:1", "aws_port": 0},
            "--aws-port exposes the built-in",
            id="both engines",
        ),
        pytest.param(
            {"aws_host": "127.0.0.1"}, "--aws-host needs --aws-port", id="no AWS port"
        ),
        pytest.param(
            {"aws_host": "", "aws_port": 0}, "--aws-host is empty", id="no AWS host"
        ),
    ],
)
def test_given_options_that_cannot_work_when_served_then_one_line_says_why(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(CommandError) as problem, LocalServer(**options):
        pass

    assert message in str(problem.value)
    assert "\n" not in str(problem.value)


def aws_client(service: Literal["dynamodb", "kms", "secretsmanager"], url: str) -> Any:
    return boto3.session.Session().client(
        service,
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="ASIAEXAMPLE",
        aws_secret_access_key="another",
        config=Config(retries={"total_max_attempts": 1, "mode": "standard"}),
    )


def test_given_an_aws_port_when_boto3_reads_then_it_sees_the_services_items() -> None:
    with LocalServer(aws_port=0) as server:
        opened = log_in(server.base_url)
        dynamodb, kms = (
            aws_client("dynamodb", server.aws_url),
            aws_client("kms", server.aws_url),
        )

        item = dynamodb.get_item(
            TableName="anonauth-local",
            Key={"pk": {"S": f"USER#{APP}#{opened['user_id']}"}},
        )["Item"]
        table = dynamodb.describe_table(TableName="anonauth-local")["Table"]
        ttl = dynamodb.describe_time_to_live(TableName="anonauth-local")
        ciphertext = kms.encrypt(KeyId="alias/anonauth-local", Plaintext=b"a")
        plain = kms.decrypt(CiphertextBlob=ciphertext["CiphertextBlob"])["Plaintext"]

    assert item["anonymous"]["BOOL"] is True
    assert table["StreamSpecification"]["StreamViewType"] == "NEW_AND_OLD_IMAGES"
    assert ttl["TimeToLiveDescription"]["AttributeName"] == "ttl"
    assert plain == b"a"


@pytest.mark.long
def test_given_a_slow_sender_at_the_aws_port_when_logging_in_then_no_call_waits() -> (
    None
):
    half = (
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n"
        "X-Amz-Target: DynamoDB_20120810.ListTables\r\n\r\n"
    )
    with LocalServer(aws_port=0) as server:
        aws_address = ("127.0.0.1", int(server.aws_url.rpartition(":")[2]))
        with socket.create_connection(aws_address) as sender:
            sender.sendall(half.encode())
            for _ in range(20):
                log_in(server.base_url)


def test_given_an_aws_port_when_asked_for_another_service_then_it_lists_its_own() -> (
    None
):
    with (
        LocalServer(aws_port=0) as server,
        pytest.raises(ClientError, match="only DynamoDB, KMS, SSM, SES and EventBr"),
    ):
        aws_client("secretsmanager", server.aws_url).list_secrets()


def test_given_an_aws_port_when_the_doctor_looks_then_all_checks_pass() -> None:
    with LocalServer(aws_port=0) as server:
        there = ["--endpoint-url", str(server.aws_url)]
        result = CliRunner().invoke(app, ["doctor", *there, "--json"])

    assert result.exit_code == 0, result.stdout
    found = {each["name"]: each for each in json.loads(result.stdout)["findings"]}
    assert found["backups"]["state"] == "ok"


def test_given_an_engine_without_backups_when_served_then_it_does_without() -> None:
    table = read_template(find_template(ROOT)).table
    with LocalServer(aws_port=0) as host:
        everything = aws.moto_application(host.deployment.lock)

        def no_backups(environ: Any, start_response: Any) -> Any:
            if not environ["HTTP_X_AMZ_TARGET"].endswith("ContinuousBackups"):
                return everything(environ, start_response)
            refusal = Response('{"__type":"UnknownOperationException"}', 400)
            return refusal(environ, start_response)

        http_server = HttpServer("127.0.0.1", 0)
        http_server.serve(no_backups)
        url = f"http://127.0.0.1:{http_server.port}"
        host_table = aws.connect("dynamodb", url)
        host_table.delete_table(TableName=aws.TABLE_NAME)
        with aws.provide_table_and_key(table, url):
            made = host_table.describe_table(TableName=aws.TABLE_NAME)["Table"]
        http_server.close()

    assert made["TableStatus"] == "ACTIVE"


@pytest.mark.long
def test_given_another_engine_when_served_then_its_table_outlives_the_service() -> None:
    with LocalServer(aws_port=0) as host:
        with LocalServer(endpoint_url=host.aws_url) as first:
            token = log_in(first.base_url)["refresh_token"]
        with LocalServer(endpoint_url=host.aws_url) as second:
            path = f"{API}/auth/session"
            answer = call(second.base_url, "POST", path, token=token)

    assert answer.status == 200


def test_given_an_engine_without_kms_when_served_then_one_line_says_so() -> None:
    deployment = LocalDeployment(read_template(find_template(ROOT)))
    with deployment:
        everything = aws.moto_application(deployment.lock)

        def dynamodb_only(environ: Any, start_response: Any) -> Any:
            if environ["HTTP_X_AMZ_TARGET"].startswith("DynamoDB"):
                return everything(environ, start_response)
            refusal = Response('{"__type":"UnknownOperationException"}', 400)
            return refusal(environ, start_response)

        http_server = HttpServer("127.0.0.1", 0)
        http_server.serve(dynamodb_only)
        url = f"http://127.0.0.1:{http_server.port}"
        with pytest.raises(CommandError) as problem, LocalServer(endpoint_url=url):
            pass
        http_server.close()

    assert str(problem.value).startswith(f"no KMS at {url}, and anonauth wraps its")
    assert "\n" not in str(problem.value)


@pytest.mark.long
def test_given_a_deployment_when_invoked_without_http_then_the_function_answers() -> (
    None
):
    event = json.loads((ROOT / "events" / "login.json").read_text())
    with LocalDeployment(read_template(find_template(ROOT))) as deployment:
        answer = deployment.invoke("LoginFunction", event)

    assert answer["statusCode"] == 200
    payload = json.loads(answer["body"])["access_token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert claims["iss"] == f"http://127.0.0.1:8080{API}/app/{APP}"


def test_given_a_deployment_that_has_ended_when_invoked_then_nothing_runs() -> None:
    deployment = LocalDeployment(read_template(find_template(ROOT)))
    with deployment:
        pass

    with pytest.raises(FunctionStopped):
        deployment.invoke("LoginFunction", {})


def test_given_a_service_that_ends_when_a_request_comes_late_then_503_and_no_trace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A request can be in progress when Ctrl-C is pressed."""
    with LocalServer() as server:
        late = HttpRequest("POST", login_path(server.app_ids[0]))
    with caplog.at_level(logging.INFO, "anonauth.serve"):
        answer = server._answer(late)

    assert (answer.status, answer.body) == (503, b'{"message":"Service Unavailable"}')
    lines = [r.getMessage() for r in caplog.records if r.name == "anonauth.serve"]
    assert len(lines) == 1
    assert "  503  " in lines[0]


def test_given_another_region_and_endpoint_in_the_shell_when_served_then_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    monkeypatch.setenv("AWS_PROFILE", "nobody")

    with LocalServer(app_ids=(OTHER_APP,)) as server:
        log_in(server.base_url, OTHER_APP)
