"""The measured system: the built bundle in AWS's runtime client, on a DynamoDB engine.

DynamoDB is dynoxide, the fastest engine (design.md §9), in its own process. KMS and SSM
are moto's: warm functions do not call them. Functions call all three over TLS, as on
AWS, or without. Other issuers are servers on loopback.
"""

import itertools
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import tls_front
from bench.meter import Meter
from bench.tls_front import TlsFront
from runtime import aws, conftest, runtime_api
from runtime.runtime_api import Function
from support.engine import engines
from support.engine.engines import Engine
from support.forgery.key_server import KeyServer, Signer
from support.project.policies import REGION
from support.project.sam_template import event, resources, translated

APP = "myapp-abcde"
MAILING_APP = "other-fghij"  # confirms addresses, and has unlimited budgets
SECRET = "partner-secret-of-at-least-32-bytes"
HS256_ISSUER = "https://partner.example.com"
RS256_ISSUER = "https://issuer.example.com"
CLIENT_ID = "web.apps.example.com"
FACEBOOK_APP = "138483919580948"
EMPTY_HANDLER = "nothing.handler"

_BUDGETS = ("account_and_network", "account", "network", "mails", "registrations")

_NOTHING = "def handler(event, context):\n    return {}\n"


@dataclass(frozen=True)
class Stage:
    """A bundle, a table with a key ring, and the services that functions call.

    `numbers` makes names unique.
    """

    directory: Path
    bundle: Path
    engine: Engine
    table: str
    cloud: aws.Aws
    signer: Signer
    meter: Meter
    tls: TlsFront
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def empty(self) -> Path:
        """A bundle with nothing but `EMPTY_HANDLER`."""
        directory = self.directory / "empty"
        directory.mkdir(exist_ok=True)
        (directory / "nothing.py").write_text(_NOTHING)
        return directory

    @contextmanager
    def running(
        self,
        name: str,
        *,
        bundle: Path | None = None,
        handler: str | None = None,
        is_metered: bool = False,
        has_tls: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> Iterator[Function]:
        """Start an execution environment of a function; it ends with the block.

        Args:
            bundle: Instead of the built bundle.
            handler: Instead of the template's handler.
            is_metered: Whether its calls to the table go through the meter.
            has_tls: Whether it calls the table and the other services over TLS.
            variables: Environment variables that differ from those of a deployment.
        """
        function = resources(translated(), "AWS::Lambda::Function")[name]
        table_url = self.meter.url if is_metered else self.engine.endpoint_url
        cloud_url = self.cloud.endpoint_url
        if has_tls:
            table_url, cloud_url = self.tls.table_url, self.tls.cloud_url
        environment = conftest.environment_of(function) | {
            "TABLE_NAME": self.table,
            "KMS_KEY_ID": self.cloud.key_arn,
            # As on AWS, where the SDK knows the addresses itself.
            "ENDPOINT_URL": "",
            "AWS_ENDPOINT_URL": cloud_url,
            "AWS_ENDPOINT_URL_DYNAMODB": table_url,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": name,
            "AWS_SECRET_ACCESS_KEY": "secret",
            "ALLOW_PRIVATE_ISSUERS": "true",
            **(variables or {}),
        }
        with runtime_api.running(
            handler or function["Handler"],
            bundle=bundle or self.bundle,
            environment=environment,
            timeout=function["Timeout"],
            log=self.directory / f"{next(self.numbers)}-{name}.log",
        ) as started:
            yield started


@contextmanager
def setting(directory: Path) -> Iterator[Stage]:
    """Build the bundle, start the engine and the other services, make a key ring.

    Args:
        directory: Empty; for the bundle and for logs.
    """
    bundle = directory / "bundle"
    conftest.build(bundle)
    signer = Signer()
    with ExitStack() as stack:
        server = stack.enter_context(KeyServer())
        name = aws.PARAMETERS["SettingsParameter"]
        secrets = {name: json.dumps(_settings(server, signer))}
        secrets[f"{name}/partner"] = SECRET
        cloud = stack.enter_context(aws.serving(conftest.FUNCTIONS, secrets))
        engine = stack.enter_context(engines.running("dynoxide", directory))
        table = stack.enter_context(engine.table())
        meter = stack.enter_context(Meter(engine.endpoint_url))
        tls = stack.enter_context(
            tls_front.serving(engine.endpoint_url, cloud.endpoint_url, directory)
        )
        # Reading the SDK's authorities takes time, so the run's own is added to them.
        for authorities in (bundle / "botocore").glob("*.pem"):
            authorities.write_text(tls.authority + authorities.read_text())
        stage = Stage(directory, bundle, engine, table, cloud, signer, meter, tls)
        with stage.running("KeysFunction") as keys:
            keys.invoke(event("key_ring"))
        yield stage


def pinned_core() -> int:
    """Return the core that functions run on: the last core this process may use."""
    return max(os.sched_getaffinity(0))


@contextmanager
def on_one_core() -> Iterator[None]:
    """Limit processes that this thread starts in the block to one core."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {pinned_core()})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _settings(server: KeyServer, signer: Signer) -> Mapping[str, Any]:
    keys = server.publish("/keys", {"keys": [signer.jwk()]})
    server.answers["/graph/debug_token"] = lambda write: write(_inspected(server))
    server.answers["/graph/me"] = lambda write: write(_profile(server))
    return {
        "apps": {
            APP: {
                # Without mail every address counts as confirmed.
                "local-userpass": {},
                "api-key": {},
                "custom-token": {
                    "issuers": [
                        {
                            "issuer": HS256_ISSUER,
                            "algorithm": "HS256",
                            "secret": {"ssm": "partner"},
                        },
                        {"issuer": RS256_ISSUER, "jwks_url": keys},
                    ]
                },
                "oauth2-google": {"client_ids": [CLIENT_ID], "jwks_url": keys},
                "oauth2-apple": {"client_ids": [CLIENT_ID], "jwks_url": keys},
                "oauth2-facebook": {
                    "app_id": FACEBOOK_APP,
                    "app_secret": {"ssm": "partner"},
                    "graph_url": f"{server.url}/graph",
                },
            },
            MAILING_APP: {
                "local-userpass": {
                    "mail": {
                        "sender": aws.PARAMETERS["MailSender"],
                        "confirm_url": "https://app.example/confirm",
                        "reset_url": "https://app.example/reset",
                    },
                    "budgets": dict.fromkeys(_BUDGETS, 10**9),
                }
            },
        }
    }


# In this fake Facebook, a user's token is its id.


def _inspected(server: KeyServer) -> bytes:
    user = server.asked[-1].query["input_token"]
    return _reply(
        {
            "data": {
                "app_id": FACEBOOK_APP,
                "type": "USER",
                "is_valid": True,
                "expires_at": 0,
                "user_id": user,
            }
        }
    )


def _profile(server: KeyServer) -> bytes:
    return _reply({"id": server.asked[-1].query["access_token"], "name": "Ada"})


def _reply(body: Any) -> bytes:
    text = json.dumps(body).encode()
    head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(text)}\r\n"
    return f"{head}Content-Type: application/json\r\n\r\n".encode() + text
