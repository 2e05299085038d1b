"""The local service uses none of the user's AWS or proxy configuration."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES
from moto import mock_aws
from moto.core.models import botocore_stubber

from anonauth.local import aws
from anonauth.local.command_error import CommandError
from anonauth.local.server import LocalServer
from anonauth.local.template import REGION
from support.service.calls import log_in
from support.service.command import environment, run, serving, stop

CONFIG = """
[default]
region = nowhere-1
use_dualstack_endpoint = true
use_fips_endpoint = true
account_id_endpoint_mode = required
max_attempts = 0
retry_mode = nonsense
endpoint_url = http://127.0.0.1:1
sso_session = work
credential_process = false
"""

HOSTILE = {
    "AWS_ACCESS_KEY_ID": "HALF",
    "AWS_ACCOUNT_ID_ENDPOINT_MODE": "required",
    "AWS_CA_BUNDLE": "/nowhere/ca.pem",
    "AWS_DATA_PATH": "/nowhere",
    "AWS_DEFAULTS_MODE": "nonsense",
    "AWS_DEFAULT_PROFILE": "work",
    "AWS_DEFAULT_REGION": "nowhere-1",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:1",
    "AWS_MAX_ATTEMPTS": "zero",
    "AWS_PROFILE": "work",
    "AWS_REGION": "nowhere-1",
    "AWS_RETRY_MODE": "nonsense",
    "AWS_USE_DUALSTACK_ENDPOINT": "true",
    "AWS_USE_FIPS_ENDPOINT": "true",
    "BOTOCORE_EXPERIMENTAL__PLUGINS": "no=such.plugin",
    "REQUESTS_CA_BUNDLE": "/nowhere/ca.pem",
    "SSL_CERT_DIR": "/nowhere",
    "SSL_CERT_FILE": "/nowhere/ca.pem",
    "TEST_SERVER_MODE": "true",
}
PROXIES = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy"),
)
# Each of these alone once redirected calls or kept the service from starting.
ALONE = (
    "AWS_ACCESS_KEY_ID",
    "AWS_ACCOUNT_ID_ENDPOINT_MODE",
    "AWS_DEFAULT_PROFILE",
    "AWS_MAX_ATTEMPTS",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
    "HOME",
    "TEST_SERVER_MODE",
)


@pytest.fixture
def proxy() -> Iterator[socket.socket]:
    """A port that receives any call that leaves the machine."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        yield listening


def hostile(proxy: socket.socket, home: Path) -> dict[str, str]:
    """Return an environment with every harmful setting at once."""
    model = home / ".aws/models/dynamodb/2012-08-10"
    model.mkdir(parents=True)
    (model / "service-2.json").write_text("{}")
    (home / ".aws/models/endpoints.json").write_text("{}")
    (home / ".aws/config").write_text(CONFIG)
    (home / ".aws/credentials").write_text("no INI file\n")
    url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
    return {**HOSTILE, **dict.fromkeys(PROXIES, url), "HOME": str(home)}


def is_unasked(proxy: socket.socket) -> bool:
    try:
        proxy.accept()[0].close()
    except BlockingIOError:
        return True
    return False


@pytest.mark.long
def test_given_a_hostile_environment_when_served_then_it_works_and_stays_here(
    proxy: socket.socket, tmp_path: Path
) -> None:
    env = environment(**hostile(proxy, tmp_path), NO_PROXY=None, no_proxy=None)

    with serving("--aws-port", "0", env=env) as (process, base_url):
        log_in(base_url, "myapp-abcde")
        ended = stop(process)

    assert ended[0] == 0
    assert ended[1].count("\n") == 1
    assert is_unasked(proxy)


@pytest.mark.long
@pytest.mark.parametrize("name", ALONE)
def test_given_one_hostile_variable_when_served_then_it_works_and_stays_here(
    name: str, proxy: socket.socket, tmp_path: Path
) -> None:
    value = hostile(proxy, tmp_path)[name]
    env = environment(**{name: value}, NO_PROXY=None, no_proxy=None)

    with serving(env=env) as (process, base_url):
        log_in(base_url, "myapp-abcde")
        ended = stop(process)

    assert ended[0] == 0
    assert is_unasked(proxy)


@pytest.mark.long
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["keys", "list"], id="keys list"),
        pytest.param(["keys", "rotate"], id="keys rotate"),
        pytest.param(["users", "list"], id="users list"),
        pytest.param(["doctor"], id="doctor"),
        pytest.param(["stats"], id="stats"),
        pytest.param(["sample", "logout"], id="sample"),
    ],
)
def test_given_a_hostile_environment_when_an_endpoint_is_named_then_only_it_is_called(
    command: list[str], proxy: socket.socket, tmp_path: Path
) -> None:
    with LocalServer(aws_port=0) as server:
        env = environment(**hostile(proxy, tmp_path), NO_PROXY=None, no_proxy=None)
        ended = run(*command, "--endpoint-url", str(server.aws_url), env=env)

    assert (ended.returncode, b"Traceback" in ended.stderr) == (0, False)
    assert is_unasked(proxy)


def test_given_the_sdks_variables_when_isolated_then_none_has_the_users_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = {
        name
        for _, variables, *_ in BOTOCORE_DEFAUT_SESSION_VARIABLES.values()
        for name in ([variables] if isinstance(variables, str) else variables or [])
    }
    for name in {*names, *HOSTILE, *PROXIES} - {"SSL_CERT_FILE", "SSL_CERT_DIR"}:
        monkeypatch.setenv(name, "of the user")
    before = dict(os.environ)

    with aws.isolate_environment():
        within = dict(os.environ)

    assert "AWS_USE_DUALSTACK_ENDPOINT" in names
    assert "of the user" not in within.values()
    assert os.environ == before


def client(endpoint_url: str | None, **config: Any) -> Any:
    session = botocore.session.get_session()
    aws.confine_session(endpoint_url, session)
    return session.create_client(
        "dynamodb",
        region_name=REGION,
        endpoint_url=endpoint_url,
        config=Config(retries={"total_max_attempts": 1}, **config),
    )


@pytest.mark.parametrize(
    ("config", "host"),
    [
        pytest.param(
            {"use_dualstack_endpoint": True},
            "dynamodb.eu-central-1.api.aws",
            id="dual stack",
        ),
        pytest.param({}, "", id="moto's"),
    ],
)
def test_given_the_built_in_aws_when_a_call_would_leave_it_then_it_fails_loudly(
    config: dict[str, Any], host: str
) -> None:
    with aws.isolate_environment(), mock_aws():
        dynamodb = client(None, **config)
        if host:
            with pytest.raises(CommandError) as refused:
                dynamodb.list_tables()
        else:
            dynamodb.list_tables()

    if host:
        assert str(refused.value) == (
            f"a call to {host} was not sent: it would leave the built-in AWS"
        )


def test_given_the_built_in_aws_when_it_has_ended_then_no_call_goes_to_aws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with aws.isolate_environment(), mock_aws():
        dynamodb = client(None)
        monkeypatch.setattr(botocore_stubber, "enabled", False)
        with pytest.raises(CommandError) as refused:
            dynamodb.list_tables()

    assert "dynamodb.eu-central-1.amazonaws.com was not sent" in str(refused.value)


@pytest.mark.parametrize(
    ("url", "goes"),
    [
        pytest.param("http://127.0.0.1:4566/", True, id="the endpoint"),
        pytest.param("http://bucket.127.0.0.1:4566/", True, id="a bucket"),
        pytest.param("http://127.0.0.1:4567/", False, id="another port"),
        pytest.param("https://127.0.0.1:4566/", False, id="another scheme"),
        pytest.param("http://1127.0.0.1:4566/", False, id="another host"),
        pytest.param("https://dynamodb.eu-central-1.amazonaws.com/", False, id="AWS"),
    ],
)
def test_given_an_endpoint_when_a_call_goes_elsewhere_then_it_is_not_sent(
    url: str, goes: bool
) -> None:
    class Sent(Exception):
        pass

    def redirect(request: Any, **_: Any) -> None:
        request.url = url

    def send(**_: Any) -> None:
        raise Sent

    with aws.isolate_environment():
        dynamodb = client("http://127.0.0.1:4566")
        dynamodb.meta.events.register_first("before-send", redirect)
        dynamodb.meta.events.register_last("before-send", send)

        with pytest.raises(Sent if goes else CommandError):
            dynamodb.list_tables()
