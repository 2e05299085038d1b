"""Which provider an app has: by its settings, made once, imported when found."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import jwt
import pytest

from anonauth.handlers import _http
from anonauth.providers.api_key import ApiKeyProvider
from anonauth.providers.custom_token import CustomToken
from anonauth.providers.local_userpass import LocalUserpass
from anonauth.providers.oauth2_apple import Apple
from anonauth.providers.oauth2_facebook import Facebook
from anonauth.providers.oauth2_google import Google
from support.project.tools import ROOT
from support.service.harness import APP, LINK, OTHER_APP, REGISTER, Deployment

SECRET = "2k66QfKeTRk3MdZ5vpDYgZCu" * 2
SETTINGS: dict[str, Any] = {
    "local-userpass": {},
    "api-key": {},
    "custom-token": {"issuers": [{"secret": SECRET, "algorithm": "HS256"}]},
    "oauth2-google": {"client_ids": ["a"]},
    "oauth2-apple": {"client_ids": ["a"]},
    "oauth2-facebook": {"app_id": "1", "app_secret": "s"},
}
ACCOUNT = json.dumps({"email": "ada@example.com", "password": "correct horse"})


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the functions log, as it would reach CloudWatch."""
    (handler,) = _http.logger.handlers
    assert isinstance(handler, logging.StreamHandler)
    before = handler.setStream(stream := io.StringIO())
    yield stream
    handler.setStream(before)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param("local-userpass", LocalUserpass, id="local-userpass"),
        pytest.param("api-key", ApiKeyProvider, id="api-key"),
        pytest.param("custom-token", CustomToken, id="custom-token"),
        pytest.param("oauth2-google", Google, id="oauth2-google"),
        pytest.param("oauth2-apple", Apple, id="oauth2-apple"),
        pytest.param("oauth2-facebook", Facebook, id="oauth2-facebook"),
    ],
)
def test_given_a_provider_when_found_then_only_apps_that_have_it_get_it(
    service: Deployment, name: str, kind: type
) -> None:
    service.restart_with({"apps": {APP: {name: SETTINGS[name]}}})
    providers = service.services.providers

    found = providers.find(APP, name)

    assert isinstance(found, kind)
    assert providers.find(APP, name) is found
    assert providers.find(OTHER_APP, name) is None
    assert [other for other in SETTINGS if providers.find(APP, other)] == [name]


@pytest.mark.parametrize(
    "name", ["anon-user", "custom-function", "local_userpass", "", "settings"]
)
def test_given_all_providers_when_another_is_asked_for_then_there_is_none(
    service: Deployment, name: str
) -> None:
    service.restart_with({"apps": {"*": SETTINGS}})

    assert service.services.providers.find(APP, name) is None


def test_given_a_provider_that_is_switched_off_when_asked_for_then_there_is_none(
    service: Deployment,
) -> None:
    service.restart_with({"apps": {"*": {"api-key": {"enabled": False}}}})

    assert service.services.providers.find(APP, "api-key") is None
    assert service.services.providers.settings(APP).api_key is None


def test_given_two_apps_when_a_provider_is_found_then_each_has_its_own(
    service: Deployment,
) -> None:
    service.restart_with({"apps": {"*": SETTINGS}})
    providers = service.services.providers

    assert providers.find(APP, "api-key") is not providers.find(OTHER_APP, "api-key")


def test_given_no_parameter_when_providers_are_asked_for_then_aws_is_not(
    service: Deployment,
) -> None:
    service.restart()
    providers = service.services.providers

    calls = service.counted(lambda: [providers.find(APP, name) for name in SETTINGS])

    assert calls == []
    assert not any(providers.find(APP, name) for name in SETTINGS)


def test_given_a_change_when_five_minutes_have_passed_then_it_counts(
    service: Deployment,
) -> None:
    service.restart_with({"apps": {"*": {"api-key": {}}}})
    providers = service.services.providers
    before = providers.find(APP, "api-key")
    services = service.services
    service.restart_with({"apps": {"*": {"local-userpass": {}}}})
    service.services = services

    service.now += timedelta(minutes=5, seconds=-1)
    assert providers.find(APP, "api-key") is before
    service.now += timedelta(seconds=1)
    assert providers.find(APP, "api-key") is None
    assert providers.find(APP, "local-userpass") is not None


def test_given_a_broken_document_when_called_then_503_and_the_log_names_the_key(
    service: Deployment, log: io.StringIO
) -> None:
    service.restart_with({"apps": {APP: {"local-userpass": {"mail": SECRET}}}})

    reply = service.send(REGISTER, body=ACCOUNT)

    assert reply.status == 503
    assert "retry-after" in reply.headers
    assert "apps." not in reply.text
    logged = json.loads(log.getvalue().splitlines()[-1])
    assert logged["detail"].startswith(f"apps.{APP}.local-userpass.mail: ")
    assert SECRET not in log.getvalue()
    assert "ada@" not in log.getvalue()


def test_given_blanks_around_settings_when_logging_in_then_they_do_not_matter(
    service: Deployment,
) -> None:
    issuer = {"issuer": " partner\n", "algorithm": "HS256", "secret": SECRET}
    settings = {"issuers": [issuer | {"audience": ["\taudience "]}]}
    service.restart_with({"apps": {APP: {"custom-token": settings}}})
    exp = int(service.now.timestamp()) + 300
    claims = {"iss": "partner", "aud": "audience", "sub": "ada", "exp": exp}

    reply = service.send(
        LINK,
        parameters={"provider": "custom-token"},
        body=json.dumps({"token": jwt.encode(claims, SECRET, "HS256")}),
    )

    assert reply.status == 200


def test_given_an_ssh_key_for_a_secret_when_called_then_the_log_names_the_key(
    service: Deployment, log: io.StringIO
) -> None:
    issuers = [{"algorithm": "HS256", "secret": f"ssh-rsa {SECRET}"}]
    service.restart_with({"apps": {APP: {"custom-token": {"issuers": issuers}}}})

    reply = service.send(
        LINK, parameters={"provider": "custom-token"}, body='{"token": "x"}'
    )

    assert reply.status == 503
    logged = json.loads(log.getvalue().splitlines()[-1])
    assert logged["detail"].startswith(f"apps.{APP}.custom-token.issuers[0].secret: ")
    assert SECRET not in log.getvalue()


HEAVY = {"argon2", "cryptography", "email_validator", "jwt", "http.client"}


@pytest.mark.parametrize(
    ("name", "loaded"),
    [
        pytest.param("none", set(), id="none"),
        pytest.param("local-userpass", set(), id="local-userpass"),
        pytest.param("api-key", set(), id="api-key"),
        pytest.param(
            "custom-token", {"jwt", "cryptography", "http.client"}, id="custom-token"
        ),
        pytest.param(
            "oauth2-apple", {"jwt", "cryptography", "http.client"}, id="oauth2-apple"
        ),
        pytest.param(
            "oauth2-facebook",
            {"jwt", "cryptography", "http.client"},
            id="oauth2-facebook",
        ),
    ],
)
def test_given_a_provider_when_found_then_only_its_libraries_are_imported(
    name: str, loaded: set[str]
) -> None:
    """Password hashing comes from outside, by a function.

    A key in the document is checked by the libraries that will use it.
    """
    custom = {"issuers": [{"jwks_url": "https://issuer.example/keys"}]}
    settings = json.dumps({"apps": {"*": SETTINGS | {"custom-token": custom}}})
    code = f"""
import sys
from anonauth.provider_settings.document import parse
from anonauth.providers.registry import Registry
class Source:
    def document(self, now):
        return parse({settings!r})
before = set(sys.modules)
registry = Registry(Source(), store=None, networks=None,
                    passwords=lambda: None, clock=lambda: None)
registry.find("{APP}", "{name}")
print(*sorted(set(sys.modules) - ({{"http.client"}} & before)))
"""
    ran = subprocess.run(  # noqa: S603 - constant words
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT / "functions",
    )

    assert HEAVY & set(ran.stdout.split()) == loaded
