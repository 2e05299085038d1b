"""The settings document: what it takes, and errors that name the key."""

import functools
import json
import re
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from anonauth.errors import ProviderUnavailable, SettingsUnavailable
from anonauth.issuers.fetch import Fetcher
from anonauth.issuers.key_sets import load_secret
from anonauth.provider_settings.document import (
    DocumentError,
    parse,
    references,
    resolve,
)
from anonauth.provider_settings.rules import _ADDRESS
from anonauth.provider_settings.schema import AppSettings
from support.project import sam_template
from support.service.harness import APP
from support.service.settings_documents import (
    ALL_PROVIDERS,
    ISSUER,
    MAIL,
    SECRET,
    document,
)

PROVIDERS = tuple(ALL_PROVIDERS)
TLS = functools.cache(ssl.create_default_context)


def issuer(**settings: Any) -> str:
    return document({"custom-token": {"issuers": [settings]}})


def mail(**changes: Any) -> str:
    return document({"local-userpass": {"mail": MAIL | changes}})


def facebook(**changes: Any) -> str:
    settings = {"app_id": "1", "app_secret": SECRET, **changes}
    return document({"oauth2-facebook": settings})


def challenge(**changes: Any) -> str:
    settings = {"verify_url": "https://c.example", "secret": SECRET, **changes}
    return document({"anon-user": {"challenge": settings}})


def google(**changes: Any) -> str:
    return document({"oauth2-google": {"client_ids": ["a"], **changes}})


@pytest.fixture(scope="session")
def pems() -> dict[str, str]:
    """Public keys by their algorithm, and a private key."""
    keys: dict[str, Any] = {
        "RS256": rsa.generate_private_key(65537, 2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }
    texts = {
        name: key.public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        .decode()
        for name, key in keys.items()
    }
    private = keys["ES256"].private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    return texts | {"private": private.decode()}


def test_given_all_providers_when_parsed_then_each_has_its_settings() -> None:
    app = parse(document(ALL_PROVIDERS)).app(APP)

    assert all(app.provider(name) is not None for name in PROVIDERS)
    assert app.local_userpass is not None
    assert app.local_userpass.min_password_length == 8
    assert app.custom_token is not None
    assert app.custom_token.issuers[0].algorithm == "RS256"


def test_given_the_least_when_parsed_then_the_defaults_hold() -> None:
    app = parse(document({"local-userpass": {}}, "*")).app(APP)

    assert app.local_userpass is not None
    assert app.local_userpass.min_password_length == 6
    assert app.local_userpass.mail is None
    budgets = app.local_userpass.budgets
    assert (budgets.account_and_network, budgets.account) == (10, 100)
    assert (budgets.network, budgets.mails) == (100, 5)
    assert budgets.consecutive == 100
    assert budgets.registrations == 500


@pytest.mark.parametrize(
    ("apps", "on"),
    [
        pytest.param({}, set(), id="no entry at all"),
        pytest.param({"other-fghij": ALL_PROVIDERS}, set(), id="only another app's"),
        pytest.param({"*": ALL_PROVIDERS}, set(PROVIDERS), id="that of every app"),
        pytest.param(
            {"*": ALL_PROVIDERS, APP: {"api-key": {}}}, {"api-key"}, id="its own"
        ),
        pytest.param({"*": ALL_PROVIDERS, APP: {}}, set(), id="its own, empty"),
        pytest.param({APP: {"api-key": {"enabled": False}}}, set(), id="switched off"),
        pytest.param({APP: {"api-key": {"enabled": True}}}, {"api-key"}, id="on"),
    ],
)
def test_given_entries_when_asked_for_an_app_then_the_nearest_counts_whole(
    apps: dict[str, Any], on: set[str]
) -> None:
    app = parse(json.dumps({"apps": apps})).app(APP)

    assert {name for name in PROVIDERS if app.provider(name)} == on


@pytest.mark.parametrize(
    "name", ["anon-user", "custom-function", "local_userpass", "app", "__class__", ""]
)
def test_given_no_provider_of_that_name_when_asked_then_there_are_no_settings(
    name: str,
) -> None:
    assert parse(document(ALL_PROVIDERS)).app(APP).provider(name) is None


P = f"apps.{APP}"
I0 = f"{P}.custom-token.issuers[0]"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        pytest.param("", "Input data", id="nothing"),
        pytest.param('{"apps": ', "Input data", id="half of it"),
        pytest.param('{"apps": {},}', "JSON is malformed", id="comma too many"),
        pytest.param("[" * 100_000, "", id="nested without end"),
        pytest.param('{"apps": {"*": "\\ud800"}}', "", id="half a character"),
        pytest.param("[]", "Expected `object`", id="a list"),
        pytest.param("{}", "Object missing required field `apps`", id="no apps"),
        pytest.param('{"apps": {}, "app": 1}', "Object contains", id="unknown at top"),
        pytest.param('{"apps": []}', "apps: ", id="apps a list"),
        pytest.param(document({}, "my app"), "apps.my app: ", id="no app id"),
        pytest.param(document({}, "a" * 65), "apps.aaa", id="app id too long"),
        pytest.param(document([]), f"{P}: ", id="app a list"),
        pytest.param(document(None), f"{P}: ", id="app null"),
        pytest.param(document({"oauth2-x": {}}), f"{P}: ", id="unknown provider"),
        pytest.param(
            document({"anon-user": {"enabled": False}}),
            f"{P}.anon-user: ",
            id="anonymous login cannot be off",
        ),
        pytest.param(
            document({"anon-user": {"challenge": {"secret": "s"}}}),
            f"{P}.anon-user.challenge: ",
            id="challenge of nobody",
        ),
        pytest.param(
            document({"anon-user": {"challenge": {"verify_url": "https://x.example"}}}),
            f"{P}.anon-user.challenge: ",
            id="challenge without a secret",
        ),
        pytest.param(
            document(
                {"anon-user": {"challenge": {"verify_url": "http://x", "secret": "s"}}}
            ),
            f"{P}.anon-user.challenge.verify_url: ",
            id="challenge in clear",
        ),
        pytest.param(
            document(
                {
                    "anon-user": {
                        "challenge": {
                            "verify_url": "https://x.example",
                            "secret": "s",
                            "min_score": 1.1,
                        }
                    }
                }
            ),
            f"{P}.anon-user.challenge.min_score: ",
            id="score over 1",
        ),
        pytest.param(document({"local_userpass": {}}), f"{P}: ", id="underscore"),
        pytest.param(document({"api-key": 1}), f"{P}.api-key: ", id="number"),
        pytest.param(document({}, "*")[:-2] + ', "": {}}}', "apps.: ", id="no id"),
        pytest.param(
            document({"api-key": {"enabled": 1}}), f"{P}.api-key.enabled: ", id="bool"
        ),
        pytest.param(
            document({"local-userpass": {"min_password_length": 5}}),
            f"{P}.local-userpass.min_password_length: ",
            id="minimum of 5",
        ),
        pytest.param(
            document({"local-userpass": {"min_password_length": 129}}),
            f"{P}.local-userpass.min_password_length: ",
            id="minimum of 129",
        ),
        pytest.param(
            document({"local-userpass": {"budgets": {"mails": 0}}}),
            f"{P}.local-userpass.budgets.mails: ",
            id="budget of nothing",
        ),
        pytest.param(
            document({"local-userpass": {"budgets": {"account": 10**9 + 1}}}),
            f"{P}.local-userpass.budgets.account: ",
            id="budget beyond what is counted",
        ),
        pytest.param(
            challenge(hostnames=["a.example", "https://b.example"]),
            f"{P}.anon-user.challenge.hostnames[1]: ",
            id="scheme in host name",
        ),
        pytest.param(
            challenge(hostnames=["b.example:443"]),
            f"{P}.anon-user.challenge.hostnames[0]: ",
            id="port in host name",
        ),
        pytest.param(
            document({"local-userpass": {"budgets": {"consecutive": 101}}}),
            f"{P}.local-userpass.budgets.consecutive: ",
            id="more guesses in a row than NIST allows",
        ),
        pytest.param(
            document({"local-userpass": {"budgets": {"registrations": 0}}}),
            f"{P}.local-userpass.budgets.registrations: ",
            id="registrations of nothing",
        ),
        pytest.param(
            document({"local-userpass": {"mail": {"sender": "a@b.example"}}}),
            f"{P}.local-userpass.mail: ",
            id="mail without URLs",
        ),
        pytest.param(
            mail(sender="app.example"), f"{P}.local-userpass.mail.sender: ", id="no @"
        ),
        pytest.param(
            mail(sender="a@b.example\r\nBcc: c@d.example"),
            f"{P}.local-userpass.mail.sender: ",
            id="header in sender",
        ),
        pytest.param(
            mail(sender="Ünal <a@b.example>"),
            f"{P}.local-userpass.mail.sender: ",
            id="sender beyond ASCII",
        ),
        pytest.param(
            mail(sender="a@b.example, c@d.example"),
            f"{P}.local-userpass.mail.sender: ",
            id="two senders",
        ),
        pytest.param(
            mail(sender="a@localhost"),
            f"{P}.local-userpass.mail.sender: ",
            id="sender that cannot be a MailSender",
        ),
        pytest.param(
            mail(confirm_url="https:///confirm"),
            f"{P}.local-userpass.mail.confirm_url: ",
            id="no host",
        ),
        pytest.param(
            mail(reset_url="https://[::1/reset"),
            f"{P}.local-userpass.mail.reset_url: ",
            id="brackets",
        ),
        pytest.param(
            mail(confirm_url="/confirm"),
            f"{P}.local-userpass.mail.confirm_url: ",
            id="relative URL",
        ),
        pytest.param(
            mail(reset_url="https://app.example/re set"),
            f"{P}.local-userpass.mail.reset_url: ",
            id="space in URL",
        ),
        pytest.param(
            mail(reset_url="javascript:alert(1)"),
            f"{P}.local-userpass.mail.reset_url: ",
            id="script",
        ),
        pytest.param(
            document({"custom-token": {"issuers": []}}),
            f"{P}.custom-token.issuers: ",
            id="no issuer",
        ),
        pytest.param(issuer(issuer="https://i.example"), f"{I0}: ", id="no key"),
        pytest.param(issuer(**ISSUER, secret=SECRET), f"{I0}: ", id="two keys"),
        pytest.param(
            issuer(jwks_url="https://i.example", algorithm="none"),
            f"{I0}.algorithm: ",
            id="no signature",
        ),
        pytest.param(
            issuer(jwks_url="https://i.example", algorithm="HS256"),
            f"{I0}.algorithm: ",
            id="HMAC by public keys",
        ),
        pytest.param(issuer(secret=SECRET), f"{I0}.algorithm: ", id="RSA by secret"),
        pytest.param(
            issuer(secret=SECRET[:31], algorithm="HS256"),
            f"{I0}.secret: ",
            id="31 bytes for HS256",
        ),
        pytest.param(
            issuer(secret=SECRET[:47], algorithm="HS384"),
            f"{I0}.secret: ",
            id="47 bytes for HS384",
        ),
        pytest.param(
            issuer(secret=SECRET + SECRET[:15], algorithm="HS512"),
            f"{I0}.secret: ",
            id="63 bytes for HS512",
        ),
        pytest.param(
            issuer(secret=f"-----BEGIN PUBLIC KEY-----\n{SECRET}", algorithm="HS256"),
            f"{I0}.secret: ",
            id="PEM as secret",
        ),
        pytest.param(
            issuer(secret=f"ssh-rsa {SECRET}", algorithm="HS256"),
            f"{I0}.secret: ",
            id="SSH key as secret",
        ),
        pytest.param(
            issuer(secret={"ssm": "a/b"}, algorithm="HS256"),
            f"{I0}.secret.ssm: ",
            id="reference elsewhere",
        ),
        pytest.param(
            issuer(secret={"ssm": "a", "value": SECRET}, algorithm="HS256"),
            f"{I0}.secret: ",
            id="reference with more",
        ),
        pytest.param(
            issuer(pem=f"-----BEGIN PUBLIC KEY-----\n{SECRET}"), f"{I0}.pem: ", id="PEM"
        ),
        pytest.param(
            issuer(**ISSUER | {"issuer": "https://i.example /a"}),
            f"{I0}.issuer: ",
            id="space in issuer",
        ),
        pytest.param(
            issuer(**ISSUER | {"issuer": "https://i.example\u0000"}),
            f"{I0}.issuer: ",
            id="control character in issuer",
        ),
        pytest.param(
            document({"custom-token": {"issuers": [ISSUER, ISSUER]}}),
            f"{P}.custom-token.issuers[1].issuer: ",
            id="issuer twice",
        ),
        pytest.param(
            document(
                {"custom-token": {"issuers": [{"jwks_url": "https://a.example"}] * 2}}
            ),
            f"{P}.custom-token.issuers[1].issuer: ",
            id="two without issuer",
        ),
        pytest.param(
            issuer(jwks_url="http://i.example/jwks"), f"{I0}.jwks_url: ", id="http"
        ),
        pytest.param(
            issuer(openid_configuration="file:///etc/passwd"),
            f"{I0}.openid_configuration: ",
            id="file",
        ),
        pytest.param(
            google(jwks_url="https://a:b@i.example/"),
            f"{P}.oauth2-google.jwks_url: ",
            id="user name in URL",
        ),
        pytest.param(
            google(token_url="https://i.example/#a"),
            f"{P}.oauth2-google.token_url: ",
            id="fragment",
        ),
        pytest.param(
            google(token_url="https://i.example:65536/"),
            f"{P}.oauth2-google.token_url: ",
            id="port",
        ),
        pytest.param(
            google(token_url="https:///token"),
            f"{P}.oauth2-google.token_url: ",
            id="no host",
        ),
        pytest.param(
            google(token_url="https://[::1"),
            f"{P}.oauth2-google.token_url: ",
            id="half an address",
        ),
        pytest.param(
            google(token_url="https://i.example/t\u00f6ken"),
            f"{P}.oauth2-google.token_url: ",
            id="URL beyond ASCII",
        ),
        pytest.param(
            google(client_ids=[]), f"{P}.oauth2-google.client_ids: ", id="no client"
        ),
        pytest.param(
            google(client_ids=["a", "b c"]),
            f"{P}.oauth2-google.client_ids[1]: ",
            id="space in client id",
        ),
        pytest.param(
            google(client_ids=["a\u200b"]),
            f"{P}.oauth2-google.client_ids[0]: ",
            id="client id with a blank of no width",
        ),
        pytest.param(
            google(client_ids=["a", "  "]),
            f"{P}.oauth2-google.client_ids[1]: ",
            id="client id of blanks",
        ),
        pytest.param(
            google(redirect_uri="https://app.example/a b"),
            f"{P}.oauth2-google.redirect_uri: ",
            id="space in redirect URI",
        ),
        pytest.param(
            document({"oauth2-apple": {"client_ids": ["com.example.\u00e4pp"]}}),
            f"{P}.oauth2-apple.client_ids[0]: ",
            id="client id beyond ASCII",
        ),
        pytest.param(
            facebook(app_id="12a"), f"{P}.oauth2-facebook.app_id: ", id="no app id"
        ),
        pytest.param(
            facebook(app_id="\u0661"),
            f"{P}.oauth2-facebook.app_id: ",
            id="app id in other digits",
        ),
        pytest.param(
            facebook(graph_url="https://graph.example/v1?a=b"),
            f"{P}.oauth2-facebook.graph_url: ",
            id="query where one is added",
        ),
        pytest.param(
            facebook(jwks_url="http://f.example"),
            f"{P}.oauth2-facebook.jwks_url: ",
            id="Facebook's keys in clear",
        ),
        pytest.param(
            document({"oauth2-facebook": {"app_id": "1"}}),
            f"{P}.oauth2-facebook: ",
            id="no secret",
        ),
    ],
)
def test_given_a_bad_document_when_parsed_then_the_error_names_the_key(
    text: str, key: str
) -> None:
    with pytest.raises(DocumentError) as error:
        parse(text)

    assert str(error.value).startswith(key)
    assert SECRET[:24] not in str(error.value)
    assert error.value.__cause__ is None  # whose text might quote more


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(issuer(secret=SECRET[:32], algorithm="HS256"), id="32 bytes"),
        pytest.param(issuer(secret="ä" * 16, algorithm="HS256"), id="32 bytes of 16"),
        pytest.param(issuer(secret=SECRET, algorithm="HS384"), id="48 bytes"),
        pytest.param(
            issuer(secret={"ssm": "jwt.key-1_a"}, algorithm="HS256"), id="reference"
        ),
        pytest.param(issuer(jwks_url="https://i.example/k?p=1"), id="query"),
        pytest.param(issuer(jwks_url="https://i.example:8443"), id="port"),
        pytest.param(
            document(
                {"custom-token": {"issuers": [ISSUER, ISSUER | {"issuer": "i-2"}]}}
            ),
            id="two issuers",
        ),
        pytest.param(mail(sender="a@b.example"), id="sender without name"),
        pytest.param(
            document({"local-userpass": {"budgets": {"account": 10**9}}}),
            id="the largest budget",
        ),
        pytest.param(challenge(hostnames=["localhost", "A.example"]), id="hosts"),
        pytest.param(google(redirect_uri="postmessage"), id="no redirect"),
        pytest.param(issuer(jwks_url="https://8.8.8.8/k"), id="public address"),
        pytest.param(
            issuer(jwks_url="https://[2001:4860:4860::8888]/k"), id="public IPv6"
        ),
        pytest.param(issuer(jwks_url="https://k_1.example/k"), id="underscore"),
        pytest.param(mail(sender='"App, Inc." <a@b.example>'), id="quoted name"),
        pytest.param(mail(confirm_url="http://localhost:3000/#/confirm"), id="http"),
        pytest.param(
            document(ALL_PROVIDERS, "app-of-nobody"), id="an app that is not here"
        ),
    ],
)
def test_given_a_document_at_the_edge_when_parsed_then_it_is_taken(text: str) -> None:
    assert parse(text).apps


@pytest.mark.parametrize("algorithm", ["RS256", "PS512", "ES256", "EdDSA"])
def test_given_public_keys_when_parsed_then_those_of_the_algorithm_are_taken(
    pems: dict[str, str], algorithm: str
) -> None:
    own = {"PS512": "RS256"}.get(algorithm, algorithm)
    refused = {}
    for name, pem in pems.items():
        try:
            parse(issuer(pem=pem, algorithm=algorithm))
        except DocumentError as error:
            refused[name] = str(error)

    assert refused.keys() == pems.keys() - {own}
    assert all(text.startswith(f"{I0}.pem: ") for text in refused.values())
    assert not any("BEGIN" in text for text in refused.values())


UNREACHABLE = [
    "127.0.0.1", "10.0.0.1", "[::1]", "[fe80::1%25eth0]", "[::ffff:10.0.0.1]",
    "localhost", "keys.localhost", "keys", "127.1", "0x7f.1", "2130706433", "1.2.3.4.5",
    "keys..example", ".keys.example", "keys.example.", "-keys.example", "keys!.example",
    "k" * 64 + ".example", "k." * 123 + "example.com", "keys.example:0",
]  # fmt: skip


@pytest.mark.parametrize("host", UNREACHABLE)
@pytest.mark.parametrize(
    ("make", "key"),
    [
        pytest.param(
            lambda url: challenge(verify_url=url),
            "anon-user.challenge.verify_url",
            id="challenge",
        ),
        pytest.param(
            lambda url: issuer(jwks_url=url),
            "custom-token.issuers[0].jwks_url",
            id="key set",
        ),
        pytest.param(
            lambda url: issuer(openid_configuration=url),
            "custom-token.issuers[0].openid_configuration",
            id="discovery",
        ),
        pytest.param(
            lambda url: google(token_url=url), "oauth2-google.token_url", id="token"
        ),
        pytest.param(
            lambda url: facebook(graph_url=url), "oauth2-facebook.graph_url", id="Graph"
        ),
    ],
)
def test_given_a_host_that_is_never_reached_when_parsed_then_the_key_is_named(
    host: str, make: Callable[[str], str], key: str
) -> None:
    """The fetcher refuses them too, but at every login."""
    with pytest.raises(DocumentError) as error:
        parse(make(f"https://{host}/x"))

    assert str(error.value).startswith(f"{P}.{key}: ")
    with pytest.raises(ProviderUnavailable):
        # No resolver is asked: the names would be of this network, or unknown.
        Fetcher(resolve=lambda _: ["127.0.0.1"], tls=TLS).get(f"https://{host}/x")


MARKS = "-----{} {}-----"
SECRETS = [
    *[
        f"{kind} {SECRET}"
        for kind in ("ssh-rsa", "ssh-dss", "ssh-ed25519", "ecdsa-sha2-nistp256")
    ],
    *[
        "\n".join((MARKS.format("BEGIN", kind), SECRET, MARKS.format("END", kind)))
        for kind in ("PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE", "SSH2 PUBLIC KEY")
    ],
    f"-----BEGIN PUBLIC KEY-----\n{SECRET}",
    f"---- BEGIN SSH2 PUBLIC KEY ----\n{SECRET}\n---- END SSH2 PUBLIC KEY ----",
    f"key: ssh-rsa {SECRET}",
    SECRET,
    f" {SECRET}\n",
    "\u00e4" * 16,
    "\0" * 32,
]


@pytest.mark.parametrize("secret", SECRETS)
def test_given_a_secret_when_parsed_then_it_passes_only_if_it_can_be_used(
    secret: str,
) -> None:
    """PyJWT refuses what looks like a public key: 503 at every login."""
    text = issuer(secret=secret, algorithm="HS256")
    try:
        load_secret(secret, "HS256")
    except SettingsUnavailable:
        expectation: AbstractContextManager[Any] = pytest.raises(
            DocumentError, match=re.escape(f"{I0}.secret: ")
        )
    else:
        expectation = nullcontext()

    with expectation:
        parse(text)


def test_given_a_key_of_an_unknown_type_when_parsed_then_the_key_is_named() -> None:
    """cryptography has an error of its own for that."""
    unknown = "MBAwCQYHKoZIzj0CYwMDAAEC"
    pem = f"-----BEGIN PUBLIC KEY-----\n{unknown}\n-----END PUBLIC KEY-----\n"

    with pytest.raises(DocumentError) as error:
        parse(issuer(pem=pem))

    assert str(error.value).startswith(f"{I0}.pem: ")


def blank(value: Any) -> Any:
    """Put blanks around all texts."""
    if isinstance(value, dict):
        return {name: blank(each) for name, each in value.items()}
    if isinstance(value, list):
        return [blank(each) for each in value]
    return f"\t {value}\u00a0\n" if isinstance(value, str) else value


def test_given_blanks_around_texts_when_parsed_then_they_are_no_part_of_them(
    pems: dict[str, str],
) -> None:
    more = {
        "issuer": "second",
        "audience": ["app"],
        "algorithm": "ES256",
        "pem": pems["ES256"],
        "metadata_fields": [{"name": "role", "field_name": "r"}],
    }
    full = ALL_PROVIDERS | {
        "anon-user": {
            "challenge": {
                "verify_url": "https://c.example",
                "secret": {"ssm": "challenge"},
                "hostnames": ["a.example"],
                "action": "login",
            }
        },
        "custom-token": {"issuers": [ISSUER, more]},
    }

    trimmed = parse(document(blank(full)))

    assert trimmed == parse(document(full))
    assert set(references(trimmed).values()) == {"challenge"}


def test_given_blanks_around_secrets_by_reference_when_resolved_then_they_go() -> None:
    parsed = parse(google(client_secret={"ssm": "google"}))

    resolved = resolve(parsed, {"google": "GOCSPX-1\n"}).app(APP)

    assert resolved.oauth2_google is not None
    assert resolved.oauth2_google.client_secret == "GOCSPX-1"


@pytest.mark.parametrize("by_reference", [False, True])
def test_given_blanks_around_an_hmac_secret_when_parsed_then_they_are_part_of_it(
    by_reference: bool,
) -> None:
    """The issuer signs with the same bytes."""
    secret = f" {SECRET}\n"
    given = {"ssm": "jwt"} if by_reference else secret

    parsed = parse(issuer(secret=given, algorithm=" HS256 "))

    custom = resolve(parsed, {"jwt": secret}).app(APP).custom_token
    assert custom is not None
    assert custom.issuers[0].secret == secret


def test_given_the_template_when_it_takes_a_mail_sender_then_so_do_the_settings() -> (
    None
):
    """A mail's sender has to be that parameter, letter for letter."""
    parameter = sam_template.load()["Parameters"]["MailSender"]

    assert parameter["AllowedPattern"] == f"^({_ADDRESS.pattern})?$"


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda url: issuer(jwks_url=url), id="key set"),
        pytest.param(lambda url: issuer(openid_configuration=url), id="discovery"),
        pytest.param(lambda url: google(token_url=url), id="token endpoint"),
    ],
)
def test_given_the_local_stack_when_parsed_then_http_is_taken(
    make: Callable[[str], str],
) -> None:
    assert parse(make("http://127.0.0.1:8081/x"), allow_private=True).apps


def test_given_references_when_resolved_then_the_secrets_are_in_clear() -> None:
    text = document(
        {
            "custom-token": {
                "issuers": [ISSUER, {"secret": {"ssm": "jwt"}, "algorithm": "HS256"}]
            },
            "oauth2-google": {"client_ids": ["a"], "client_secret": {"ssm": "google"}},
            "oauth2-facebook": {"app_id": "1", "app_secret": {"ssm": "facebook"}},
        }
    )
    parsed = parse(text)
    values = {"jwt": SECRET, "google": "g", "facebook": "f"}

    resolved = resolve(parsed, values)

    assert references(parsed) == {
        f"{P}.custom-token.issuers[1].secret": "jwt",
        f"{P}.oauth2-google.client_secret": "google",
        f"{P}.oauth2-facebook.app_secret": "facebook",
    }
    assert references(resolved) == {}
    app = resolved.app(APP)
    assert app.custom_token is not None
    assert app.custom_token.issuers[1].secret == SECRET
    assert app.oauth2_google is not None
    assert app.oauth2_google.client_secret == "g"
    assert app.oauth2_facebook is not None
    assert app.oauth2_facebook.app_secret == "f"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        pytest.param({}, "there is no such SSM parameter", id="missing"),
        pytest.param({"jwt": SECRET[:31]}, "expected at least 32 bytes", id="short"),
    ],
)
def test_given_a_bad_secret_when_resolved_then_the_error_names_its_key(
    values: dict[str, str], says: str
) -> None:
    parsed = parse(issuer(secret={"ssm": "jwt"}, algorithm="HS256"))

    with pytest.raises(DocumentError) as error:
        resolve(parsed, values)

    assert str(error.value).startswith(f"{I0}.secret: {says}")
    assert SECRET[:24] not in str(error.value)


def test_given_defaults_beside_a_reference_when_resolved_then_they_survive() -> None:
    fields = [{"name": "role"}]
    text = document(
        {
            **ALL_PROVIDERS,
            "custom-token": {"issuers": [{**ISSUER, "metadata_fields": fields}]},
            "oauth2-google": {"client_ids": ["a"], "client_secret": {"ssm": "google"}},
        }
    )
    parsed = parse(text)

    resolved = resolve(parsed, {"google": SECRET})

    was, now = parsed.app(APP), resolved.app(APP)
    assert {name for name in PROVIDERS if was.provider(name) != now.provider(name)} == {
        "oauth2-google"
    }


def test_given_no_references_when_resolved_then_it_is_the_same_document() -> None:
    parsed = parse(document(ALL_PROVIDERS))

    assert resolve(parsed, {}) is parsed


def test_given_no_settings_then_no_provider_is_on() -> None:
    assert not any(AppSettings().provider(name) for name in PROVIDERS)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param('{"apps": {"a": {"api-key": {}}, "a": {}}}', "a", id="app"),
        pytest.param('{"apps": {}, "apps": {}}', "apps", id="apps"),
        pytest.param(
            '{"apps": {"a": {"api-key": {}, "api-\\u006bey": {}}}}',
            "api-key",
            id="spelled differently",
        ),
    ],
)
def test_given_a_name_twice_when_read_then_it_is_refused(text: str, name: str) -> None:
    """Else the last would count, and what the first says would be lost."""
    with pytest.raises(DocumentError, match=f"'{name}' appears twice"):
        parse(text)
