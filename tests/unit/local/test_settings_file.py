"""The settings document of the local service: reading, refusing and storing it."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from werkzeug.wrappers import Response

from anonauth.local import aws, settings_file
from anonauth.local.command_error import CommandError
from anonauth.local.http import HttpServer
from anonauth.local.lambdas import LocalDeployment
from anonauth.local.server import LOCAL_PARAMETERS, LocalServer
from anonauth.local.template import find_template, read_template
from support.forgery.key_server import KeyServer, Signer
from support.project.tools import ROOT
from support.service.calls import API, APP, OTHER_APP, Answer, call, log_in

MAIL = {
    "sender": "The App <app@example.com>",
    "confirm_url": "https://www.example.com/confirm",
    "reset_url": "https://www.example.com/reset",
}
USERPASS_OFF: dict[str, Any] = {"apps": {"*": {"api-key": {}}}}
NAME = "/anonauth/settings"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "settings.json"


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def of_length(length: int) -> str:
    """Return a valid document of the given size in bytes."""
    return settings_file.DEFAULT_DOCUMENT.ljust(length)


def register(server: LocalServer, app: str = APP) -> Answer:
    path = f"{API}/app/{app}/auth/providers/local-userpass/register"
    body = b'{"email": "ada@example.org", "password": "correct horse"}'
    return call(server.base_url, "POST", path, body=body)


def test_given_no_file_when_served_then_passwords_and_api_keys_are_on() -> None:
    with LocalServer(app_ids=(APP, OTHER_APP)) as server:
        registered = [register(server, app).status for app in (APP, OTHER_APP)]
        providers = server.providers

    assert registered == [200, 200]
    assert providers == ["local-userpass", "api-key"]


def test_given_a_file_when_served_then_it_decides_for_each_app(path: Path) -> None:
    write(path, {"apps": {"*": {"api-key": {}}, OTHER_APP: {"local-userpass": {}}}})

    with LocalServer(settings=path, app_ids=(APP, OTHER_APP)) as server:
        off, on = register(server), register(server, OTHER_APP)
        providers = server.providers

    assert off.status == 404
    assert off.json()["error_code"] == "AuthProviderNotFound"
    assert on.status == 200
    assert providers == ["api-key"]


def test_given_an_issuer_on_this_machine_when_linked_then_its_keys_are_fetched(
    path: Path,
) -> None:
    """AWS would accept neither http nor a private address."""
    signer = Signer()
    with KeyServer() as keys:
        url = keys.publish("/jwks.json", {"keys": [signer.jwk()]})
        write(path, {"apps": {"*": {"custom-token": {"issuers": [{"jwks_url": url}]}}}})
        with LocalServer(settings=path) as server:
            guest = log_in(server.base_url)
            exp = int((server.deployment.clock() + timedelta(hours=1)).timestamp())
            token = signer.sign({"aud": APP, "sub": "ada", "exp": exp})
            route = f"{API}/app/{APP}/auth/providers/custom-token/login"
            body = json.dumps({"token": token}).encode()
            linked = call(
                server.base_url,
                "POST",
                f"{route}?link=true",
                token=guest["access_token"],
                body=body,
            )
            elsewhere = call(server.base_url, "POST", route, body=body)

    assert linked.status == elsewhere.status == 200
    assert linked.json()["user_id"] == guest["user_id"]
    assert elsewhere.json()["user_id"] == guest["user_id"]


@pytest.mark.long
def test_given_a_challenge_when_served_then_anonymous_logins_ask_for_it(
    path: Path,
) -> None:
    with KeyServer() as verifier:
        url = verifier.publish("/verify", {"success": True})
        challenge = {"verify_url": url, "secret": "s"}
        write(path, {"apps": {"*": {"anon-user": {"challenge": challenge}}}})

        asked = {"AnonymousChallenge": "true"}
        with LocalServer(settings=path, parameters=asked) as server:
            login = f"{API}/app/{APP}/auth/providers/anon-user/login"
            without = call(server.base_url, "POST", login)
            body = b'{"options": {"challenge": "answer"}}'
            passed = call(server.base_url, "POST", login, body=body)
            assert server.providers == []
        with pytest.raises(
            CommandError, match=f"for {APP}, .+ AnonymousChallenge=true"
        ):
            LocalServer(settings=path, app_ids=(APP,)).__enter__()

    assert (without.status, passed.status) == (400, 200)
    assert verifier.asked[0].form == {"secret": "s", "response": "answer"}


def test_given_an_app_with_its_own_entry_when_served_then_no_challenge_is_needed(
    path: Path,
) -> None:
    """An app's own entry replaces that of `*`."""
    challenge = {"verify_url": "http://127.0.0.1:1/verify", "secret": "s"}
    write(path, {"apps": {"*": {"anon-user": {"challenge": challenge}}, APP: {}}})

    with LocalServer(settings=path, app_ids=(APP,)) as server:
        guest = log_in(server.base_url)

    assert guest["user_id"]


def test_given_a_file_that_changes_when_served_again_then_it_applies_then(
    path: Path,
) -> None:
    write(path, USERPASS_OFF)
    with LocalServer(settings=path) as server:
        path.write_text(settings_file.DEFAULT_DOCUMENT)
        during = register(server).status
    with LocalServer(settings=path) as server:
        after = register(server).status

    assert (during, after) == (404, 200)


def described_as(name: str) -> dict[str, Any]:
    """Return SSM's description of a parameter; other tests may have made more."""
    ssm = boto3.client("ssm", "eu-central-1")
    (found,) = ssm.describe_parameters(
        ParameterFilters=[{"Key": "Name", "Values": [name]}]
    )["Parameters"]
    return dict(found)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "cannot read {path}: No such file", id="no file"),
        pytest.param(b"", "{path}: ", id="empty"),
        pytest.param(b"{", "{path}: ", id="not JSON"),
        pytest.param(b"\xff", "{path} is not UTF-8", id="not UTF-8"),
        pytest.param(b"[]", "{path}: ", id="list"),
        pytest.param(b"{}", "apps", id="no apps"),
        pytest.param(b'{"apps": {}, "app": {}}', "app", id="key"),
        pytest.param(
            b'{"apps": {"*": {"oauth2-githup": {}}}}', "oauth2-githup", id="provider"
        ),
        pytest.param(
            b'{"apps": {"*": {"local-userpass": {"min_password_length": 5}}}}',
            "min_password_length",
            id="value",
        ),
        pytest.param(
            b'{"apps": {"*": {"oauth2-facebook":'
            b' {"app_id": "1", "app_secret": {"ssm": "fb"}}}}}',
            "apps.*.oauth2-facebook.app_secret: the local service has no SSM",
            id="reference",
        ),
        pytest.param(
            b'{"apps": {"a": {"custom-token": {"issuers":'
            b' [{"issuer": "i", "algorithm": "HS256", "secret": {"ssm": "x"}}]}}}}',
            "apps.a.custom-token.issuers[0].secret: the local service has no",
            id="reference in a list",
        ),
        pytest.param(
            of_length(settings_file.LONGEST_PARAMETER + 1).encode(),
            "8193 bytes; an SSM parameter holds at most 8192",
            id="one byte too long",
        ),
    ],
)
def test_given_a_bad_file_when_served_then_one_line_names_it_and_the_key(
    content: bytes | None, message: str, path: Path
) -> None:
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(CommandError) as problem, LocalServer(settings=path):
        pass

    assert str(path) in str(problem.value)
    assert message.format(path=path) in str(problem.value)
    assert "\n" not in str(problem.value)


@pytest.mark.long
@pytest.mark.parametrize(
    "length",
    [
        pytest.param(4096, id="longest of the standard tier"),
        pytest.param(4097, id="one byte more"),
        pytest.param(settings_file.LONGEST_PARAMETER, id="longest"),
    ],
)
def test_given_a_document_when_stored_then_it_is_a_secure_string_of_any_tier(
    length: int, path: Path
) -> None:
    path.write_text(of_length(length))

    with LocalServer(settings=path) as server:
        ssm = boto3.client("ssm", "eu-central-1")
        stored = ssm.get_parameter(Name=NAME, WithDecryption=True)["Parameter"]
        described = described_as(NAME)
        registered = register(server)

    assert stored["Value"] == of_length(length)
    assert stored["Type"] == "SecureString"
    assert described["Tier"] == "Intelligent-Tiering"
    assert registered.status == 200


def test_given_a_parameter_of_the_users_when_served_then_the_document_is_there() -> (
    None
):
    with LocalServer(parameters={"SettingsParameter": "/mine"}) as server:
        described = described_as("/mine")
        registered = register(server)

    assert described["Type"] == "SecureString"
    assert registered.status == 200


def test_given_no_parameter_when_served_then_no_provider_is_on(path: Path) -> None:
    nowhere = {"SettingsParameter": ""}
    with LocalServer(parameters=nowhere) as server:
        registered, providers = register(server), server.providers
    with (
        pytest.raises(CommandError) as problem,
        LocalServer(parameters=nowhere, settings=write(path, USERPASS_OFF)),
    ):
        pass

    assert registered.status == 404
    assert providers == []
    assert "--settings needs the parameter SettingsParameter" in str(problem.value)


@pytest.mark.long
def test_given_another_engine_when_served_without_a_file_then_its_document_counts(
    path: Path,
) -> None:
    write(path, USERPASS_OFF)
    with LocalServer(aws_port=0) as host:
        url = host.aws_url
        with LocalServer(endpoint_url=url, settings=path) as server:
            given = server.providers
        with LocalServer(endpoint_url=url) as server:
            kept, registered = server.providers, register(server)
        path.write_text(settings_file.DEFAULT_DOCUMENT)
        with LocalServer(endpoint_url=url, settings=path) as server:
            replaced = server.providers

    assert given == kept == ["api-key"]
    assert registered.status == 404
    assert replaced == ["local-userpass", "api-key"]


def test_given_an_invalid_stored_document_when_served_then_one_line_names_it() -> None:
    with LocalServer(aws_port=0) as host:
        ssm = boto3.client("ssm", "eu-central-1")
        ssm.put_parameter(Name=NAME, Value="{", Type="SecureString", Overwrite=True)
        with (
            pytest.raises(CommandError) as problem,
            LocalServer(endpoint_url=host.aws_url),
        ):
            pass

    assert str(problem.value).startswith(f"SSM parameter {NAME}: ")


@pytest.mark.long
@pytest.mark.parametrize(
    ("absent", "message"),
    [
        pytest.param("AmazonSSM", "no SSM at {url}, and anonauth reads", id="SSM"),
        pytest.param("/v2/email", "no SES at {url}, and the settings", id="SES"),
    ],
)
def test_given_an_engine_that_lacks_a_service_when_served_then_one_line_says_so(
    absent: str, message: str, path: Path
) -> None:
    write(path, {"apps": {"*": {"local-userpass": {"mail": MAIL}}}})
    # With the same SettingsParameter as the server, so that this deployment removes it.
    deployment = LocalDeployment(read_template(find_template(ROOT), LOCAL_PARAMETERS))
    with deployment:
        everything = aws.moto_application(deployment.lock)

        def without_one(environ: Any, start_response: Any) -> Any:
            wanted = environ.get("HTTP_X_AMZ_TARGET", environ["PATH_INFO"])
            if not wanted.startswith(absent):
                return everything(environ, start_response)
            refusal = Response('{"__type":"UnknownOperationException"}', 400)
            return refusal(environ, start_response)

        http_server = HttpServer("127.0.0.1", 0)
        http_server.serve(without_one)
        url = f"http://127.0.0.1:{http_server.port}"
        with (
            pytest.raises(CommandError) as problem,
            LocalServer(endpoint_url=url, settings=path),
        ):
            pass
        http_server.close()

    assert str(problem.value).startswith(message.format(url=url))
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        pytest.param("https://issuer.example/jwks", "", id="as on AWS"),
        pytest.param(
            "http://issuer.example/jwks", "expected an absolute https URL", id="http"
        ),
        pytest.param(
            "https://localhost/jwks", "its host is not on the internet", id="this host"
        ),
    ],
)
def test_given_a_local_document_when_asked_then_it_says_what_aws_refuses(
    url: str, fault: str
) -> None:
    """The local service accepts the document. On AWS it would lead to 503."""
    text = json.dumps(
        {"apps": {APP: {"custom-token": {"issuers": [{"jwks_url": url}]}}}}
    )

    told = settings_file.fault_on_aws(settings_file.parse_settings(text, "file"))

    where = f"apps.{APP}.custom-token.issuers[0].jwks_url: "
    assert told == (where + fault if fault else "")


def test_given_senders_when_read_then_each_address_is_there_once() -> None:
    named = {"mail": MAIL}
    bare = {"mail": {**MAIL, "sender": "app@example.com"}}
    other = {"mail": {**MAIL, "sender": "other@example.com"}}
    apps = {
        "a": {"local-userpass": other},
        "b": {"local-userpass": named},
        "c": {"local-userpass": bare},
        "d": {"local-userpass": {}},
        "e": {},
    }

    read = settings_file.parse_settings(json.dumps({"apps": apps}), "a test")

    assert settings_file.mail_senders(read) == ["app@example.com", "other@example.com"]


@pytest.mark.parametrize(
    ("app", "providers"),
    [
        pytest.param("one", ["local-userpass"], id="its own entry"),
        pytest.param("two", [], id="an empty entry"),
        pytest.param("off", [], id="switched off"),
        pytest.param("other", ["api-key"], id="the entry of all others"),
    ],
)
def test_given_an_app_when_its_providers_are_asked_for_then_its_entry_counts(
    app: str, providers: list[str]
) -> None:
    apps = {
        "*": {"api-key": {}},
        "one": {"local-userpass": {}},
        "two": {},
        "off": {"api-key": {"enabled": False}},
    }

    read = settings_file.parse_settings(json.dumps({"apps": apps}), "a test")

    assert settings_file.enabled_providers(read, app) == providers
